"""Names in one form of Unicode: macOS writes an accent as a letter of its own, most others write both as one."""

from __future__ import annotations

import unicodedata


def nfc(name: str) -> str:
    """Return the composed form of a name; two names that look alike and have one such form are one name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what two names share that differ in composition and case alone."""
    return nfc(name).casefold()
