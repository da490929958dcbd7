"""Create a file only where there is none, of which locks are made."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from tasks.data import storage
from tasks.errors import UserError
from tasks.remote import open_url, os_errors, reason

CONDITIONAL = frozenset({"s3", "s3a", "gs", "gcs", "memory"})
"""File systems whose fsspec packages can create a file only if it does not exist; most others ignore the condition, or
check it before they write."""


def create(path: str, content: bytes) -> bool:
    """Create a file unless it exists; return whether its content is now the given one."""
    if storage.is_local(path):
        return _create_here(path, content)
    if not _conditional(path):
        if not storage.exists(path):
            storage.publish(path, content)
        return storage.read_bytes(path) == content
    with storage.at_url(path, "written") as (system, remote):
        try:
            with os_errors():
                system.pipe_file(remote, content, mode="create")
        except OSError:
            # The file exists; or ours arrived, the answer was lost, and a second attempt found it.
            try:
                found: bytes | None = system.cat_file(remote)
            except FileNotFoundError:
                found = None
            if found is None:
                raise
            return found == content
        return True


def creates_exclusively(path: str, content: bytes) -> bool:
    """Return whether `create` is safe against a simultaneous one; `path` must hold the content already."""
    if storage.is_local(path):
        return True
    if not _conditional(path):
        return False
    system, remote = open_url(path)
    try:
        with os_errors():
            system.pipe_file(remote, content, mode="create")
    except OSError:
        return True
    return False  # a store that speaks S3 and ignores the condition


def _create_here(path: str, content: bytes) -> bool:
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(aside, "xb") as file:
            file.write(content)
        os.link(aside, path)  # whole or not at all, also of two machines that share the folder
    except FileExistsError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}") from error
    finally:
        with suppress(OSError):
            os.unlink(aside)
    return True


def _conditional(path: str) -> bool:
    return path.partition("://")[0] in CONDITIONAL
