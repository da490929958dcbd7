"""A video of several pieces, which may be made in any order and place, and becomes one record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tasks.video import VideoError
from tasks.video.reading import Decoder


@dataclass
class Piece:
    """A sample of a video: all of a short one, or `max_sample_frames` of a long one."""

    first: int
    """Number of its first frame in the video."""
    frames: int
    flows: int
    last: bool
    """Whether the video ends with it."""
    total: int | None
    """Frames of the video, where the decoder knows without decoding them all."""
    facts: dict[str, Any]
    """width, height, fps, decoder."""
    members: list[tuple[str, bytes]]
    """Name and content of each file of the sample."""
    bytes: int
    """Of its members."""
    seconds: dict[str, float]
    """Time in decode (with the resize), flow (with its quantisation) and encode."""


@dataclass
class Processed:
    """What became of a video."""

    record: dict[str, Any]
    """video_id, status (ok|failed), kind, message, decoder, frames, flows, width, height, fps, pieces, seconds."""
    members: Iterable[tuple[str, bytes]] = ()
    """Name and content of each file of its samples; none for a failed video."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Sums of its pieces' times."""


@dataclass(frozen=True)
class Request:
    """A piece to make."""

    number: int
    """Counted from 0."""
    decoder: Decoder
    attempt: int = 0


class Assembly:
    """The pieces of a video as they come; the outcome depends on the pieces alone, not on their order.

    Where the first piece tells the number of frames, all others may be made at once, else one after the other. All are
    of one decoder: where decord read the first piece and fails at another, PyAV reads the video anew.
    """

    def __init__(self, video_id: str, max_sample_frames: int) -> None:
        self.video_id = video_id
        self.limit = max_sample_frames
        self.error: VideoError | None = None
        self._attempt = 0
        self._pieces: dict[int, Piece] = {}
        self._count: int | None = None
        self._asked = 0  # the last piece asked for

    def first(self) -> Request:
        """What to make first."""
        return Request(0, "auto")

    def wants(self, request: Request) -> bool:
        """Whether what becomes of a request still matters: not where its video has failed, or is read anew."""
        return self.error is None and request.attempt == self._attempt

    def take(self, request: Request, outcome: Piece | VideoError) -> list[Request]:
        """Take what became of a request; returns what to make next."""
        if not self.wants(request):
            return []
        if isinstance(outcome, VideoError):
            if request.number and request.decoder == "decord":
                self._attempt += 1
                self._asked = 0
                self._pieces.clear()
                return [Request(0, "pyav", self._attempt)]
            self.error = outcome
            self._pieces.clear()
            return []
        self._pieces[request.number] = outcome
        if outcome.last:
            self._count = request.number + 1
            return []
        decoder: Decoder = "decord" if request.decoder != "pyav" and outcome.facts["decoder"] == "decord" else "pyav"
        # A single frame left over stays with the piece before it.
        last = request.number + 1 if outcome.total is None else (outcome.total - 2) // self.limit
        following = range(self._asked + 1, last + 1)
        self._asked = max(self._asked, last)
        return [Request(number, decoder, self._attempt) for number in following]

    @property
    def done(self) -> bool:
        """Whether nothing is missing."""
        return self.error is not None or len(self._pieces) == self._count

    def record(self) -> dict[str, Any]:
        """Record of a video that is done."""
        pieces = [self._pieces[number] for number in sorted(self._pieces)]
        record: dict[str, Any] = {"video_id": self.video_id, "status": "failed", "kind": "", "message": ""}
        record |= {"decoder": "", "frames": 0, "flows": 0, "width": 0, "height": 0, "fps": 0.0, "pieces": []}
        if self.error:
            record |= {"kind": self.error.kind, "message": self.error.message}
        else:
            record |= {"status": "ok", **pieces[0].facts}
            record |= {"frames": sum(p.frames for p in pieces), "flows": sum(p.flows for p in pieces)}
            record["pieces"] = [{"first": p.first, "frames": p.frames, "flows": p.flows} for p in pieces]
        record["seconds"] = round(sum(self.seconds().values()), 3)
        return record

    def seconds(self) -> dict[str, float]:
        """Sums of the pieces' times; nothing for a failed video."""
        return {step: sum(p.seconds[step] for p in self._pieces.values()) for step in ("decode", "flow", "encode")}

    def members(self) -> list[tuple[str, bytes]]:
        """Name and content of each file, in the order of the pieces."""
        return [member for number in sorted(self._pieces) for member in self._pieces[number].members]
