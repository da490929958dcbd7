"""Decoding in a long-lived child process, which may crash or hang and is then replaced.

FFmpeg runs on untrusted files. A segmentation fault or an endless loop in it must cost one attempt at one video, not
the worker; and code that a file brings along must stay in the child's sandbox. So the child is given limits for each
video, the parent opens and fetches what it reads, and frames come back in shared memory, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from tasks.video import conversation
from tasks.video.child import Child
from tasks.video.conversation import Request
from tasks.video.errors import VideoError
from tasks.video.fetch import Copies
from tasks.video.reading import Decoder, Frames
from tasks.video.sandbox import Held
from tasks.video.source import opened


class DecoderProcess:
    """Runs `decode` in a child process, for any number of videos, from one thread at a time.

    The child starts with the first video (about 0.3 s) and dies with its parent, however that ends.
    """

    def __init__(self, timeout_s: float = 120.0) -> None:
        self.timeout_s = timeout_s
        self._child: Child | None = None
        self._copies = Copies()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.pid if self._child else None

    def sandbox(self) -> Held:
        """Return which parts of the child's sandbox hold on this machine; VideoError (crash, timeout) as `decode`."""
        self._child = self._child or Child(shrink=False)
        return self._child.held

    def decode(self, uri: str, *, decoder: Decoder = "auto", **arguments: Any) -> Frames:
        """Decode as `tasks.video.decode` does.

        A child that dies is replaced and the decoder tried once more, as something else may have killed it. With
        `auto`, PyAV takes over if that child dies too, or if one hangs.

        Raises:
            VideoError: those of `decode`, which include too little memory (unreadable), and `crash` or `timeout`, which
                are transient.
        """
        attempts: list[Decoder] = ["auto", "auto", "pyav"] if decoder == "auto" else [decoder, decoder]
        with opened(uri, self._copies, self.timeout_s) as source:
            while True:
                try:
                    return self._ask(Request(uri, source, decoder=attempts.pop(0), **arguments))
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
        self._end()
        self._copies.clear()

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request) -> Frames:
        child = self._ready(shrink=request.short_side is not None)
        try:
            outcome = conversation.decode(child, request, self.timeout_s)
        except BaseException:  # whatever interrupted it, the child may still answer
            self._end()
            raise
        if isinstance(outcome, VideoError):
            raise outcome
        return outcome

    def _ready(self, shrink: bool) -> Child:
        """Return a child that uses little memory and, if need be, can shrink frames."""
        if self._child is not None and ((shrink and not self._child.shrink) or not self._child.is_fresh()):
            self._end()
        if self._child is None:
            self._child = Child(shrink)
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = None
