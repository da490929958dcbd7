"""Started from a folder that holds other models/, tasks/ and cluster/ packages, ours are used, on every worker too."""

import sys

import pytest

from cluster import local

pytestmark = pytest.mark.cluster
SMALL = ("--flow", "none", "--short-side", "32")


@pytest.mark.campaign
def test_python_m_on_a_cluster(marey, workspace, videos, tmp_path):
    cluster = local.current(workspace)
    done = marey(
        *("prepare", videos, tmp_path / "out", *SMALL),
        program=[sys.executable, "-m", "pipelines"],
        RAY_ADDRESS=cluster.address,
        RAY_AUTH_TOKEN_PATH=cluster.token_path,
    )
    assert done.returncode == 0, done.stderr
    assert "8 of 8 ok" in done.stdout


def test_console_script_on_this_machine(marey, videos, tmp_path):
    done = marey("prepare", videos, tmp_path / "out", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 ok" in done.stdout
