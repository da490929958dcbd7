"""Where this machine keeps copies of what lies elsewhere: all of it can be deleted, and is then fetched again."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.errors import UserError

VARIABLE = "MAREY_CACHE"


def cache_folder() -> Path:
    """Return MAREY_CACHE, else `marey` in the account's cache folder; nothing is made.

    Raises:
        UserError: the account has no home.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(caches):
        raise UserError(f"this account has no home folder for copies of remote files: set {VARIABLE} to a folder")
    return Path(caches, "marey")
