"""Sidecars: what is known of a shard, and what is believed of it when it is read."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.data import storage
from tasks.data.sample import MOST_PIXELS
from tasks.data.sealed import seal, unseal
from tasks.errors import UserError
from tasks.remote import reason
from tasks.video.errors import TRANSIENT

FORMAT = 2
"""Version of everything in a prepared dataset; rises at most once between releases."""
BLOCK = tarfile.BLOCKSIZE
_FIELDS = {"format": int, "shard": int, "sha256": str, "bytes": int, "settings": str, "provisional": bool}
_FIELDS |= {"records": list, "members": list}
_RECORD = {"video_id": str, "status": str, "kind": str, "message": str, "decoder": str, "shard": int, "pieces": list}
_RECORD |= {"frames": int, "flows": int, "width": int, "height": int, "fps": float, "seconds": float}
_PIECE = {"first": int, "frames": int, "flows": int}
_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,8})\.(json|tar)")
_AHEAD = 128  # sidecars in memory
_MOST = 2**62  # bytes of a tar, frames of a video: sums of some stay below 64 bits


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
        sidecar = unseal(storage.read_small(sidecar_path(root, index)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedSidecar(root, index, reason(error)) from error
    except ValueError as error:  # too large, or a broken seal
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
    """Return what is wrong with a sidecar, nothing if all is well."""
    wrong = _wrong_fields(sidecar, _FIELDS)
    if wrong:
        return wrong
    if sidecar["format"] != FORMAT or sidecar["shard"] != index:
        return f"it says format {sidecar['format']}, shard {sidecar['shard']}"
    for record in sidecar["records"]:
        wrong = _wrong_record(record, index)
        if wrong:
            return f"record of video {record.get('video_id')!r}: {wrong}" if isinstance(record, dict) else wrong
    if sidecar["provisional"] != any(record["kind"] in TRANSIENT for record in sidecar["records"]):
        return "its field provisional does not match its records"
    return _wrong_members(sidecar["members"], sidecar["bytes"])


def _wrong_fields(found: Any, types: Mapping[str, type]) -> str:
    if not isinstance(found, dict):
        return f"{type(found).__name__} instead of fields"
    for name, kind in types.items():
        value = found.get(name)
        if type(value) is not kind and not (kind is float and type(value) is int):
            return f"its field {name} is {'missing' if value is None else f'not of type {kind.__name__}'}"
        if isinstance(value, int | float) and not 0 <= value <= _MOST:
            return f"its field {name} is {value}"
    return ""


def _wrong_record(record: Any, index: int) -> str:
    wrong = _wrong_fields(record, _RECORD)
    if wrong:
        return wrong
    ok = record["status"] == "ok"
    if not ok and record["status"] != "failed":
        return f"its status is {record['status']!r}"
    if record["shard"] != index or ok == bool(record["kind"]) or ok != bool(record["pieces"]):
        return "its fields contradict each other"
    if not int(ok) <= record["width"] * record["height"] <= MOST_PIXELS:
        return f"its frames have {record['width']} x {record['height']} pixels"
    return next(filter(None, (_wrong_fields(piece, _PIECE) for piece in record["pieces"])), "")


def _wrong_members(members: list[Any], size: int) -> str:
    """Members lie one after the other between their headers, and no two have one name."""
    end, names = 0, set()
    for member in members:
        if not (isinstance(member, list) and list(map(type, member)) == [str, int, int]):
            return f"a member is {member!r:.80}"
        name, offset, length = member
        if offset % BLOCK or offset < end + BLOCK or length < 0 or offset + length > size or name in names:
            return f"member {name!r:.80} lies at {offset} to {offset + length} of {size} bytes"
        end = offset + length
        names.add(name)
    return ""
