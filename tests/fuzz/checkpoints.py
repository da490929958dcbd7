"""Damaged checkpoints by number: each is refused in one line, or loads tensors of the same kinds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from learn_toys import IDENTITY, Table, Toy
from torch.amp import GradScaler

from tasks.errors import UserError
from tasks.learn import checkpoint
from tasks.learn.checkpoint import Position
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
    network, optimizer, scaler = _parts()
    _step(network, optimizer)
    return checkpoint.save(folder, network, optimizer, scaler, IDENTITY, Position(2, 37))


def hold(whole: Path, aside: Path, number: int) -> bool:
    """Damage a file of a copy and read it; return whether it was refused, AssertionError where a promise is broken."""
    rng = np.random.default_rng(number)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(whole, aside)
    file = aside / FILES[number % len(FILES)]
    damage = DAMAGES[number // len(FILES) % len(DAMAGES)]
    file.write_bytes(damage(file.read_bytes(), rng))
    network, optimizer, scaler = _parts()
    before = _kinds(network)
    try:
        checkpoint.read_identity(aside)
        checkpoint.load_weights(aside, network)
        checkpoint.resume(aside, network, optimizer, scaler, IDENTITY)
    except UserError as error:
        told = str(error)
        assert str(aside) in told, f"{told} does not name the checkpoint"
        assert told.isprintable(), f"{told!r} is not one line"
        return True
    assert _kinds(network) == before
    _step(network, optimizer)  # with the state that was read
    return False


def _parts() -> tuple[Toy, torch.optim.Optimizer, GradScaler]:
    network = Toy()
    return network, build_optimizer(network, TrainSettings(optimizer="adamw")), grad_scaler(torch.device("cpu"), "fp16")


def _step(network: Toy, optimizer: torch.optim.Optimizer) -> None:
    batch = next(Table().batches(0, 1))
    network.losses(batch.clip, batch.labels)["total"].backward()
    optimizer.step()


def _kinds(network: torch.nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}
