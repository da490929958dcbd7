"""What a refused command writes."""

from __future__ import annotations

import re

_WAITING = re.compile(r"^\d\d:\d\d:\d\d waiting for .*\n", re.MULTILINE)


def refusal(stderr: str) -> str:
    """Return what is written to stderr but for lines about waiting, which a slow machine alone makes."""
    return _WAITING.sub("", stderr)
