"""Words of messages."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return a number and what it counts: `1 video`, `2 videos`, `1,000 classes`.

    Args:
        number: The number.
        one: What a single one is called.
        more: What others are called, where it is not that with an s.
    """
    if number == 1:
        return f"{number} {one}"
    return f"{number:,} {more or one + ('es' if one.endswith('s') else 's')}"
