"""One request to a decoding process: what it is told, what it may ask, and how much it may use."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from tasks.video import messages
from tasks.video.child import Child
from tasks.video.errors import VideoError
from tasks.video.fetch import LocalFile
from tasks.video.image_folder import ImageFolder
from tasks.video.reading import Decoder, Frames
from tasks.video.source import Source, image
from tasks.video.stack import new_file, read_frames, resized_shape

_WORK_BYTES = 512 * 2**20
"""What decoding takes however small the frames are."""
_PIXEL_BYTES = 192
"""What it takes per pixel of a frame: 16 frames of reference and some in work, of up to 8 bytes."""
_FRAME_BYTES = 256
"""What it takes per frame of the video, for its index."""
_PROBED_PIXELS = 3840 * 2160
"""Pixels of a frame before its size is known."""
_THREADS = 2
"""Processors that it may keep busy: decord reads ahead while frames are resized."""
_IMAGES, _IMAGES_BYTES = 64, 4 << 20
"""Most images that are sent at once, and most bytes, but for the last one."""
_DECLARATIONS = 8
"""Most often that it may say how large the frames are."""


@dataclass(frozen=True)
class Request:
    """The arguments of `tasks.video.decode`, and the opened source."""

    uri: str
    source: Source
    decoder: Decoder = "auto"
    start_s: float | None = None
    end_s: float | None = None
    first: int = 0
    count: int | None = None
    short_side: int | None = None
    longest_side: int | None = None


def decode(child: Child, request: Request, timeout_s: float) -> Frames | VideoError:
    """Have a process decode.

    Returns:
        The frames, or the error that the process reports.

    Raises:
        VideoError: the process is of no use any longer: crash, timeout, unreadable (it needs too much memory), io.
    """
    frames = new_file()
    try:
        talk = _Conversation(child, request, timeout_s)
        answer = talk.answer(frames)
        if "error" in answer:
            return talk.error(answer)
        found = messages.decoded(answer, request.short_side, request.count)
        images, times = read_frames(frames, found.shape)
        return Frames(images, times, found.fps, found.decoder, found.total)
    except ValueError as error:
        raise VideoError("crash", f"the decoding process sent nonsense: {error}") from error
    finally:
        os.close(frames)


class _Conversation:
    def __init__(self, child: Child, request: Request, timeout_s: float) -> None:
        self._child, self._request, self._timeout_s = child, request, timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._declarations = 0
        source = request.source
        self._path = self._input = None
        if isinstance(source, LocalFile):
            self._path = source.alias if child.has_gate else source.path
            self._input = f"/proc/self/fd/{source.descriptor}"
        child.begin(_THREADS * timeout_s)
        self._limit(_PROBED_PIXELS, 0, 0)

    def answer(self, frames: int) -> dict[str, Any]:
        """Send the request with an empty file for the frames; return the last message about it."""
        asked = self._request
        names = ("decoder", "start_s", "end_s", "first", "count", "short_side", "longest_side")
        images = len(asked.source) if isinstance(asked.source, ImageFolder) else None
        told = {name: getattr(asked, name) for name in names}
        told |= {"path": self._path, "images": images, "timeout_s": self._timeout_s}
        self._child.send(told, (frames,))
        while True:
            message = self._child.receive(self._deadline, f"not decoded within {self._timeout_s:g} s", self._input)
            if "declared" in message:
                self._declare(*messages.declared(message))
            elif "images" in message and images is not None:
                self._send_images(*messages.images(message, images))
            else:
                return message

    def error(self, message: dict[str, Any]) -> VideoError:
        """Return the error that a message reports, with the name by which the user knows the video."""
        if message == {"error": messages.NO_MEMORY}:
            raise VideoError("unreadable", f"more than {self._memory / 1e6:,.0f} MB of memory are needed to decode it")
        found = messages.error(message)
        return VideoError(found.kind, found.message.replace(self._path or self._request.uri, self._request.uri))

    def _declare(self, height: int, width: int, frames: int) -> None:
        self._declarations += 1
        if self._declarations > _DECLARATIONS:
            raise ValueError("sizes without end")
        small_height, small_width = resized_shape(height, width, self._request.short_side)
        count = self._request.count
        stored = _most_memory() if count is None else count * (3 * small_height * small_width + 8)
        self._limit(height * width, frames, stored)
        self._child.send({})

    def _limit(self, pixels: int, frames: int, stored: int) -> None:
        most = _most_memory()
        self._memory = min(_WORK_BYTES + _PIXEL_BYTES * pixels + _FRAME_BYTES * frames, most)
        self._child.limit(memory=self._memory, file=min(stored, most))

    def _send_images(self, begin: int, stop: int) -> None:
        """Send some of the images that are asked for, the first ones, in one file."""
        folder = self._request.source
        assert isinstance(folder, ImageFolder)
        names: list[str] = []
        sizes: list[int] = []
        file = new_file()
        try:
            with open(file, "wb", closefd=False) as target:
                for index in range(begin, min(stop, begin + _IMAGES)):
                    content = image(folder, index, self._timeout_s)
                    target.write(content)
                    names.append(folder.name(index))
                    sizes.append(len(content))
                    if sum(sizes) > _IMAGES_BYTES:
                        break
                target.seek(0)
            self._child.send({"names": names, "sizes": sizes}, (file,))
        except VideoError as error:
            if error.kind == "crash":
                raise
            self._child.send({"error": error.kind, "text": error.message[: messages.LONGEST_TEXT]})
        finally:
            os.close(file)


def _most_memory() -> int:
    """Return half of this machine's memory in bytes: one video never gets more."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
