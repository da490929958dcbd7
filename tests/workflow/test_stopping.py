"""Trainings, sweeps and evaluations that are stopped: by Ctrl-C, by SIGTERM, by the death of Ray's controller."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import long_training
import processes
import psutil
import pytest
from paths import ROOT
from processes import started

from cluster.private import PREFIX

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]


def press_ctrl_c(process):
    process.send_signal(signal.SIGINT)


def terminate(process):
    process.send_signal(signal.SIGTERM)


def end_controller(process):
    (controller,) = [each for each in process.children(recursive=True) if each.name().startswith("ray::TrainContr")]
    controller.kill()


def ray_folder(process):
    """Return where Ray's files of a command lie."""
    words = " ".join(word for each in process.children(recursive=True) for word in each.cmdline())
    return Path(re.search(rf"=(\S*/{PREFIX}[^/\s]+)/", words)[1])


def train(folder, *, workers=1, at=0, disturb=None):
    """Run the training, disturb it at a step, and return the exit code, what was said, and Ray's folder, if any."""
    recipe = long_training.write(folder, epochs=4, train={"micro_batches": 2}, workers=workers)

    def wait(process):
        long_training.wait_for(process, folder / "work", at)

    return run(long_training.command(recipe), folder, wait, disturb, by_ray=workers > 1)


def run(command, folder, wait, disturb, *, by_ray=True):
    """Run a command in a workspace, disturb it when `wait` returns, and return as `train` does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}
    with started(
        command,
        cwd=folder,
        env=kept | {"MAREY_WORK": str(folder / "work"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        where = None
        if disturb is not None:
            wait(process)
            if by_ray:
                where = ray_folder(psutil.Process(process.pid))
                assert where.exists()
            disturb(psutil.Process(process.pid))
        _, said = process.communicate()
    return process.returncode, said, where


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the folder of a training that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, said, _ = train(folder)
    assert code == 0, said
    return folder


def check_finished(folder, undisturbed):
    """Give the command again, and check that it ends as the undisturbed one."""
    code, said, _ = train(folder)
    assert code == 0, said
    assert long_training.weights(folder / "work") == long_training.weights(undisturbed / "work")
    steps = long_training.reached(undisturbed / "work")
    uri = f"sqlite:///{folder / 'work' / 'mlflow.db'}"
    long_training.check_tracked(uri, long_training.chosen(folder / "work"), steps)


def test_each_stop_is_one_line_and_the_same_command_goes_on(tmp_path, undisturbed):
    steps, reached = long_training.reached(undisturbed / "work"), 0
    for disturb, workers in ((press_ctrl_c, 1), (terminate, 2), (press_ctrl_c, 2), (terminate, 1)):
        code, said, where = train(tmp_path, workers=workers, disturb=disturb, at=reached + 5)
        assert (code, said.splitlines()[-1]) == (
            130,
            "marey: stopped with a checkpoint; the same command goes on with long",
        )
        before, reached = reached, long_training.reached(tmp_path / "work")
        assert before + 5 <= reached < steps
        assert max((tmp_path / "work" / "runs" / "long").glob("checkpoint-*")).name == f"checkpoint-{reached:08d}"
        assert "Traceback" not in said
        assert "SystemExit" not in said
        assert where is None or not where.exists()
    code, said, where = train(tmp_path, workers=2, disturb=end_controller, at=reached + 5)
    assert code == 2
    assert said.splitlines()[-1].startswith("marey: Ray's controller of the training has ended (The actor died")
    assert "Traceback" not in said
    assert not where.exists()
    check_finished(tmp_path, undisturbed)


@pytest.mark.parametrize("disturb", [press_ctrl_c, terminate])
def test_a_stopped_evaluation_is_one_line_and_leaves_nothing(undisturbed, disturb):
    """Stopped while it scores; `started` and the end of all tests see to what is left of its processes."""

    def wait(process):
        family, deadline = psutil.Process(process.pid), time.monotonic() + long_training.LIMIT_S
        while not any(each.name().startswith("ray::_score") for each in family.children(recursive=True)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    command = [sys.executable, "-P", "-m", "pipelines", "evaluate", "long", "--clips", "50", "--crops", "10"]
    code, said, where = run(command, undisturbed, wait, disturb)
    assert code == 130, said
    assert re.fullmatch(
        r"marey: (interrupted|stopped by SIGTERM); what was finished is kept, .*", said.splitlines()[-1]
    )
    assert "Traceback" not in said
    assert not where.exists()


def test_a_stopped_sweep_goes_on_by_the_same_command(tmp_path):
    recipe = long_training.write(tmp_path, epochs=6)
    space = "search.space.train.lr.choice=[0.01, 0.02]"
    command = [
        *long_training.command(recipe),
        "--set",
        space,
        "--set",
        "search.trials=2",
        "--set",
        "data.split=first",
        "--json",
    ]
    command[command.index("train")] = "tune"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MAREY_W", "MLFLOW"))}
    options = {
        "cwd": tmp_path,
        "env": kept | {"MAREY_WORK": str(tmp_path / "work"), "PYTHONPATH": str(ROOT)},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with started(command, **options) as process:
        deadline = time.monotonic() + long_training.LIMIT_S
        while not any((tmp_path / "work" / "runs").glob("long.*/rank-0.pid")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        where = ray_folder(psutil.Process(process.pid))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said.splitlines()[-1]) == (
        130,
        "marey: stopped; the same command goes on with the sweep long",
    )
    assert "Traceback" not in said
    assert "restore" not in said
    assert not where.exists()
    done = processes.run(command, **options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert (result["trials"], result["failed"]) == (2, 0)
