"""The login of an MLflow server: who else could reach it, and a password that only its owner can read."""

from __future__ import annotations

import os
import pwd
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.own_file import OpenToOthersError, read_own

USER = "marey"
FIRST_UID = 1000
"""Accounts of people begin here; those below serve programs."""
NO_SHELLS = ("nologin", "false", "sync", "halt", "shutdown")
LOCAL_SOURCES = frozenset(("files", "compat", "systemd", "altfiles", "mymachines", "nis"))
"""Sources of accounts in nsswitch.conf that list all they know."""


@dataclass(frozen=True)
class Login:
    """A name and a password."""

    name: str
    password: str
    new: bool
    """Whether it was made just now."""


def other_accounts() -> list[str]:
    """Return the other accounts of this machine that people log in with, root among them.

    A directory such as LDAP does not list its accounts; its name in nsswitch.conf stands for them.
    """
    own = os.getuid()
    found = [
        entry.pw_name
        for entry in pwd.getpwall()
        if entry.pw_uid != own
        and (entry.pw_uid >= FIRST_UID or entry.pw_uid == 0)
        and os.path.basename(entry.pw_shell) not in NO_SHELLS
    ]
    return found + [f"all of {source}" for source in _directories(Path("/etc/nsswitch.conf"))]


def _directories(switch: Path) -> list[str]:
    text = switch.read_text() if switch.is_file() else ""
    line = re.search(r"^\s*passwd:(.*)$", text, re.MULTILINE)
    words = re.sub(r"\[[^]]*\]|#.*", " ", line[1]).split() if line else []
    return [word for word in words if word not in LOCAL_SOURCES]


def given() -> Login | None:
    """Return the login of MLFLOW_AUTH_ADMIN_PASSWORD and MLFLOW_AUTH_ADMIN_USERNAME; None where there is none.

    Raises:
        ClusterError: a name was given without a password.
    """
    name, password = (os.environ.get(f"MLFLOW_AUTH_ADMIN_{word}", "") for word in ("USERNAME", "PASSWORD"))
    if name and not password:
        raise ClusterError("MLFLOW_AUTH_ADMIN_USERNAME is set without MLFLOW_AUTH_ADMIN_PASSWORD: set both")
    return Login(name or USER, password, new=False) if password else None


def keep(file: Path) -> Login:
    """Return the login that a file keeps, as NAME:PASSWORD; it is made where there is none, readable by its owner only.

    Raises:
        ClusterError: the file is another user's, was readable for others, or holds no login.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read(file)
    except OSError as error:
        raise ClusterError(f"{file} cannot be written: {error.strerror}") from error
    login = Login(USER, secrets.token_urlsafe(18), new=True)
    with open(descriptor, "w") as content:
        content.write(f"{login.name}:{login.password}\n")
    return login


def _read(file: Path) -> Login:
    try:
        name, _, password = read_own(file).decode().strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"{file}, which keeps the login, cannot be read ({error}): delete it") from error
    except OpenToOthersError as error:
        raise ClusterError(f"{file}, which keeps the login, can be read by others: delete it for a new one") from error
    if not re.fullmatch(r"[\w.-]+", name) or not re.fullmatch(r"[\w-]{12,}", password):
        raise ClusterError(f"{file} holds no login (NAME:PASSWORD): delete it for a new one")
    return Login(name, password, new=False)
