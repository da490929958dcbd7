"""What a preparation keeps when its driver or its workers are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import psutil
import pytest
from paths import ROOT
from prepared import prepare_here
from squares import FEW, SETTINGS, shards

from pipelines.prepare import PrepareResult, estimate, prepare
from pipelines.prepare import scheduler as prepare_tasks
from pipelines.prepare.workflow import listing
from tasks.data import tables

pytestmark = pytest.mark.usefixtures("ray")


def kept_videos(out: Path) -> list[Path]:
    """What is kept of the videos of unfinished shards, a file for each that is not in pieces."""
    return sorted((out / ".kept").glob("*/[0-9]*"))


@pytest.fixture(scope="module")
def single(videos: Path, tmp_path_factory) -> Path:
    """The 40 squares in the one shard that so few of them have by default, by plain functions."""
    return Path(prepare_here(videos, tmp_path_factory.mktemp("single") / "out", FEW))


@pytest.mark.campaign  # as the kill campaigns
def test_a_killed_driver_costs_no_video_but_those_being_made(
    single: Path, videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    code = f"""
import os, signal
from pipelines.prepare import workflow as prepare
from pipelines.compute.progress import Progress
from tasks.data.settings import PrepareSettings
from tasks.video.settings import TVL1

class Deadly(Progress):
    def update(self, count=1, note=""):
        super().update(count, note)
        if self.done == 25:
            os.kill(os.getpid(), signal.SIGKILL)

prepare.Progress = Deadly
prepare.prepare({str(videos)!r}, {str(out)!r}, settings={FEW!r}, address="local")
"""
    marked = {"MAREY_TEST_DRIVER": "killed"}
    killed = processes.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | marked)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended(marked)
    assert not list((out / "shards").iterdir())
    left = kept_videos(out)
    assert 25 <= len(left) < 40
    found = listing("folder", str(videos), None)
    assert estimate.estimate_preparation(found, str(out), FEW, progress=False).videos == 40 - len(left)
    flip(left[0])
    left[1].write_bytes(left[1].read_bytes()[:2000])
    caplog.set_level("INFO")
    result = prepare(str(videos), str(out), settings=FEW, progress=False)
    assert (result.ok, result.new_videos) == (40, 40 - len(left) + 2)
    assert f"{len(left)} of 40 videos are already prepared" in caplog.text
    assert shards(out) == shards(single)
    assert not list((out / "shards").glob(".*"))
    assert not (out / ".kept").exists()


def ended(marked: dict[str, str]) -> None:
    """Wait for the workers of a driver, some of which may keep another video after its end."""
    ((name, value),) = marked.items()
    _, alive = psutil.wait_procs(processes.marked(name, value), timeout=processes.ENDING_S)
    assert not alive


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_ctrl_c_says_how_many_videos_are_kept(
    single: Path, videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    words = ["prepare", videos, out, "--short-side", "32", "--tvl1.scales", "2", "--tvl1.warps", "1"]
    words += ["--tvl1.outer-iterations", "2"]
    marked = {"MAREY_TEST_DRIVER": "interrupted"}
    line = [sys.executable, "-m", "pipelines", *words]
    with processes.started(line, cwd=ROOT, env=os.environ | marked, stderr=subprocess.PIPE, text=True) as driver:
        while len(kept_videos(out)) < 10 and driver.poll() is None:
            time.sleep(0.01)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        said = driver.communicate()[1].splitlines()[-1]
    assert driver.returncode == 130
    told = re.fullmatch(
        r"marey: interrupted; (\d+) of 40 videos are prepared and kept, and the same command resumes from there", said
    )
    assert told, said
    assert 8 <= int(told[1]) <= len(kept_videos(out)) < 40
    ended(marked)
    left = len(kept_videos(out))
    result = prepare(str(videos), str(out), settings=FEW, progress=False)
    assert (result.ok, result.new_videos) == (40, 40 - left)
    assert shards(out) == shards(single)


def test_a_video_that_kills_its_workers_is_a_record_and_tried_again_by_the_next_call(
    whole: PrepareResult, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    victim = "red-train-3"

    def deadly(row, settings, request, place):
        from pipelines.prepare.scheduler import process

        if victim in row["video_id"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return process._function(row, settings, request, place)

    out = str(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(prepare_tasks, "process", ray.remote(num_cpus=1, max_retries=2)(deadly))
        result = prepare(str(videos), out, settings=SETTINGS, progress=False)
    assert (result.ok, result.kinds, result.provisional) == (39, {"crash": 1}, 1)
    (failed,) = [r for r in tables.read_table(out, "records").to_pylist() if r["status"] == "failed"]
    assert victim in failed["video_id"]
    assert "lost 3 times" in failed["message"]
    again = prepare(str(videos), out, settings=SETTINGS, progress=False)
    assert (again.ok, again.new_videos, again.provisional) == (40, 8, 0)
    assert shards(out) == shards(whole.dataset)
