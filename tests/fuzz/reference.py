"""Decoding of videos in a process without marey, which runs this file and answers `Reference`.

Memory that nobody has written is filled with a pattern there: a frame that shows it is another frame than elsewhere.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

FRESH_EVERY = 50
"""Videos after which the process is replaced."""


@dataclass(frozen=True)
class Found:
    """The true content of a video."""

    images: list[np.ndarray]
    """Frames by the requested decoder, uint8 [H,W,3]."""
    sound: int
    """Number of frames that the installed FFmpeg decodes."""
    damaged: int
    """Number of frames that it patched up or dropped, after the first one that it decoded."""
    promised: int
    """Number of frames that the container declares; 0 for mov and mp4, which may hide some by an edit list."""


class Reference:
    """Client of that process."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._process: subprocess.Popen[str] | None = None
        self._asked = 0

    def ask(self, decoder: str, path: Path, timeout_s: float) -> Found:
        """Decode a video; AssertionError if the process ends or is late."""
        if self._process is None or self._asked % FRESH_EVERY == 0:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked += 1
        out = path.with_suffix(".npz")
        print(decoder, path, out, sep="\t", file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready or self._process.stdout.readline() != "done\n":
            self.close()
            raise AssertionError("the reference could not decode it")
        with np.load(out) as file:
            sound, damaged, promised = (int(x) for x in file["counts"])
            images = [file[f"f{number}"] for number in range(len(file.files) - 1)]
        out.unlink()
        return Found(images, sound, damaged, promised)

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = self.pid = None

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "MALLOC_PERTURB_": "165"},
        )
        self.pid = self._process.pid


def read_pyav(path: str, images: list[np.ndarray]) -> tuple[int, int, int]:
    """Decode all frames; return how many were decoded, how many damaged after the first one, and how many promised."""
    damaged = 0
    with av.open(path, metadata_errors="ignore") as file, suppress(IndexError):
        stream = file.streams.best("video")
        stream.codec_context.thread_count = 1
        if stream.codec_context.name == "mjpeg":
            stream.codec_context.options = {"err_detect": "explode"}
        promised = 0 if "mov" in file.format.name else stream.frames
        try:
            for packet in file.demux(stream):
                try:
                    for frame in packet.decode():
                        damaged += frame.is_corrupt
                        images.append(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
                except av.error.InvalidDataError:
                    damaged += bool(images)
        except av.FFmpegError:
            damaged += 1
    return len(images), damaged, promised


def read_decord(path: str) -> Iterator[np.ndarray]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(path, num_threads=1)
    reader.seek_accurate(0)
    for _ in range(len(reader)):
        yield reader.next().asnumpy()


def main() -> None:
    av.logging.set_level(av.logging.PANIC)
    for line in sys.stdin:
        decoder, path, out = line.rstrip("\n").split("\t")
        images: list[np.ndarray] = []
        counts = read_pyav(path, images)
        if decoder == "decord":
            images = list(read_decord(path))
        np.savez(out, counts=counts, **{f"f{number}": image for number, image in enumerate(images)})
        print("done", flush=True)


if __name__ == "__main__":
    main()
