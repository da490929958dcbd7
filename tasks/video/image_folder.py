"""Folders of numbered images as videos, the form in which Jester and Something-Something v1 are published.

What "whole" means
    The frames are the files whose names are a number, alone (`00001.jpg`) or behind `img`, `image` or `frame`
    (`img_00001.jpg`), jpg or png, in the order of their numbers; other files are ignored. The video is `truncated` if a
    number before the last is missing (the first is 0 or 1), or if an image cannot be decoded although another can.
    Missing images at the end, and damage inside an image that the JPEG decoder tolerates, go unnoticed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.errors import UserError
from tasks.remote import open_url, os_errors, reason
from tasks.video import limits
from tasks.video.codecs import PNG, decode_rgb, jpeg_size, png_size
from tasks.video.errors import VideoError
from tasks.video.fetch import is_remote, read_file, unopened
from tasks.video.reading import Reading, Window
from tasks.video.stack import FrameStack, resized_shape
from tasks.video.timeline import Timeline

FPS = 12.0
"""Frames per second, which a folder of images does not tell: both datasets extract their images at 12 (their pages at
TwentyBN, later Qualcomm). Only time ranges and the rate of H.264 depend on it."""

_MOST_BYTES = 256_000_000
"""Bytes of a file; an image of 8192 x 8192 pixels has fewer even where it cannot be compressed."""
_NAME = re.compile(r"(?:(?:img|image|frame)[_-]?)?(\d+)\.(jpe?g|png)", re.IGNORECASE)
_JPEG_SCAN, _JPEG_END, _PNG_END = b"\xff\xda", b"\xff\xd9", b"IEND\xaeB`\x82"


def is_frame(name: str) -> bool:
    """Return whether a file of this name is a frame of a folder of images."""
    return _NAME.fullmatch(name) is not None


def is_folder(uri: str) -> bool:
    """Return whether a path or fsspec URL is a folder; VideoError (unreadable, io) if that cannot be found out."""
    if not is_remote(uri):
        return os.path.isdir(_local(uri))
    system, path = _open(uri)
    try:
        with os_errors():
            return bool(system.info(path)["type"] == "directory")
    except FileNotFoundError:
        return False
    except ValueError as error:  # not an address of that protocol
        raise VideoError("unreadable", f"{uri} cannot be opened: {error}") from error
    except OSError as error:
        raise VideoError("io", f"{uri}: {reason(error)}") from error


class Images(Protocol):
    """The images of a folder in their order, from 0."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the file name of an image that has been read."""
        ...

    def contents(self, begin: int, stop: int) -> Iterator[bytes]:
        """Read the images from `begin` up to, and without, `stop`; errors as `ImageFolder.content`."""
        ...


class ImageFolder:
    """The images of a folder, at a path or fsspec URL."""

    def __init__(self, uri: str) -> None:
        """List them.

        Raises:
            VideoError: no_video (no numbered images), truncated (one is missing), unreadable, io.
        """
        self.uri = uri
        self._system: Any = None
        folder = _local(uri)
        if is_remote(uri):
            self._system, folder = _open(uri)
        try:
            if self._system is None:
                listed = [os.path.join(folder, name) for name in os.listdir(folder)]
            else:
                with os_errors():
                    listed = self._system.ls(folder, detail=False)
        except OSError as error:
            raise VideoError("io", f"{uri}: {reason(error)}") from error
        self._paths = _in_order(listed)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """Return the file name of an image."""
        return _name(self._paths[index])

    def content(self, index: int) -> bytes:
        """Read an image; VideoError (io, unreadable, truncated) if that fails, or if it is larger than images are."""
        path = self._paths[index]
        try:
            if self._system is None:
                data = read_file(path, _MOST_BYTES + 1)
            else:
                with os_errors():
                    data = self._system.cat_file(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):  # a later attempt will not find it either
                raise VideoError("truncated", f"{_name(path)} is a link that leads nowhere") from error
            raise VideoError("io", f"{self.uri}: {reason(error)}") from error
        if len(data) > _MOST_BYTES:
            raise VideoError("unreadable", f"{_name(path)} has more than {_MOST_BYTES / 1e6:.0f} MB")
        return data

    def contents(self, begin: int, stop: int) -> Iterator[bytes]:
        """Read the images from `begin` up to, and without, `stop`; errors as `content`."""
        return (self.content(index) for index in range(begin, stop))


def read(images: Images, window: Window, stack: FrameStack, longest_side: int | None = None) -> Reading:
    """Decode a window of the images of a folder, one after the other.

    Raises:
        VideoError: truncated, unreadable (no image can be decoded, their sizes differ or are too large), io.
    """
    line = Timeline(np.arange(len(images)), 1 / FPS, 1 / FPS)
    low, high = line.span(window)
    begin, stop = min(low + window.first, high), int(min(low + window.stop, high))
    shape: tuple[int, ...] = ()
    for index, data in enumerate(images.contents(begin, stop), begin):
        image = _decode(data)
        if image is None:
            any_good = bool(shape) or any(_decode(other) is not None for other in images.contents(0, len(images)))
            raise VideoError("truncated" if any_good else "unreadable", f"{images.name(index)} cannot be decoded")
        if not shape:
            shape = image.shape
            resized = resized_shape(shape[0], shape[1], stack.short_side)
            limits.refuse_request(*resized, longest_side, stop - begin)
        if image.shape != shape:
            raise VideoError("unreadable", f"{images.name(index)} is {_size(image.shape)}, after {_size(shape)}")
        stack.append(image)
    return Reading(line.starts[begin:stop].tolist(), high - low, len(images), line.end_s)


def _open(uri: str) -> tuple[Any, str]:
    try:
        return open_url(uri)
    except UserError as error:
        raise unopened(error) from error


def _local(uri: str) -> str:
    return os.path.abspath(uri.removeprefix("file://"))


def _in_order(paths: list[str]) -> list[str]:
    """Return the paths of the images in the order of their numbers."""
    numbered: dict[int, str] = {}
    for path in sorted(paths):
        match = _NAME.fullmatch(_name(path))
        if match and numbered.setdefault(int(match[1]), path) != path:
            raise VideoError("unreadable", f"{_name(path)} has the same number as {_name(numbered[int(match[1])])}")
    if not numbered:
        raise VideoError("no_video", "the folder holds no numbered images, such as 00001.jpg or img_00001.jpg")
    first = min(1, *numbered)
    missing = next((number for number in range(first, max(numbered)) if number not in numbered), None)
    if missing is not None:
        raise VideoError("truncated", f"image {missing} of {max(numbered)} is missing")
    return [numbered[number] for number in sorted(numbered)]


def _decode(data: bytes) -> NDArray[np.uint8] | None:
    """Return the RGB image [H,W,3], or None if the bytes are not an image, or only the beginning of one.

    Raises:
        VideoError: unreadable (by its header it is too large).
    """
    # Some versions of OpenCV silently complete an image whose end is missing.
    if data.find(_JPEG_END, max(0, data.rfind(_JPEG_SCAN))) < 0 and _PNG_END not in data:
        return None
    try:
        height, width = png_size(data) if data.startswith(PNG) else jpeg_size(data)
        limits.refuse_frame(height, width)
        return decode_rgb(data)
    except ValueError:
        return None


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"
