"""Remote files: the one place that opens fsspec's file systems and sorts what they raise; addresses without secrets."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from tasks.errors import UserError

Result = TypeVar("Result")

# In a chain of addresses, as in zip://a.mp4::https://host/b.zip, each is one.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<rest>(?:(?!::[A-Za-z][\w+.-]*://)\S)+)")
_SECRET_PARAMETER = re.compile(
    r"(?P<mark>[?&;])(?:[\w.%-]*(?:signature|sig|token|secret|passw(?:or)?d|pwd|credentials?|authorization"
    r"|(?:access|api|account|private)[-_]?key(?:[-_]?id)?)|key|auth)=[^&;#\s]*",
    re.IGNORECASE,
)
# A secret key may hold slashes, which end the host of an address; digits after a colon are a port.
_UNQUOTED_SECRET = re.compile(r"[^/:@\s]*:(?!\d*(?:[/?#]|$))[^@\s]*@")


def without_credentials(text: str) -> str:
    """Return a text, such as an address, without the passwords, keys, tokens and signatures of the addresses in it.

    A user's name alone stays, except in http, where it may be a token.
    """
    return _ADDRESS.sub(_bare, text)


def _bare(address: re.Match[str]) -> str:
    scheme, rest = address["scheme"], address["rest"]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = host.rpartition("@")
    if at and (":" in user or scheme.lower() in ("http://", "https://")):
        rest = rest[len(user) + 1 :]
    elif not at and (secret := _UNQUOTED_SECRET.match(rest)):
        rest = rest[secret.end() :]
    path, mark, query = rest.partition("?")
    kept, secrets = _SECRET_PARAMETER.subn(lambda parameter: parameter["mark"], mark + query)
    if secrets:
        kept = re.sub(r"[&;]+(?=[&;#]|$)", "", re.sub(r"\?[&;]+", "?", kept))
        kept = "" if kept == "?" else kept.replace("?#", "#")
    return scheme + path + kept


def refuse_credentials(address: str) -> None:
    """Raise UserError where an address holds credentials: they would be stored with the data and the runs."""
    bare = without_credentials(address)
    if bare != address:
        raise UserError(
            f"the address {bare} was given with credentials, which would be stored with the data and the runs: set "
            "them in the environment (for s3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for PostgreSQL, PGPASSWORD),"
            " or download the file first"
        )


def open_url(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        UserError: there is no such file system, a package that it needs is not installed, or the URL holds credentials.
    """
    from fsspec.core import url_to_fs

    refuse_credentials(url)
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


class LateError(Exception):
    """A call has not ended in time; its thread is left to itself."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what a call that may hang returns, or raise what it raises; LateError if it takes longer."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # not a pool's, for whose end the interpreter would wait
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        if outcome.done():  # the call's own
            raise
        raise LateError from error
