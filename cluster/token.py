"""The token that a Ray cluster requires of every request."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

from cluster.errors import ClusterError

LONGEST = 4096


def read() -> str | None:
    """Return this user's token from where Ray looks: a variable, a file named by another, the home folder.

    Raises:
        ClusterError: the file cannot be read, or holds no token.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return check(value, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else _in_home()
    if path is None or not path.is_file():
        if named:
            raise ClusterError(f"RAY_AUTH_TOKEN_PATH={named} is not a file: correct it, or unset it")
        return None
    try:
        with path.open("rb") as file:
            return check(file.read(LONGEST + 1).decode("latin-1").strip(), str(path)) or None
    except OSError as error:
        raise ClusterError(
            f"cannot read the token in {path} ({error.strerror}): correct RAY_AUTH_TOKEN_PATH"
        ) from error


def check(value: str, source: str) -> str:
    """Return a token that can stand in a header.

    Raises:
        ClusterError: it has other characters, or is too long.
    """
    if len(value) > LONGEST or any(not "!" <= character <= "~" for character in value):
        raise ClusterError(f"{source} holds no token (one word of at most {LONGEST} ASCII characters): correct it")
    return value


def provide(aside: Path) -> Path | None:
    """Make sure that Ray finds a token for a cluster of its own, readable by this account alone.

    Ray itself would write ~/.ray/auth_token for everybody to read. Where that file cannot be ours, a token goes to
    `aside`, and the caller lets Ray know.

    Returns:
        `aside` if it was written, else None.

    Raises:
        ClusterError: the environment names a token that is none.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        read()
        return None
    path = _in_home()
    if path is not None and _provide_in_home(path):
        return None
    create(aside)
    return aside


def create(path: Path) -> str:
    """Write a new token to `path`, readable by its owner only, and return it."""
    value = secrets.token_hex(32)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value)
    return value


def header(value: str | None) -> dict[str, str]:
    """Return the HTTP (and gRPC) header that carries the token."""
    return {"authorization": f"Bearer {value}"} if value else {}


def _in_home() -> Path | None:
    # Of the variable alone, as in Ray: an account without a name has no other home.
    home = os.environ.get("HOME")
    return Path(home) / ".ray" / "auth_token" if home else None


def _provide_in_home(path: Path) -> bool:
    """Return whether the file holds a token and is this account's alone, made so where possible."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        folder = path.parent.stat()
        if folder.st_uid != os.geteuid():
            return False
        if folder.st_mode & 0o022:  # others could put a token of theirs in its place
            path.parent.chmod(stat.S_IMODE(folder.st_mode) & ~0o022)
        if not path.exists() or path.stat().st_size == 0:
            _put(path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            info = os.fstat(descriptor)
            if info.st_uid != os.geteuid() or not stat.S_ISREG(info.st_mode):
                return False
            if info.st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError:  # such as a home that cannot be written
        return False
    return bool(read())


def _put(path: Path) -> None:
    """Write a token as a whole, and only where no other run has put one meanwhile."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
        new = Path(folder) / "token"
        create(new)
        if path.exists():  # empty
            new.replace(path)
            return
        try:
            path.hardlink_to(new)
        except FileExistsError:
            return
