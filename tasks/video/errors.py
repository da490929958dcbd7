"""Why a video gives no frames; standard library only."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "missing", "empty", "no_video", "unreadable", "truncated", "too_short", "timeout", "crash", "io"
]  # fmt: skip
TRANSIENT: frozenset[str] = frozenset({"timeout", "crash", "io"})
"""Kinds of failure that another attempt may not meet; all others are final."""


class VideoError(Exception):
    """Why a video (or the asked range of it) gives no frames: `kind`, and a sentence in `message`."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(kind, message)
        self.kind: Kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
