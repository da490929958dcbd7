"""The token that a Ray cluster requires of every request."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read() -> str | None:
    """Return this user's token from where Ray looks: a variable, a file named by another, the home folder."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text().strip() if path.is_file() else None


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
