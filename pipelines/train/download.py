"""Files from other machines: whole, of a bounded size, and over http only with the sha256 that they must have."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipelines.errors import UserError
from tasks.files import replacing
from tasks.remote import open_url, os_errors, reason, refuse_credentials

LARGEST_BYTES = 4 * 2**30
"""Size of the largest file that is downloaded."""
DIGITS = 16
"""First digits of a sha256 that nobody finds another file for."""
PLAIN = ("http", "ftp")
"""Protocols without encryption: whoever carries the bytes can change them."""
PATIENCE_S = 60.0
_BLOCK = 1 << 20


def refuse_unsafe(url: str, sha256: str | None) -> None:
    """Raise UserError where a URL holds credentials, or has no encryption and no sha256 to check what comes."""
    refuse_credentials(url)
    if url.partition("://")[0].lower() in PLAIN and len(sha256 or "") < DIGITS:
        raise UserError(
            f"model.weights: {url} comes without encryption, so that anyone on the way can change it: give at least "
            f"{DIGITS} digits of its sha256 in model.weights_sha256, or an https:// address"
        )


def download(url: str, place: Path, sha256: str | None) -> None:
    """Copy a file to `place`; whatever goes wrong or interrupts it, there is the whole file or nothing.

    Args:
        url: its address.
        place: where it is to lie; the folder exists.
        sha256: its sha256 or the first digits of it, checked before the file is put in place; None checks nothing.

    Raises:
        UserError: it cannot be read, is too large, ends early, or is another file.
    """
    refuse_unsafe(url, sha256)
    hashed = hashlib.sha256()
    try:
        with replacing(place) as aside, _opened(url) as (there, size):
            if size is not None and size > LARGEST_BYTES:
                raise _too_large(url)
            with open(aside, "wb") as here:
                received = 0
                while block := there.read(_BLOCK):
                    received += len(block)
                    if received > LARGEST_BYTES:
                        raise _too_large(url)
                    hashed.update(block)
                    here.write(block)
            if size is not None and received != size:
                raise UserError(f"model.weights: {url} ended after {received} of {size} bytes: try again")
            if sha256 and not hashed.hexdigest().startswith(sha256.lower()):
                raise UserError(
                    f"{url} has sha256 {hashed.hexdigest()}, not {sha256}: it is another file, or damaged on its way"
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
        raise UserError(f"model.weights: {url} cannot be downloaded ({why})") from error


@contextmanager
def _opened(url: str) -> Iterator[tuple[IO[bytes] | Any, int | None]]:
    """Give the content of a URL and its size in bytes, where the other side knows it."""
    if url.startswith(("http://", "https://")):
        request = urllib.request.Request(url, headers={"User-Agent": "marey"})
        with urllib.request.build_opener(_Redirects).open(request, timeout=PATIENCE_S) as answer:
            size = answer.headers.get("Content-Length")
            yield answer, int(size) if size else None
        return
    with os_errors():
        system, path = open_url(url)
        with system.open(path, "rb") as file:
            yield file, getattr(file, "size", None)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect, but not from an encrypted address to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.URLError("it leads to an address without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _too_large(url: str) -> UserError:
    return UserError(f"model.weights: {url} must have at most {LARGEST_BYTES // 2**30} GiB: download it by hand")
