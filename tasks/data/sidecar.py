"""Sidecars: what is known of a shard, and what is believed of it when it is read."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tasks.data import storage
from tasks.data.sample import MOST_PIXELS
from tasks.data.sealed import seal, unseal
from tasks.errors import UserError
from tasks.remote import reason
from tasks.video.errors import TRANSIENT

FORMAT = 2
"""Version of everything in a prepared dataset; rises at most once between releases."""
BLOCK = tarfile.BLOCKSIZE
_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,8})\.(json|tar)")
_AHEAD = 128  # sidecars in memory
_MOST = 2**60  # bytes of a tar, frames of a video: sums of some stay below 64 bits
_Whole = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_Real = Annotated[float, msgspec.Meta(ge=0, le=_MOST)]


# What Python's search for circles would look through for nothing (gc=False): of a million samples there are millions.
class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of a video, in frames of the whole."""

    first: _Whole
    frames: _Whole
    flows: _Whole


class Member(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """A member of a shard's tar, and the bytes at which it lies."""

    name: str
    offset: _Whole
    size: _Whole


class Record(msgspec.Struct, frozen=True, gc=False):
    """What came of a video, which `marey prepare` reports."""

    video_id: str
    status: Literal["ok", "failed"]
    kind: str
    message: str
    decoder: str
    shard: _Whole
    pieces: list[Piece]
    frames: _Whole
    flows: _Whole
    width: _Whole
    height: _Whole
    fps: _Real
    seconds: _Real


class Sidecar(msgspec.Struct, frozen=True, gc=False):
    """What stands in a shard's sidecar."""

    format: _Whole
    shard: _Whole
    sha256: str
    bytes: _Whole
    settings: str
    provisional: bool
    records: list[Record]
    members: list[Member]


_DECODER = msgspec.json.Decoder(Sidecar)


class DamagedSidecar(UserError):
    """A sidecar is not as it was written."""

    def __init__(self, root: str, shard: int, reason: str) -> None:
        super().__init__(root, shard, reason)
        self.path, self.shard, self.reason = sidecar_path(root, shard), shard, reason

    def __str__(self) -> str:
        return f"{self.path} is damaged ({self.reason}): run the same `marey prepare` again"


def sidecar_path(root: str, index: int) -> str:
    """Return the path of a shard's sidecar."""
    return storage.join(root, "shards", f"{index:06d}.json")


def write_sidecar(root: str, sidecar: dict[str, Any]) -> None:
    """Write the sidecar of a shard, in one step."""
    storage.publish(sidecar_path(root, sidecar["shard"]), seal(sidecar))


def read_sidecar(root: str, index: int) -> Sidecar | None:
    """Return the sidecar of a shard; None if the shard was never finished.

    Raises:
        DamagedSidecar: it does not match its checksum, or what it says cannot be.
    """
    try:
        sidecar = unseal(storage.read_small(sidecar_path(root, index)), _DECODER)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedSidecar(root, index, reason(error)) from error
    except ValueError as error:  # too large, a broken seal, or other fields and types than those of a sidecar
        raise DamagedSidecar(root, index, str(error)) from error
    wrong = _wrong_sidecar(sidecar, index)
    if wrong:
        raise DamagedSidecar(root, index, wrong)
    return sidecar


def read_sidecars(
    root: str, damaged: list[DamagedSidecar] | None = None, shards: Sequence[int] | None = None
) -> Iterator[Sidecar]:
    """Yield all sidecars in the order of their shards.

    Args:
        root: The prepared dataset.
        shards: The shards whose sidecars are read; None for all that have one.
        damaged: Where to put what is wrong with damaged ones; without it the first of them ends the reading.

    Raises:
        DamagedSidecar: one is damaged.
    """
    found = numbered(root, "json") if shards is None else shards
    with ThreadPoolExecutor(storage.READERS, thread_name_prefix="marey-sidecars") as pool:
        for first in range(0, len(found), _AHEAD):
            for read in pool.map(lambda index: _try_sidecar(root, index), found[first : first + _AHEAD]):
                if isinstance(read, DamagedSidecar):
                    if damaged is None:
                        raise read
                    damaged.append(read)
                elif read is not None:
                    yield read


def numbered(root: str, ending: str) -> list[int]:
    """Return the numbers of the shards that have a file of this ending, ascending."""
    folder = storage.join(root, "shards")
    names = [name for name, _ in storage.entries(folder)] if storage.exists(folder) else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)) and match[2] == ending)


def _try_sidecar(root: str, index: int) -> Sidecar | DamagedSidecar | None:
    try:
        return read_sidecar(root, index)
    except DamagedSidecar as error:
        return error


def _wrong_sidecar(sidecar: Sidecar, index: int) -> str:
    """Return what contradicts itself in a sidecar, nothing if all is well."""
    if sidecar.format != FORMAT or sidecar.shard != index:
        return f"it says format {sidecar.format}, shard {sidecar.shard}"
    for record in sidecar.records:
        ok = record.status == "ok"
        if record.shard != index or ok == bool(record.kind) or ok != bool(record.pieces):
            return f"record of video {record.video_id!r}: its fields contradict each other"
        if not ok <= record.width * record.height <= MOST_PIXELS:
            return f"record of video {record.video_id!r}: its frames have {record.width} x {record.height} pixels"
    if sidecar.provisional != any(record.kind in TRANSIENT for record in sidecar.records):
        return "its field provisional does not match its records"
    return _wrong_members(sidecar.members, sidecar.bytes)


def _wrong_members(members: list[Member], size: int) -> str:
    """Members lie one after the other between their headers, and no two have one name."""
    starts = np.array([member.offset for member in members], np.int64)
    ends = starts + np.array([member.size for member in members], np.int64)
    before = np.concatenate([[0], ends])[:-1]
    wrong = np.flatnonzero((starts % BLOCK != 0) | (starts < before + BLOCK) | (ends > size))
    if len(wrong):
        member = members[wrong[0]]
        return f"member {member.name!r:.80} lies at {member.offset} to {member.offset + member.size} of {size} bytes"
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        return f"it has two members {next(name for name in names if names.count(name) > 1)!r:.80}"
    return ""
