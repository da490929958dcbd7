"""Remote files: the one place that opens fsspec's file systems and sorts what they raise."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.errors import UserError


def open_url(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        UserError: there is no such file system, or a package that it needs is not installed.
    """
    from fsspec.core import url_to_fs

    if "::" in url and "://" not in url.partition("::")[2]:
        raise UserError(f"{url} cannot be opened, as fsspec takes :: for a chain of file systems: rename the file")
    try:
        # No cache of listings: other processes write there too, and an old listing would hide their files.
        system, path = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url} cannot be opened: {str(error).rstrip('.')}") from error
    return system, path


@contextmanager
def os_errors() -> Iterator[None]:
    """Turn what the libraries below fsspec raise into OSError: each has errors of its own, such as botocore's.

    ValueError stays: it means an invalid address, which no later attempt can open.
    """
    try:
        yield
    except (OSError, UserError, ValueError):
        raise
    except Exception as error:
        if type(error).__module__ == "builtins":  # a defect, not a failure
            raise
        raise OSError(errno.EIO, " ".join(str(error).split()) or type(error).__name__) from error


def reason(error: OSError) -> str:
    """Return why an operation failed, as the end of a message."""
    return (error.strerror or str(error) or type(error).__name__).rstrip(".")
