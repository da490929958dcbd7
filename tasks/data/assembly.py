"""A video of several pieces, which may be made in any order and anywhere, and which becomes one record."""

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
    """Number of its first frame within the video."""
    frames: int
    flows: int
    last: bool
    """Whether it is the end of the video."""
    total: int | None
    """Frames of the whole video, where the decoder knows without decoding them all."""
    facts: dict[str, Any]
    """width, height, fps, decoder."""
    members: list[tuple[str, bytes]]
    """Name and content of each file of the sample."""
    bytes: int
    """Total size of its members."""
    seconds: dict[str, float]
    """Seconds spent in `decode` (with the resize), `flow` (with its quantisation) and `encode`."""


@dataclass
class Processed:
    """The outcome of a video: its record, and the members of its samples."""

    record: dict[str, Any]
    """video_id, status (ok|failed), kind, message, decoder, frames, flows, width, height, fps, pieces, seconds."""
    members: Iterable[tuple[str, bytes | memoryview]] = ()
    """Name and content of each file of its samples; none for a failed video."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Sums over its pieces."""


@dataclass(frozen=True)
class Request:
    """Order for one piece."""

    number: int
    """Counted from 0."""
    decoder: Decoder
    attempt: int = 0


class Assembly:
    """The pieces of a video, collected as they come; the outcome depends on them alone, not on their order.

    Where the first piece gives the number of frames, all others may be made at once, else one after the other. One
    decoder makes all: where decord reads the first piece and fails at another, PyAV reads the whole video again.
    """

    def __init__(self, video_id: str, max_sample_frames: int, decoder: Decoder = "auto") -> None:
        self.video_id = video_id
        self.limit = max_sample_frames
        self.decoder = decoder
        self.error: VideoError | None = None
        self._attempt = 0
        self._pieces: dict[int, Piece] = {}
        self._count: int | None = None
        self._asked = 0  # the last piece asked for

    def first(self) -> Request:
        """Return the request to begin with."""
        return Request(0, self.decoder)

    def wants(self, request: Request) -> bool:
        """Return whether the outcome of a request still counts: not if its video has failed, or is being read again."""
        return self.error is None and request.attempt == self._attempt

    def take(self, request: Request, outcome: Piece | VideoError) -> list[Request]:
        """Take the outcome of a request, and return the requests that follow from it."""
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
        # A single frame left over goes to the piece before it.
        last = request.number + 1 if outcome.total is None else (outcome.total - 2) // self.limit
        following = range(self._asked + 1, last + 1)
        self._asked = max(self._asked, last)
        return [Request(number, decoder, self._attempt) for number in following]

    @property
    def done(self) -> bool:
        """Whether the video has failed, or all its pieces are there."""
        return self.error is not None or len(self._pieces) == self._count

    def record(self) -> dict[str, Any]:
        """Return the record of a video that is done."""
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
        """Return the seconds per step, summed over the pieces; all 0 for a failed video."""
        return {step: sum(p.seconds[step] for p in self._pieces.values()) for step in ("decode", "flow", "encode")}

    def members(self) -> list[tuple[str, bytes]]:
        """Return name and content of each file, in the order of the pieces."""
        return [member for number in sorted(self._pieces) for member in self._pieces[number].members]
