"""Names in one form of Unicode: macOS writes an accent as a letter of its own, most others write both as one."""

from __future__ import annotations

import os
import unicodedata

from tasks.errors import UserError


def nfc(name: str) -> str:
    """Return the composed form of a name; two names that look alike and have one such form are one name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what two names share that differ in composition and case alone."""
    return nfc(name).casefold()


def as_on_disk(path: str, listed: dict[str, dict[str, list[str]]] | None = None) -> str:
    """Return the path of a file whose name differs at most in the form of its Unicode; the same path if there is none.

    Args:
        path: An absolute path, or a URL, which is returned as it is.
        listed: Folder -> composed name -> paths, for each folder looked into so far; filled by the call.

    Raises:
        UserError: there are two.
    """
    if path.isascii() or "://" in path or os.path.lexists(path):
        return path
    listed = {} if listed is None else listed
    found = "/"
    for name in path.split("/")[1:]:
        exact = os.path.join(found, name)
        alike = [exact] if os.path.lexists(exact) else _names(found, listed).get(nfc(name), [])
        if len(alike) > 1:
            raise UserError(f"{path} may be {' or '.join(alike)}: rename one")
        if not alike:
            return path
        found = alike[0]
    return found


def _names(folder: str, listed: dict[str, dict[str, list[str]]]) -> dict[str, list[str]]:
    if folder not in listed:
        names = os.listdir(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []
        listed[folder] = {}
        for name in names:
            listed[folder].setdefault(nfc(name), []).append(os.path.join(folder, name))
    return listed[folder]
