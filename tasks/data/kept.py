"""Finished pieces, kept aside in the dataset until their shard is committed: a kill costs no more than is being made.

`.kept/000000/00000012-0-0003` is piece 3 of the first attempt at row 12 of the manifest, which belongs to shard 0. Its
first line holds the CRC-32 of the second line and that of all that follows. The second line is JSON:

* identity: digest of format, settings and row; a piece of another identity counts as none
* outcome: the piece, or kind and message of a failure that will not pass
* members: name and size of each file of the piece; their contents follow

A piece is written in one step, but nobody waits for the disk: what a power cut damages is made again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from tasks.data import storage
from tasks.data.assembly import Assembly, Piece, Request
from tasks.data.shard import ShardPlan
from tasks.data.sidecar import FORMAT
from tasks.errors import UserError
from tasks.video import VideoError
from tasks.video.errors import TRANSIENT

FOLDER = ".kept"
_HEADER = 1 << 14
"""Bytes in which the first two lines are looked for."""
_AHEAD = 3
"""Pieces read ahead when a shard is written; a piece takes up to some 100 MB."""


@dataclass(frozen=True)
class KeptVideo:
    """Where the pieces of one video are kept."""

    root: str
    shard: int
    number: int
    """Row of the manifest."""
    identity: str
    retry_failed: bool = False
    """Whether a failure that was kept counts as none."""

    @classmethod
    def of(
        cls, root: str, shard: int, number: int, row: dict[str, Any], settings_digest: str, retry_failed: bool = False
    ) -> KeptVideo:
        """Return the place of a row of the manifest, prepared with some settings."""
        content = json.dumps([FORMAT, settings_digest, row], sort_keys=True)
        return cls(root, shard, number, hashlib.sha256(content.encode()).hexdigest(), retry_failed)

    def path(self, request: Request) -> str:
        """Return where the outcome of a request is kept."""
        name = f"{self.number:08d}-{request.attempt}-{request.number:04d}"
        return storage.join(_folder(self.root, self.shard), name)

    def write(self, request: Request, outcome: Piece | VideoError) -> None:
        """Keep a piece, or a failure; one that may pass is not kept.

        Raises:
            OSError: the dataset cannot be written.
        """
        if isinstance(outcome, Piece):
            described, members = asdict(replace(outcome, members=[])), outcome.members
        elif outcome.kind not in TRANSIENT:
            described, members = {"kind": outcome.kind, "message": outcome.message}, []
        else:
            return
        sizes = [(name, len(content)) for name, content in members]
        header = json.dumps({"identity": self.identity, "outcome": described, "members": sizes}).encode() + b"\n"
        crc = 0
        for _, content in members:
            crc = zlib.crc32(content, crc)
        storage.make_folder(_folder(self.root, self.shard))
        with storage.writing(self.path(request), synced=False) as aside, open(aside, "wb") as file:
            file.write(b"%08x %08x\n%b" % (zlib.crc32(header), crc, header))
            file.writelines(content for _, content in members)

    def read(self, request: Request) -> Piece | VideoError | None:
        """Return what is kept, without its members; None if nothing usable is there: it may be damaged, or foreign."""
        content = _read(self.path(request))
        return None if _members(content) is None else self._outcome(content)

    def glance(self, request: Request) -> Piece | VideoError | None:
        """Return what `read` does, but for damage to the members, which are not read."""
        return self._outcome(_read(self.path(request), _HEADER))

    def _outcome(self, content: bytes) -> Piece | VideoError | None:
        header = _header(content)
        if header is None or header["identity"] != self.identity:
            return None
        outcome = header["outcome"]
        if "kind" not in outcome:
            return Piece(**outcome)
        return None if self.retry_failed else VideoError(outcome["kind"], outcome["message"])


def read_members(paths: Iterable[str]) -> Iterator[list[tuple[str, memoryview]]]:
    """Yield name and content of each file of kept pieces, piece by piece.

    Raises:
        UserError: one is not there any more, or damaged.
    """
    paths = list(paths)
    try:
        for path, content in zip(paths, storage.read_each(paths, _AHEAD), strict=True):
            members = _members(content)
            if members is None:
                raise UserError(f"{path} is damaged: run the same `marey prepare` again, which makes it anew")
            yield members
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or error} was removed while it was needed: run the same `marey prepare` again"
        ) from error


def finished(
    root: str,
    plans: Iterable[ShardPlan],
    manifest: pa.Table,
    settings_digest: str,
    limit: int,
    retry_failed: bool = False,
) -> set[int]:
    """Return the rows of the manifest of which all pieces are kept, as far as their headers tell.

    Args:
        root: The dataset.
        plans: Shards to look for.
        manifest: The rows that the plans number.
        settings_digest: Digest of the settings to prepare with.
        limit: `max_sample_frames` of the settings.
        retry_failed: Whether failures count as none.
    """
    found = set(_numbers(root))
    return {
        number
        for plan in plans
        for number in found.intersection(plan.rows)
        for row in manifest.slice(number, 1).to_pylist()
        if _is_finished(KeptVideo.of(root, plan.index, number, row, settings_digest, retry_failed), limit)
    }


def remove(root: str, shard: int | None = None) -> None:
    """Remove what is kept of a shard, or of all."""
    storage.remove_folder(storage.join(root, FOLDER) if shard is None else _folder(root, shard))


def _folder(root: str, shard: int) -> str:
    return storage.join(root, FOLDER, f"{shard:06d}")


def _numbers(root: str) -> Iterator[int]:
    """Yield the rows of the manifest of which anything is kept."""
    folder = storage.join(root, FOLDER)
    if storage.exists(folder):
        for shard in (name for name, is_folder in storage.entries(folder) if is_folder):
            for name, _ in storage.entries(storage.join(folder, shard)):
                number = name.partition("-")[0]
                if number.isdecimal():  # not the remains of an interrupted writer
                    yield int(number)


def _is_finished(video: KeptVideo, limit: int) -> bool:
    assembly = Assembly("", limit)
    requests = [assembly.first()]
    while requests and not assembly.done:
        request = requests.pop(0)
        outcome = video.glance(request)
        if outcome is None:
            return False
        requests += assembly.take(request, outcome)
    return True


def _read(path: str, size: int | None = None) -> bytes:
    """Return the content of a file, or its beginning; of one that is not there, nothing."""
    try:
        return storage.read_bytes(path, 0, size)
    except FileNotFoundError:
        return b""


def _header(content: bytes) -> dict[str, Any] | None:
    """Return the second line, None if it is damaged."""
    first, _, rest = content[:_HEADER].partition(b"\n")
    header, end, _ = rest.partition(b"\n")
    if not end or first[:8] != b"%08x" % zlib.crc32(header + end):
        return None
    parsed: dict[str, Any] = json.loads(header)
    return parsed


def _members(content: bytes) -> list[tuple[str, memoryview]] | None:
    """Return name and content of each file, None if anything is damaged."""
    header = _header(content)
    if header is None:
        return None
    start = content.index(b"\n", content.index(b"\n") + 1) + 1
    files = memoryview(content)[start:]
    if content[9:17] != b"%08x" % zlib.crc32(files):
        return None
    members = []
    for name, size in header["members"]:
        members.append((name, files[:size]))
        files = files[size:]
    return members
