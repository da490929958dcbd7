"""Words and numbers as they stand on a page."""

from __future__ import annotations

import re
from html import escape


def plain(text: str) -> str:
    """Return any text as HTML that shows it: markup, control characters and broken Unicode are made visible."""
    return escape(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda match: f"\\x{ord(match[0]):02x}", text))


def count(number: int) -> str:
    """Return a number with commas."""
    return f"{int(number):,}"


def videos(number: int) -> str:
    """Return a number of videos."""
    return f"{number:,} video{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Return bytes in the largest unit of which there is at least one."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.1f} {units[0]}" if number < 99.95 and units[0] != "bytes" else f"{number:,.0f} {units[0]}"
