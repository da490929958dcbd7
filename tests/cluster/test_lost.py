"""A command whose Ray is lost ends in one line, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import local_nodes
import processes
import psutil
import pytest
from paths import ROOT

from cluster import local
from cluster.private import PREFIX

pytestmark = [pytest.mark.cluster, pytest.mark.campaign, pytest.mark.timeout(600)]

DRIVER = """
import time
from cluster.attach import attach
attach()
print("there", flush=True)
time.sleep(600)
"""
PATIENCE_S = 15
"""Of Ray with its head; ours is shorter."""
NODE = "marey: the Ray node on this machine has ended: start it again, and give the same command"


def said_after(kill, **variables):
    """Run a process that works on Ray until `kill` has taken that away; return its exit code and what it has said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    limits = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(PATIENCE_S), "PYTHONPATH": str(ROOT)}
    with processes.started(
        [sys.executable, "-P", "-c", DRIVER],
        env=kept | limits | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "there\n"
        kill(process)
        _, said = process.communicate(timeout=processes.LIMIT_S)
    return process.returncode, said


@pytest.mark.parametrize(("variables", "quiet"), [({}, True), ({"RAY_BACKEND_LOG_LEVEL": "info"}, False)])
def test_ray_s_core_says_fatal_errors_alone_unless_asked(variables, quiet):
    """Others, such as of tasks that end with their command, would follow the line that it ends with."""
    logs = []

    def end(process):
        logs.extend(file.read_text() for file in Path(folder).glob("*/r/session_2*/logs/python-core-driver-*.log"))
        process.terminate()

    with tempfile.TemporaryDirectory(prefix="lost-", dir="/tmp") as folder:
        _, said = said_after(end, RAY_TMPDIR=folder, **variables)
    (log,) = logs
    assert (log == "", "RAY_BACKEND_LOG_LEVEL" not in said) == (quiet, quiet)


@pytest.mark.parametrize("part", ["raylet/raylet ", "gcs/gcs_server "])
def test_a_part_of_the_command_s_own_ray_dies(part):
    def kill(process):
        children = psutil.Process(process.pid).children(recursive=True)
        (found,) = [each for each in children if part in " ".join(each.cmdline())]
        found.kill()

    with tempfile.TemporaryDirectory(prefix="lost-", dir="/tmp") as folder:  # the paths of Ray's sockets are short
        code, said = said_after(kill, RAY_TMPDIR=folder)
        assert not list(Path(folder).glob(f"{PREFIX}*"))
    assert (code, said.count("\n")) == (2, 1), said
    assert said == "marey: Ray has ended: give the same command, which goes on from what was finished\n"


@pytest.mark.parametrize(
    ("part", "do", "line"),
    [
        ("raylet/raylet ", psutil.Process.kill, NODE),
        ("gcs/gcs_server ", psutil.Process.kill, NODE),  # the node ends with it
        ("gcs/gcs_server ", psutil.Process.suspend, "marey: the Ray cluster is lost, whose head at 127.0.0.1:"),
    ],
)
def test_a_part_of_a_cluster_is_lost(part, do, line, tmp_path):
    made = local.up(tmp_path, nodes=1, cpus_per_node=1)
    try:
        (found,) = local_nodes.named(made, part)
        code, said = said_after(
            lambda _: do(found),
            RAY_ADDRESS=made.address,
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=made.token_path,
        )
    finally:
        local.down(tmp_path)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(line)
