"""Sidecars: what is known of a shard, and what is believed of it when it is read."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypedDict

import msgspec

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
_MOST = 2**62  # bytes of a tar, frames of a video: sums of some stay below 64 bits
_Whole = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_Real = Annotated[float, msgspec.Meta(ge=0, le=_MOST)]


class _Piece(TypedDict):
    first: _Whole
    frames: _Whole
    flows: _Whole


class _Record(TypedDict):
    video_id: str
    status: Literal["ok", "failed"]
    kind: str
    message: str
    decoder: str
    shard: _Whole
    pieces: list[_Piece]
    frames: _Whole
    flows: _Whole
    width: _Whole
    height: _Whole
    fps: _Real
    seconds: _Real


class _Sidecar(TypedDict):
    format: _Whole
    shard: _Whole
    sha256: str
    bytes: _Whole
    settings: str
    provisional: bool
    records: list[_Record]
    members: list[tuple[str, _Whole, _Whole]]


_DECODER = msgspec.json.Decoder(_Sidecar)


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


def read_sidecar(root: str, index: int) -> dict[str, Any] | None:
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
) -> Iterator[dict[str, Any]]:
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


def _try_sidecar(root: str, index: int) -> dict[str, Any] | DamagedSidecar | None:
    try:
        return read_sidecar(root, index)
    except DamagedSidecar as error:
        return error


def _wrong_sidecar(sidecar: dict[str, Any], index: int) -> str:
    """Return what contradicts itself in a sidecar, nothing if all is well."""
    if sidecar["format"] != FORMAT or sidecar["shard"] != index:
        return f"it says format {sidecar['format']}, shard {sidecar['shard']}"
    for record in sidecar["records"]:
        ok = record["status"] == "ok"
        if record["shard"] != index or ok == bool(record["kind"]) or ok != bool(record["pieces"]):
            return f"record of video {record['video_id']!r}: its fields contradict each other"
        width, height = record["width"], record["height"]
        if not ok <= width * height <= MOST_PIXELS:
            return f"record of video {record['video_id']!r}: its frames have {width} x {height} pixels"
    if sidecar["provisional"] != any(record["kind"] in TRANSIENT for record in sidecar["records"]):
        return "its field provisional does not match its records"
    return _wrong_members(sidecar["members"], sidecar["bytes"])


def _wrong_members(members: list[tuple[str, int, int]], size: int) -> str:
    """Members lie one after the other between their headers, and no two have one name."""
    end = 0
    for name, offset, length in members:
        if offset % BLOCK or offset < end + BLOCK or offset + length > size:
            return f"member {name!r:.80} lies at {offset} to {offset + length} of {size} bytes"
        end = offset + length
    names = [name for name, _, _ in members]
    if len(set(names)) < len(names):
        return f"it has two members {next(name for name in names if names.count(name) > 1)!r:.80}"
    return ""
