"""Promises that must hold for every damaged video."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import psutil
from damage import Case
from reference import Reference

from tasks.data.process import Processed, process_video
from tasks.data.sample import ArrowFile
from tasks.data.settings import PrepareSettings
from tasks.video import TVL1, DecoderProcess
from tasks.video.codecs import decode_gray, decode_rgb, jpeg_rgb
from tasks.video.errors import Kind
from tasks.video.stack import resize, resized_shape

SETTINGS = PrepareSettings(
    short_side=16, flow="none", tvl1=TVL1(scales=1, warps=1, inner_iterations=2, outer_iterations=1)
)
LIMIT_S = 10.0
"""Time in which a child must finish a video. If one decoder hangs, the other gets as much."""
BOUND_S = 3 * LIMIT_S
MEMORY = 1 << 30
"""Memory that a child may use, in bytes: the libraries take a tenth, and damaged sizes ask for large pictures."""
DESCRIPTORS = 30


@dataclass(frozen=True)
class Outcome:
    """The outcome of a damaged video."""

    kind: str
    """Kind of the failure, or `ok`."""
    decoder: str
    seconds: float
    memory: int
    """Peak memory of the child, in bytes."""
    pid: int | None
    """Process id of the child."""


class Promises:
    """A decoder, and the folder of its damaged videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.decoder = DecoderProcess(timeout_s=LIMIT_S)
        self._me = psutil.Process()
        self._before = {child.pid for child in self._me.children(recursive=True)}
        self._reference = Reference()

    def __enter__(self) -> Promises:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.decoder.close()
        self._reference.close()
        assert not self._children(), "a child is left behind"

    def hold(self, case: Case) -> Outcome:
        """Prepare a damaged video; raise AssertionError, and keep the file, unless all promises hold."""
        path = self.folder / case.name
        path.write_bytes(case.data)
        with_flow = PrepareSettings(**{**vars(SETTINGS), "flow": "tvl1"}) if case.number % 3 == 0 else SETTINGS
        begin = time.monotonic()
        done = process_video(_row(path), with_flow, self.decoder)
        seconds = time.monotonic() - begin
        record = done.record
        assert seconds < BOUND_S, f"{seconds:.1f} s"
        if record["status"] == "failed":
            _check_failed(done)
        else:
            _check_samples(done, with_flow)
            self._check_frames(path, done)
        memory = self._check_processes()
        path.unlink()
        return Outcome(record["kind"] or "ok", record["decoder"], seconds, memory, self.decoder.pid)

    def _check_frames(self, path: Path, done: Processed) -> None:
        """Compare what is stored with what a process without our code finds in the file."""
        found = self._reference.ask(done.record["decoder"], path, BOUND_S)
        height, width = resized_shape(*found.images[0].shape[:2], SETTINGS.short_side)
        expected = jpeg_rgb([resize(image, height, width) for image in found.images], SETTINGS.rgb_quality)
        stored = [bytes(row[0]) for row in _rows(done, "rgb.arrow")]
        assert stored == expected, f"{len(stored)} frames stored, other ones than the {len(expected)} in the file"
        assert len(stored) == found.sound, f"{len(stored)} frames stored of {found.sound} that can be decoded"
        assert not found.damaged, f"{found.damaged} frames are damaged, and it is ok"
        few = found.promised - max(3, 0.02 * found.promised)
        assert len(stored) >= few, f"{len(stored)} frames of {found.promised} promised"

    def _check_processes(self) -> int:
        """Return the peak memory of the child."""
        children = [child for child in self._children() if child.pid != self._reference.pid]
        assert {child.pid for child in children} <= {self.decoder.pid}, f"other children: {children}"
        memory = 0
        for child in children:
            assert child.status() != psutil.STATUS_ZOMBIE
            assert child.num_fds() < DESCRIPTORS, f"{child.num_fds()} open files"
            status = Path(f"/proc/{child.pid}/status").read_text()
            memory = 1024 * int(status.partition("VmHWM:")[2].split()[0])
        assert memory < MEMORY, f"{memory / 1e6:.0f} MB"
        return memory

    def _children(self) -> list[psutil.Process]:
        return [child for child in self._me.children(recursive=True) if child.pid not in self._before]


def _row(path: Path) -> dict[str, Any]:
    row = {"video_id": "damaged", "uri": str(path), "label": "a", "label_id": 0, "group": None}
    return {**row, "start_s": None, "end_s": None}


def _check_failed(done: Processed) -> None:
    record = done.record
    assert record["kind"] in get_args(Kind), record["kind"]
    assert record["kind"] not in ("missing", "io"), "the file is there and can be read"
    assert record["message"]
    assert "\n" not in record["message"]
    if record["kind"] == "crash":
        assert "process ended" in record["message"], f"an exception of ours: {record['message']}"
    assert (record["frames"], record["flows"], record["pieces"], done.members) == (0, 0, [], [])


def _check_samples(done: Processed, settings: PrepareSettings) -> None:
    record = done.record
    assert (record["kind"], record["message"]) == ("", "")
    assert record["decoder"] in ("decord", "pyav")
    assert record["frames"] >= settings.min_frames
    assert record["flows"] == (record["frames"] - 1 if settings.flow == "tvl1" else 0)
    shape = (record["height"], record["width"])
    assert min(shape) == settings.short_side
    rows = _rows(done, "rgb.arrow")
    assert len(rows) == record["frames"]
    assert all(decode_rgb(jpeg).shape == (*shape, 3) for (jpeg,) in rows)
    pairs = _rows(done, "flow.arrow")
    assert len(pairs) == record["flows"]
    assert all(decode_gray(image).shape == shape for pair in pairs for image in pair)
    content = json.loads(dict(done.members)["damaged.json"])
    assert all(content[name] == record[name] for name in ("frames", "flows", "width", "height", "fps", "decoder"))


def _rows(done: Processed, suffix: str) -> list[list[memoryview]]:
    files = [ArrowFile(data) for name, data in done.members if name.endswith(suffix)]
    return [file.row(index) for file in files for index in range(len(file))]
