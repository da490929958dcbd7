"""Failures of videos. Standard library only."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "missing", "empty", "no_video", "unreadable", "truncated", "too_short", "timeout", "crash", "io"
]  # fmt: skip
TRANSIENT: frozenset[str] = frozenset({"timeout", "crash", "io"})
"""Kinds of failure that may pass when tried again; all others are final."""


class VideoError(Exception):
    """A video, or the requested range of it, cannot be read: its `kind` says how, its `message` why."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(kind, message)
        self.kind: Kind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
