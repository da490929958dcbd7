"""Decoding in a long-lived child process, which may crash or hang and is then replaced.

FFmpeg runs on untrusted files. A segmentation fault or an endless loop in it must cost one attempt at one video, not
the worker. Frames come back as a file descriptor of shared memory, so that nothing is copied.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.video.decode import decode_into, frames_of
from tasks.video.errors import VideoError
from tasks.video.reading import Decoder, Frames

_START = "import sys; sys.path[:] = {path!r}; from tasks.video.decoder_process import serve; serve({descriptor})"
_START_S = 60.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class DecoderProcess:
    """Runs `decode` in a child process, for any number of videos, from one thread at a time.

    The child starts with the first video (about 0.3 s) and dies with its parent, however that ends.
    """

    def __init__(self, timeout_s: float = 120.0) -> None:
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._process.pid if self._process else None

    def decode(self, uri: str, *, decoder: Decoder = "auto", **arguments: Any) -> Frames:
        """Decode as `tasks.video.decode` does.

        A child that dies is replaced and the decoder tried once more, as something else may have killed it. With
        `auto`, PyAV takes over if that child dies too, or if one hangs.

        Raises:
            VideoError: those of `decode`, and `crash` or `timeout`, which are transient.
        """
        attempts: list[Decoder] = ["auto", "auto", "pyav"] if decoder == "auto" else [decoder, decoder]
        while True:
            attempt = attempts.pop(0)
            try:
                return self._ask({"uri": uri, "decoder": attempt, **arguments})
            except VideoError as error:
                if not attempts or error.kind not in ("crash", "timeout"):
                    raise
                if error.kind == "timeout":
                    if decoder != "auto":
                        raise
                    attempts = attempts[-1:]

    def pieces(self, uri: str, count: int, **arguments: Any) -> Iterator[Frames]:
        """Decode a video in consecutive pieces of `count` frames, the last one shorter; errors as `decode`."""
        first = 0
        while True:
            frames = self.decode(uri, first=first, count=count, **arguments)
            yield frames
            first += count
            if len(frames.images) < count or first == frames.total:
                return

    def close(self) -> None:
        """Kill the child."""
        if self._process is not None and self._pipe is not None:
            self._process.kill()
            self._process.wait()
            self._pipe.close()
        self._process = self._pipe = None

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> Frames:
        from tasks.video.stack import map_images

        try:
            pipe = self._pipe or self._start()
            pipe.send((self.timeout_s, request))
            if not pipe.poll(self.timeout_s):
                self.close()
                raise VideoError("timeout", f"not decoded within {self.timeout_s:g} s")
            reply = pipe.recv()
            if isinstance(reply, VideoError):
                raise reply
            shape, reading, fps, used = reply
            descriptor = reduction.recv_handle(pipe)
        except (EOFError, OSError) as error:
            raise VideoError("crash", f"the decoding process ended ({self._bury()})") from error
        try:
            return frames_of(map_images(descriptor, shape), reading, fps, used)
        finally:
            os.close(descriptor)

    def _bury(self) -> str:
        """Return how a child ended that has closed its end of the pipe."""
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.returncode
        self.close()
        return "no status" if status is None else signal.Signals(-status).name if status < 0 else f"status {status}"

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        # Not multiprocessing's spawn, which would import the parent's main module: in Ray the whole worker.
        root = str(Path(__file__).resolve().parents[2])
        start = _START.format(path=[root, *sys.path], descriptor=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-c", start], pass_fds=[theirs.fileno()], env={**os.environ, **_ONE_THREAD}
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        if not self._pipe.poll(_START_S) or self._pipe.recv_bytes() != b"ready":
            self.close()
            raise VideoError("timeout", f"the decoding process did not start within {_START_S:g} s")
        return self._pipe


def serve(descriptor: int) -> None:
    """Answer requests until the parent hangs up. Runs in the child."""
    import cv2

    from tasks.video.fetch import Copies
    from tasks.video.stack import FrameStack

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    cv2.setNumThreads(1)
    pipe, copies = Connection(descriptor), Copies()
    threading.Thread(target=_die_with_parent, args=(descriptor,), daemon=True).start()
    pipe.send_bytes(b"ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FFmpeg prints a message for each broken packet
    while True:
        timeout_s, request = pipe.recv()
        signal.alarm(int(timeout_s) + 5)  # ends a hang that holds the interpreter, and would outlive the parent
        with FrameStack(request.pop("short_side", None)) as stack:
            try:
                answer = decode_into(stack, **request, copies=copies)
            except VideoError as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001 - it concerns one video, whose record reports it
                pipe.send(VideoError("crash", f"{type(error).__name__}: {error}"))
            else:
                pipe.send((stack.shape, *answer))
                reduction.send_handle(pipe, stack.descriptor, os.getppid())
        signal.alarm(0)


def _die_with_parent(descriptor: int) -> None:
    """End this process once the other end is closed, also by the parent's death; decoders let the thread run."""
    import select

    watch = select.poll()
    watch.register(descriptor, select.POLLRDHUP)
    watch.poll()
    os._exit(0)
