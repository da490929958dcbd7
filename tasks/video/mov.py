"""The tables of an mp4 or mov file, for what FFmpeg believes before it reads a frame: how many there are."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_FIRST = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_NESTED = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_COUNT = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # where a table has the number of its frames


def promised_frames(path: str) -> int:
    """Return how many frames the tables of all streams name; 0 for files of other formats.

    FFmpeg makes an entry in memory for each before it returns, although a table may name them by a number alone.
    """
    with open(path, "rb") as file:
        if file.read(8)[4:] not in _FIRST:
            return 0
        return sum(_tables(file, 0, os.fstat(file.fileno()).st_size))


def _tables(file: BinaryIO, begin: int, end: int) -> Iterator[int]:
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        payload = begin + 8
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
            payload += 8
        after = end if size == 0 else min(end, begin + max(size, payload - begin))
        if kind in _NESTED:
            yield from _tables(file, payload, after)
        elif kind in _COUNT:
            file.seek(payload + _COUNT[kind])
            yield int.from_bytes(file.read(4), "big")
        begin = after
