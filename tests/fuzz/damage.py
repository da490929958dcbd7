"""Damaged videos by number: a number always gives the same file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from fields import Span, fields
from whole import WHOLES, Whole, content

Random = np.random.Generator
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
SUFFIXES = {"matroska": "mkv", "mpegts": "ts"}


@dataclass(frozen=True)
class Case:
    """A damaged video."""

    number: int
    whole: Whole
    damage: str
    data: bytes

    @property
    def name(self) -> str:
        """Name of the file."""
        suffix = SUFFIXES.get(self.whole.container, self.whole.container)
        return f"{self.number:06d}-{self.whole.name}-{self.damage}.{suffix}"


def case(number: int) -> Case:
    """Make a damaged video; consecutive numbers cycle through the videos and the kinds of damage."""
    rng = np.random.default_rng(number)
    whole = WHOLES[number % len(WHOLES)]
    damage = ORDER[number // len(WHOLES) % len(ORDER)]
    return Case(number, whole, damage, DAMAGES[damage](bytearray(content(whole)), whole, rng))


def _cut(data: bytearray, whole: Whole, rng: Random) -> bytes:
    near = int(rng.choice([len(data), 600, 64]))  # anywhere, or close to one of the ends
    length = int(rng.integers(0, near))
    return bytes(data[:length] if near == len(data) or rng.random() < 0.5 else data[: len(data) - length])


def _few_bits(data: bytearray, whole: Whole, rng: Random) -> bytes:
    return _flip(data, int(rng.integers(1, 9)), rng)


def _many_bits(data: bytearray, whole: Whole, rng: Random) -> bytes:
    return _flip(data, int(len(data) * 8 * 10 ** rng.uniform(-3.5, -1)) + 1, rng)


def _head_bits(data: bytearray, whole: Whole, rng: Random) -> bytes:
    return _flip(data, int(rng.integers(1, 33)), rng, end=int(rng.choice([32, 256, 1024])))


def _tail_bits(data: bytearray, whole: Whole, rng: Random) -> bytes:
    return _flip(data, int(rng.integers(1, 33)), rng, begin=max(0, len(data) - int(rng.choice([64, 512, 1500]))))


def _overwritten(data: bytearray, whole: Whole, rng: Random) -> bytes:
    at, length = _block(data, rng)
    fill = [bytes(length), b"\xff" * length, rng.bytes(length), b"\x00\x00\x01" * (length // 3)][rng.integers(4)]
    data[at : at + length] = fill
    return bytes(data)


def _swapped(data: bytearray, whole: Whole, rng: Random) -> bytes:
    length = int(rng.integers(1, max(2, len(data) // 3)))
    a, b = sorted(int(x) for x in rng.integers(0, len(data) - length + 1, 2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return bytes(data)


def _moved(data: bytearray, whole: Whole, rng: Random) -> bytes:
    """Remove, repeat or insert a block, so that everything after it moves."""
    at, length = _block(data, rng)
    middle = [b"", bytes(data[at : at + length]) * 2, rng.bytes(length) + data[at : at + length]][rng.integers(3)]
    return bytes(data[:at] + middle + data[at + length :])


def _random_body(data: bytearray, whole: Whole, rng: Random) -> bytes:
    keep = int(rng.choice([4, 12, 48, 200, 800]))
    return bytes(data[:keep]) + rng.bytes(int(rng.integers(0, 20_000)))


def _joined(data: bytearray, whole: Whole, rng: Random) -> bytes:
    """Join the beginning of one file and the end of another, often of another container."""
    other = content(WHOLES[rng.integers(len(WHOLES))])
    return bytes(data[: int(rng.integers(0, len(data)))]) + other[int(rng.integers(0, len(other))) :]


def _fields(data: bytearray, whole: Whole, rng: Random) -> bytes:
    """Change one to three fields of the container's structure: to an extreme or random number, or by one."""
    spans = fields(whole.container, content(whole))
    for index in rng.integers(len(spans), size=rng.integers(1, 4)):
        _spoil(data, spans[index], "little" if whole.container in ("avi", "gif") else "big", rng)
    return bytes(data)


def _spoil(data: bytearray, span: Span, order: str, rng: Random) -> None:
    at, length = span
    held = bytes(data[at : at + length])
    if length > 8 or rng.random() < 0.3:
        data[at : at + length] = _flip(bytearray(held), int(rng.integers(1, 4)), rng) if held else b""
        return
    number = int.from_bytes(held, order)  # type: ignore[arg-type]
    choices = [int(rng.choice(EXTREMES)), int(rng.integers(2**32)), number + 1, number - 1, number * 2, number // 2]
    spoilt = choices[rng.integers(len(choices))] % 256 ** len(held)
    data[at : at + length] = spoilt.to_bytes(len(held), order)  # type: ignore[arg-type]


def _flip(data: bytearray, count: int, rng: Random, begin: int = 0, end: int | None = None) -> bytes:
    end = len(data) if end is None else min(end, len(data))
    for bit in rng.integers(8 * begin, 8 * end, count):
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def _block(data: bytearray, rng: Random) -> tuple[int, int]:
    length = int(min(len(data), 10 ** rng.uniform(0.5, 3.5)))
    return int(rng.integers(0, len(data) - length + 1)), length


DAMAGES: dict[str, Callable[[bytearray, Whole, Random], bytes]] = {
    "cut": _cut,
    "few-bits": _few_bits,
    "fields": _fields,
    "overwritten": _overwritten,
    "head-bits": _head_bits,
    "swapped": _swapped,
    "many-bits": _many_bits,
    "random-body": _random_body,
    "moved": _moved,
    "tail-bits": _tail_bits,
    "joined": _joined,
}
ORDER = (*DAMAGES, "fields")
ROUND = len(WHOLES) * len(ORDER)
"""Cases after which every video has had every damage, and fields, of which there are many, twice."""
