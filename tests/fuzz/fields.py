"""Location of a container's structure in a file: sizes, counts, types and headers, each as (offset, length)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Span = tuple[int, int]
_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"udta", b"dinf"}
_TABLES = {b"stts", b"stsc", b"stsz", b"stco", b"co64", b"ctts", b"stss", b"elst", b"mdhd", b"mvhd", b"tkhd", b"trun"}
_ELEMENTS = {0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0, 0x1549A966, 0x1C53BB6B, 0xBB, 0xA0, 0xB7}
_LISTS = {b"RIFF", b"LIST"}
_TS_PACKET = 188


def fields(container: str, data: bytes) -> list[Span]:
    """Return the spans of an undamaged file of a container."""
    return list(_WALKS[container](data))


def _boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Return size, type and, for tables, each 32-bit word."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        stop = min(start + max(size, 8), end)
        yield start, 4
        yield start + 4, 4
        if kind in _BOXES:
            yield from _boxes(data, start + 8, stop)
        elif kind in _TABLES:
            yield from ((at, 4) for at in range(start + 8, stop - 3, 4))
        elif kind in (b"stsd", b"ftyp"):
            yield start + 8, stop - start - 8
        start = stop


def _elements(data: bytes) -> Iterator[Span]:
    """Return id, size and, for short elements, the value."""
    at = 0
    while at < len(data):
        wide = 9 - data[at].bit_length()
        number = int.from_bytes(data[at : at + wide], "big")
        yield at, wide
        at += wide
        if at >= len(data):
            return
        wide = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + wide], "big") & ((1 << 7 * wide) - 1)
        yield at, wide
        at += wide
        if number not in _ELEMENTS:
            yield at, max(1, min(size, 8))
            at += size


def _chunks(data: bytes) -> Iterator[Span]:
    """Return type, size and, for headers, each 32-bit word."""
    at = 0
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        yield at, 4
        yield at + 4, 4
        at += 12 if kind in _LISTS else 8
        if kind in (b"avih", b"strh", b"strf", b"idx1"):
            yield from ((word, 4) for word in range(at, min(at + size, len(data) - 3), 4))
        if kind not in _LISTS:
            at += size + size % 2


def _packets(data: bytes) -> Iterator[Span]:
    """Return header and adaptation field of each packet of a transport stream, and the start of its payload."""
    for at in range(0, len(data), _TS_PACKET):
        yield at, 4
        yield at + 4, 8
        yield at + 12, 20


def _tags(data: bytes) -> Iterator[Span]:
    """Return the header of an flv, then type, size, time and first bytes of each tag."""
    yield 0, 13
    at = 13
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        yield from ((at, 1), (at + 1, 3), (at + 4, 4), (at + 11, 5), (at + 11 + size, 4))
        at += size + 15


def _blocks(data: bytes) -> Iterator[Span]:
    """Return the screen size and the image descriptors of a gif."""
    yield from ((0, 6), (6, 4), (10, 3))
    for mark, length in ((b"\x21\xf9\x04", 8), (b"\x00\x2c", 11)):
        at = data.find(mark)
        while at >= 0:
            yield at, length
            at = data.find(mark, at + 1)


_WALKS: dict[str, Callable[[bytes], Iterator[Span]]] = {
    "mp4": _boxes,
    "mov": _boxes,
    "matroska": _elements,
    "webm": _elements,
    "avi": _chunks,
    "mpegts": _packets,
    "flv": _tags,
    "gif": _blocks,
}
