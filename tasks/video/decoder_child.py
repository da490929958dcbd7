"""The process that decodes for `DecoderProcess`: it imports, closes its sandbox, and answers requests.

Whatever a video makes of it, it holds no credentials, and reaches its memory, its one input and its parent alone.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import Any

import av
import cv2
import numpy as np

from tasks.video import messages, sandbox
from tasks.video.decode import decode_into
from tasks.video.errors import VideoError
from tasks.video.stack import FrameStack, resize

_NO_MEMORY = ("cannot allocate memory", "bad_alloc", "insufficient memory", "unable to allocate", "out of memory")
_NO_ROOM = (errno.ENOMEM, errno.EFBIG, errno.EAGAIN)  # the last for a thread without room for its stack


def serve(descriptor: int, shrink: bool) -> None:
    """Answer requests until the parent hangs up.

    Args:
        descriptor: A socket to the parent.
        shrink: Load the kernel that makes frames smaller (half a second); it cannot be loaded later.
    """
    pipe = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    _import(shrink)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    held, gate = sandbox.enter()
    sys.meta_path.clear()  # whatever a module is read from now on is the video
    os.dup2(nowhere, 2)  # FFmpeg prints a message for each broken packet
    threading.Thread(target=_die_with_parent, args=(descriptor,), daemon=True).start()
    messages.send(pipe, asdict(held), [] if gate is None else [gate])
    if gate is not None:
        os.close(gate)
    while True:
        request, (frames,) = messages.receive(pipe, descriptors=1)
        # Ends a hang that holds the interpreter, and would outlive the parent.
        signal.alarm(int(request["timeout_s"]) + 5)
        messages.send(pipe, _answer(pipe, request, frames))
        signal.alarm(0)


class _Stack(FrameStack):
    """A stack in a file of the parent, which limits its size and the memory to what is declared."""

    def __init__(self, pipe: socket.socket, short_side: int | None, descriptor: int) -> None:
        super().__init__(short_side, descriptor)
        self._pipe = pipe

    def declare(self, height: int, width: int, frames: int) -> None:
        super().declare(height, width, frames)
        if height and width:  # else the first frame has its say
            _ask(self._pipe, {"declared": [height, width, min(frames, messages.MOST)]})


class _Images:
    """The images of a folder that the parent reads."""

    def __init__(self, pipe: socket.socket, count: int) -> None:
        self._pipe, self._count = pipe, count
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return self._names[index]

    def contents(self, begin: int, stop: int) -> Iterator[bytes]:
        while begin < stop:
            answer, descriptors = _ask(self._pipe, {"images": [begin, stop]}, descriptors=1)
            if "error" in answer:
                raise messages.error(answer)
            self._names.update(enumerate(answer["names"], begin))
            with open(descriptors[0], "rb") as file:
                yield from (file.read(size) for size in answer["sizes"])
            begin += len(answer["names"])


def _ask(pipe: socket.socket, question: dict[str, Any], descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
    messages.send(pipe, question)
    return messages.receive(pipe, descriptors)


def _answer(pipe: socket.socket, request: dict[str, Any], descriptor: int) -> dict[str, Any]:
    source = request["path"] if request["images"] is None else _Images(pipe, request["images"])
    names = ("start_s", "end_s", "first", "count", "longest_side", "decoder")
    with _Stack(pipe, request["short_side"], descriptor) as stack:
        try:
            reading, fps, used = decode_into(stack, source, **{name: request[name] for name in names})
            stack.finish(reading.timestamps)
        except Exception as error:  # noqa: BLE001 - it concerns one video, whose record reports it
            if _is_no_memory(error):
                return {"error": messages.NO_MEMORY}
            if isinstance(error, VideoError):
                return {"error": error.kind, "text": error.message[: messages.LONGEST_TEXT]}
            return {"error": "crash", "text": f"{type(error).__name__}: {error}"[: messages.LONGEST_TEXT]}
        return {"shape": list(stack.shape), "total": reading.total, "fps": fps, "decoder": used}


def _is_no_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, says that there is no memory."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
            return True
        if any(words in str(error).lower() for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _import(shrink: bool) -> None:
    """Import what decoding imports on first use."""
    with suppress(ImportError):  # there is no wheel for this machine
        import_module("decord")
    for module in ("image_folder", "pyav"):
        import_module(f"tasks.video.{module}")
    for info in pkgutil.walk_packages(av.__path__, "av."):
        if info.name not in ("av.__main__", "av.datasets"):  # which serve other ends
            import_module(info.name)
    cv2.setNumThreads(1)
    if shrink:
        resize(np.zeros((8, 8, 3), np.uint8), 3, 3)


def _die_with_parent(descriptor: int) -> None:
    """End this process once the other end is closed, also by the parent's death; decoders let the thread run."""
    watch = select.poll()
    watch.register(descriptor, select.POLLRDHUP)
    watch.poll()
    os._exit(0)
