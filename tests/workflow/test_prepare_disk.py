"""Disks that are full or may not be written: one sentence, exit 2, and the same shards once there is room.

The disks are real: small mounts in memory, which need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import processes
import pytest
from disks import disk_of, mounted
from paths import ROOT

from pipelines.prepare import prepare
from pipelines.verify import verify
from tasks.data import PrepareSettings

SETTINGS = PrepareSettings(short_side=64, shard_videos=8, flow="none")
LINE = ["--short-side", "64", "--shard-videos", "8", "--flow", "none"]
pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture
def disk():
    """A disk of 400 kB: room for the tables and some of the five shards."""
    with disk_of("400k") as folder:
        yield folder


@pytest.fixture(scope="module")
def whole(ray, videos, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    prepare(str(videos), str(out), settings=SETTINGS, progress=False)
    return tars(out)


def tars(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "shards").glob("*.tar")}


def marey(*line: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a Ray of its own."""
    command = [sys.executable, "-m", "pipelines", "prepare", *line]
    return processes.run(command, cwd=ROOT, env={**os.environ, **environment})


def assert_refused(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr.strip().splitlines()[-1]


def test_a_full_output_ends_in_a_sentence_and_goes_on_with_room(whole, videos: Path, disk: Path) -> None:
    out = disk / "out"
    assert_refused(marey(videos, out, *LINE), f"{out} cannot be written: No space left on device")
    assert len(list((out / "shards").glob("*.json"))) < 5
    assert tars(out).items() <= whole.items()
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
    result = prepare(str(videos), str(out), settings=SETTINGS, progress=False)
    assert result.ok == 40
    assert tars(out) == whole
    assert not verify(str(out), progress=False).differences


@pytest.mark.campaign
def test_an_output_without_room_for_a_single_shard(videos: Path, disk: Path) -> None:
    (disk / "filler").write_bytes(bytes(388 << 10))  # several shards fail at a time, and Ray has its word on each
    assert_refused(marey(videos, disk / "out", *LINE), f"{disk / 'out'} cannot be written: No space left on device")
    assert not list((disk / "out" / "shards").iterdir())


def test_a_read_only_output(whole, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(str(videos), str(out), settings=SETTINGS, progress=False)
    (out / "shards" / "000003.json").unlink()
    shutil.copytree(out, tmp_path / "before")
    mounted(out, "--bind", str(out))
    subprocess.run(["mount", "-o", "remount,ro,bind", out], check=True)
    try:
        assert_refused(marey(videos, out, *LINE), f"{out} cannot be written: Read-only file system")
        assert tars(out) == tars(tmp_path / "before")
    finally:
        subprocess.run(["umount", out], check=True)
    assert prepare(str(videos), str(out), settings=SETTINGS, progress=False).new_videos == 8
    assert tars(out) == whole


@pytest.fixture
def server(videos: Path):
    """Gives the videos to whoever asks."""
    serve = partial(SimpleHTTPRequestHandler, directory=str(videos))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as http:
        threading.Thread(target=http.serve_forever).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.campaign
def test_workers_without_room_for_what_they_fetch(videos: Path, disk: Path, tmp_path: Path, server: str) -> None:
    """No video is to blame: each is fetched again by the next call."""
    names = sorted(path.relative_to(videos) for path in videos.glob("train/*/*-0.mp4"))
    table = tmp_path / "videos.csv"
    table.write_text("path,label,part\n" + "".join(f"{server}/{name},{name.parts[1]},train\n" for name in names))
    (disk / "filler").write_bytes(bytes(388 << 10))  # there is room for a folder, not for a video
    done = marey(table, tmp_path / "out", "--layout", "csv", *LINE, TMPDIR=str(disk), RAY_TMPDIR="/tmp")
    assert_refused(done, f"none of the {len(names)} videos")
    assert f"({len(names)} io)" in done.stderr
    assert "No space left on device" in done.stderr
    result = prepare(str(table), str(tmp_path / "out"), layout="csv", settings=SETTINGS, progress=False)
    assert (result.ok, result.new_videos) == (len(names), len(names))
    prepare(str(table), str(tmp_path / "again"), layout="csv", settings=SETTINGS, progress=False)
    assert tars(tmp_path / "out") == tars(tmp_path / "again")
