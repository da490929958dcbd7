"""Numbers as recipes and command lines take them: decimal, finite, and without anything that could mean another one."""

from __future__ import annotations

import math
import re

LARGEST_INTEGER = 2**63 - 1
SMALLEST_INTEGER = -(2**63)

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SHOWN = 30


def number(text: str) -> int | float | None:
    """Return the number that a text is, such as 10, 0.1 or 1e-3; None for `010`, `0x10`, `1_000`, `1:30` or `inf`.

    Raises:
        ValueError: it is out of range.
    """
    if _INTEGER.fullmatch(text):
        if len(text) > len(str(SMALLEST_INTEGER)) or not SMALLEST_INTEGER <= int(text) <= LARGEST_INTEGER:
            raise ValueError(f"{_shortened(text)} is out of range: whole numbers have at most 64 bits")
        return int(text)
    if _FLOAT.fullmatch(text) is None:
        return None
    value = float(text) + 0.0  # without the sign of a zero
    if not math.isfinite(value) or (value == 0 and re.search("[1-9]", text.lower().partition("e")[0])):
        raise ValueError(f"{_shortened(text)} is out of range of a floating-point number")
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
