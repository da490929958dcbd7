"""Names in one form of Unicode: macOS writes an accent as a letter of its own, most others write both as one."""

from __future__ import annotations

import os
import unicodedata

from tasks.errors import UserError
from tasks.remote import open_url, os_errors

_UNLISTED = ("http", "https")
"""File systems whose folders are pages, if there are any."""


def nfc(name: str) -> str:
    """Return the composed form of a name; two names that look alike and have one such form are one name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return what two names share that differ in composition and case alone."""
    return nfc(name).casefold()


def as_on_disk(path: str, listed: dict[str, dict[str, list[str]]] | None = None) -> str:
    """Return the path of a file whose name differs at most in the form of its Unicode; the same path if there is none.

    Args:
        path: An absolute path, or a URL; where its file system cannot be listed, it is returned as it is.
        listed: Folder -> composed name -> paths, for each folder looked into so far; filled by the call.

    Raises:
        UserError: there are two.
    """
    scheme, _, names = path.rpartition("://")
    if path.isascii() or os.path.lexists(path) or scheme in _UNLISTED or "::" in path:
        return path
    listed = {} if listed is None else listed
    below = names.lstrip("/")
    found = path.removesuffix(below)
    for name in below.split("/"):
        exact = _joined(found, name)
        alike = [exact] if _needs_no_look(exact, name) else _names(found, listed).get(nfc(name), [])
        if exact in alike:
            alike = [exact]
        if len(alike) > 1:
            raise UserError(f"{path} may be {' or '.join(alike)}: rename one")
        if not alike:
            return path
        found = alike[0]
    return found


def _joined(folder: str, name: str) -> str:
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def _needs_no_look(path: str, name: str) -> bool:
    return name.isascii() if "://" in path else os.path.lexists(path)


def _names(folder: str, listed: dict[str, dict[str, list[str]]]) -> dict[str, list[str]]:
    if folder not in listed:
        listed[folder] = {}
        for name in _remote_names(folder) if "://" in folder else _local_names(folder):
            listed[folder].setdefault(nfc(name), []).append(_joined(folder, name))
    return listed[folder]


def _local_names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []


def _remote_names(folder: str) -> list[str]:
    """Return the names in a folder; none where it cannot be listed, which whatever reads the file will say."""
    try:
        system, place = open_url(folder)
        with os_errors():
            return [entry.rstrip("/").rpartition("/")[2] for entry in system.ls(place, detail=False)]
    except (OSError, ValueError, UserError):
        return []
