"""Dataset layouts: one module each, found by its name.

A layout is a module with `read(source, group=None) -> Listing`; a new one is a new file. One that is a table also takes
`group_column`.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.data.manifest import Listing


def names() -> list[str]:
    """Return the names of all layouts."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def read(layout: str, source: str, group: str | None = None, *, group_column: str | None = None) -> Listing:
    """List the videos of a source.

    Args:
        layout: One of `names()`.
        source: Folder or file, as a path or fsspec URL.
        group: Regular expression for the group of a video in its path below the source: its first group in
            parentheses, or all that it matches.
        group_column: Column of a table that holds the group of a video, instead of a pattern.

    Raises:
        UserError: the layout is unknown, or the source does not have it.
    """
    from tasks.data import storage
    from tasks.errors import UserError, did_you_mean
    from tasks.names import as_on_disk

    if layout not in names():
        raise UserError(f"unknown layout {layout!r}{did_you_mean(layout, names())}")
    source = as_on_disk(storage.absolute(source))
    function = import_module(f"{__name__}.{layout}").read
    if group_column is None:
        return function(source, group)
    if "group_column" not in inspect.signature(function).parameters:
        raise UserError(f"layout {layout} has no columns to take groups from: give a pattern for a video's path")
    return function(source, group, group_column=group_column)


def group_of(path: str, pattern: str | None) -> str | None:
    """Return the group of a video by its path below the source; UserError if the pattern finds nothing."""
    from tasks.errors import UserError
    from tasks.names import nfc

    if pattern is None:
        return None
    path = nfc(path)
    try:
        found = re.search(nfc(pattern), path)
    except re.error as error:
        raise UserError(f"the group pattern {pattern!r} is not a regular expression: {error}") from error
    if not found:
        raise UserError(f"the group pattern {pattern!r} finds nothing in {path!r}: it must match every video's path")
    return found[1] if found.re.groups else found[0]
