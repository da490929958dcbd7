"""Words and numbers as they stand on the page of `marey preview`."""

from __future__ import annotations

from tasks.words import counted


def thousands(number: int) -> str:
    """Return a number with commas."""
    return f"{int(number):,}"


def videos(number: int) -> str:
    """Return a number of videos."""
    return counted(number, "video")


def size(number: float) -> str:
    """Return bytes in the largest unit of which there is at least one."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.1f} {units[0]}" if number < 99.95 and units[0] != "bytes" else f"{number:,.0f} {units[0]}"


FILTERS = {"thousands": thousands, "videos": videos}
"""What templates may use by name."""
