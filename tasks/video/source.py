"""What is decoded: a file that is held open, or the images of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.video import fetch, image_folder
from tasks.video.fetch import Copies, LocalFile
from tasks.video.image_folder import ImageFolder

Source = LocalFile | ImageFolder


@contextmanager
def opened(uri: str, copies: Copies | None = None, timeout_s: float | None = None) -> Iterator[Source]:
    """Find a video, at a path or fsspec URL; the copy of a remote file stays in `copies`, or is removed at the end.

    Raises:
        VideoError: missing, empty, no_video, unreadable, truncated, io, timeout (to fetch it takes longer).
    """
    remote_s = timeout_s if fetch.is_remote(uri) else None
    if fetch.within(remote_s, uri, lambda: image_folder.is_folder(uri)):
        yield fetch.within(remote_s, uri, lambda: ImageFolder(uri))
    else:
        with fetch.local(uri, copies, timeout_s) as file:
            yield file


def image(folder: ImageFolder, index: int, timeout_s: float) -> bytes:
    """Return the content of an image; VideoError (io, unreadable, timeout) if it cannot be read."""
    if not fetch.is_remote(folder.uri):
        return folder.content(index)
    return fetch.within(timeout_s, folder.uri, lambda: folder.content(index))
