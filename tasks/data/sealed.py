"""JSON objects that carry the checksum of their own text."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec
from xxhash import xxh3_64_hexdigest

_SEAL = re.compile(rb'\{"xxh3": "([0-9a-f]{16})", (?=")')
_TIME = b'"seconds": '
_NUMBER = b"0123456789.e+-"


T = TypeVar("T")
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class BrokenSeal(ValueError):
    """A JSON file is not as it was written; the message says how."""


def seal(content: dict[str, Any], *, ascii_only: bool = True) -> bytes:
    """Return a JSON object with the checksum `xxh3` (hex) as its first field.

    The checksum is that of the object without it, and without the values of `seconds`, which differ between two
    preparations of the same videos. Keys are sorted.
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=ascii_only).encode()
    return b'{"xxh3": "%s", %s' % (_checksum(text).encode(), text[1:])


def unseal(data: bytes | memoryview, decoder: msgspec.json.Decoder[T] = _OBJECT) -> T:  # type: ignore[assignment]
    """Return the content of a sealed JSON object, with the fields and types of `decoder`.

    Raises:
        BrokenSeal: it is cut, changed, or something else.
    """
    text = bytes(data)
    found = _SEAL.match(text)
    if found is None:
        raise BrokenSeal("it begins otherwise than marey writes it" if text else "it is empty")
    text = b"{" + text[found.end() :]
    if _checksum(text) != found[1].decode():
        raise BrokenSeal("its content does not match its checksum")
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:  # a checksum does not prove good intent
        raise BrokenSeal(str(error)) from error


def _checksum(text: bytes) -> str:
    first, *others = text.split(_TIME)
    return xxh3_64_hexdigest(_TIME.join([first, *(other.lstrip(_NUMBER) for other in others)]))
