"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and its state."""

    name: str
    level: Literal["ok", "warning", "error"]
    """`error` for what marey needs and does not work; `warning` for what it can do without."""
    found: str
    """What is there."""
    advice: str = ""
    """What to do; empty where all is well."""


def failed(name: str, text: str) -> Finding:
    """Return the finding for an error of one line, which ends with what to do."""
    found, colon, advice = text.rpartition(": ")
    return Finding(name, "error", found, advice) if colon else Finding(name, "error", text)
