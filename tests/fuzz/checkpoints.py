"""Damaged checkpoints by number: each is refused in one line, unless what it says is what was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from learn_toys import IDENTITY, Table, Toy

from tasks.errors import UserError
from tasks.learn import checkpoint
from tasks.learn.checkpoint import Position, State
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler
from tasks.learn.settings import TrainSettings

FILES = (checkpoint.DOCUMENT_FILE, checkpoint.WEIGHTS_FILE, checkpoint.OPTIMIZER_FILE)
Random = np.random.Generator


def _bits(data: bytes, rng: Random) -> bytes:
    return _flipped(data, len(data), rng)


def _head(data: bytes, rng: Random) -> bytes:
    return _flipped(data, int(rng.choice([8, 64, 600])), rng)


def _flipped(data: bytes, end: int, rng: Random) -> bytes:
    changed = bytearray(data)
    for bit in rng.integers(8 * min(end, len(data)), size=rng.integers(1, 9)):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.integers(len(data))]


def _longer(data: bytes, rng: Random) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 500)))


def _zeros(data: bytes, rng: Random) -> bytes:
    begin, end = sorted(int(place) for place in rng.integers(len(data) + 1, size=2))
    return data[:begin] + bytes(end - begin) + data[end:]


def _noise(data: bytes, rng: Random) -> bytes:
    return rng.bytes(len(data))


def _text(data: bytes, rng: Random) -> bytes:
    """Another value in the place of one: what remains is JSON."""
    words = [b"null", b"-1", b"[]", b"{}", b'"x"', b"1e999", b"true", b"[" * 5000, b"9" * 5000]
    marks = [place for place in range(len(data)) if data[place : place + 2] == b": "]
    if not marks:
        return _noise(data, rng)
    begin = int(rng.choice(marks)) + 2
    end = min(found for mark in b",\n" if (found := data.find(mark, begin)) > 0)
    return data[:begin] + words[rng.integers(len(words))] + data[end:]


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (_bits, _head, _cut, _longer, _zeros, _noise, _text)


def make(folder: Path) -> Path:
    """Write a whole checkpoint."""
    state = _state()
    _step(state)
    snapshot = state.snapshot(IDENTITY, {"val/top1_percent": 50.0})
    assert snapshot is not None
    return snapshot.write(folder)


def hold(whole: Path, aside: Path, number: int) -> bool:
    """Damage a file of a copy and read it; return whether it was refused, AssertionError where a promise is broken.

    A refused one is passed over for the whole one, with one line. What is not refused is the whole one, bit for bit.
    """
    rng = np.random.default_rng(number)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(whole, aside)
    file = aside / FILES[number % len(FILES)]
    damage = DAMAGES[number // len(FILES) % len(DAMAGES)]
    file.write_bytes(damage(file.read_bytes(), rng))
    state, told = _state(), list[str]()
    try:
        checkpoint.read_identity(aside)
        checkpoint.load_weights(aside, state.network)
        position = checkpoint.resume(aside, state, IDENTITY)
    except UserError as error:
        _hold_line(str(error), aside)
        assert checkpoint.newest_whole([aside, whole], told.append) == whole
        (line,) = told
        _hold_line(line, aside)
        return True
    assert checkpoint.newest_whole([aside, whole], told.append) == aside
    assert (position, _digest(aside)) == (Position(2, 37), _digest(whole))
    return False


def _hold_line(told: str, aside: Path) -> None:
    assert str(aside) in told, f"{told} does not name the checkpoint"
    assert told.isprintable(), f"{told!r} is not one line"


def _digest(folder: Path) -> list[str]:
    """The sums of the files, and the content of checkpoint.json however it is laid out."""
    content = json.loads((folder / checkpoint.DOCUMENT_FILE).read_text())
    return [json.dumps(content), *(checkpoint.sum_of(folder / name) for name in FILES[1:])]


def _state() -> State:
    network = Toy()
    optimizer = build_optimizer(network, TrainSettings(optimizer="adamw"))
    return State(network, optimizer, grad_scaler(torch.device("cpu"), "fp16"), Position(2, 37))


def _step(state: State) -> None:
    batch = next(Table().batches(0, 1))
    state.network.losses(batch.clip, batch.labels)["total"].backward()  # type: ignore[operator]
    state.optimizer.step()
