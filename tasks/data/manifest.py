"""The manifest (which videos there are) and the splits (to which part each belongs)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.endings import stem
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError, first_ten
from tasks.names import folded, nfc
from tasks.remote import refuse_credentials
from tasks.seeds import generator
from tasks.words import counted

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
GIVEN, SEEDED = "given", "seeded"

MANIFEST = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("label_id", pa.int32(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
    ]
)
_UNSAFE = re.compile(r"[%./\\~\x00-\x1f\x7f-\x9f\ud800-\udfff]")
SPLITS = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("split", "video_id", "part")])


@dataclass(kw_only=True, slots=True)
class Row:
    """A video as found by a layout."""

    video_id: str
    """Its name below the source, made safe by `video_id_of`."""
    uri: str
    """Absolute path, or fsspec URL."""
    label: str
    group: str | None = None
    """What must not be split between train and test: a person, a longer video that clips were cut from."""
    start_s: float | None = None
    end_s: float | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    """Split -> part, where the source has splits."""

    def __post_init__(self) -> None:
        self.label = nfc(self.label)
        self.group = None if self.group is None else nfc(self.group)


@dataclass
class Listing:
    """All videos of a source, and what was ignored there."""

    rows: list[Row]
    ignored: list[str] = field(default_factory=list)
    """Paths below the source, or what else was ignored and why."""
    notes: list[str] = field(default_factory=list)
    """What the user should know about the source, a line each."""


def video_id_of(text: str) -> str:
    """Make a name safe as the key of a sample, reversibly (`urllib.parse.unquote`) but for the form of its Unicode.

    Percent-encoded are: `%`, `.` (webdataset splits keys there), `/`, the backslash, `~` (it marks pieces), control
    characters, bytes that are not UTF-8, a leading `-`, and the second of two `_`. All else, spaces and any script
    included, stays: `A1/PS7A1P1T1` becomes `A1%2FPS7A1P1T1`.
    """
    text = _UNSAFE.sub(_percent, nfc(text)).replace("__", "_%5F")
    return "%2D" + text[1:] if text.startswith("-") else text


def video_ids_of(paths: Iterable[str]) -> dict[str, str]:
    """Return the id of each video by its path below the source.

    It is the path without its ending, made safe; where several paths differ in nothing but ending and case, the whole
    path.
    """
    stems = {path: stem(path) for path in paths}
    times = Counter(map(folded, stems.values()))
    return {path: video_id_of(path if times[folded(own)] > 1 else own) for path, own in stems.items()}


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def build(listing: Listing, settings: PrepareSettings) -> tuple[pa.Table, pa.Table]:
    """Make manifest and splits from a listing, the same whatever its order.

    Returns:
        The manifest, sorted by video_id, with labels numbered in alphabetical order; and the splits, sorted by split
        and video_id. Where the source has no split, one named `seeded` is made by `seeded_split`.

    Raises:
        UserError: there are no videos, two have the same id, a class has no training videos in a split that trains
            others, or is too small to be divided.
    """
    if not listing.rows:
        raise UserError("the source holds no videos")
    rows = sorted(listing.rows, key=lambda row: row.video_id)
    _refuse_names(rows)
    classes = {label: number for number, label in enumerate(sorted({row.label for row in rows}))}
    columns = {name: [getattr(row, name) for row in rows] for name in MANIFEST.names if name != "label_id"}
    manifest = pa.table({**columns, "label_id": [classes[row.label] for row in rows]}, schema=MANIFEST)
    names = sorted({name for row in rows for name in row.parts})
    if names:
        splits = {name: {row.video_id: row.parts[name] for row in rows if name in row.parts} for name in names}
    else:
        splits = {SEEDED: seeded_split(rows, settings)}
    for name, split in splits.items():
        _refuse_untrained(name, split, rows)
    columns = {
        "split": [name for name, split in splits.items() for _ in split],
        "video_id": [video_id for split in splits.values() for video_id in split],
        "part": [part for split in splits.values() for part in split.values()],
    }
    return manifest, pa.table(columns, schema=SPLITS)


def classes_of(manifest: pa.Table) -> list[str]:
    """Return the labels in the order of their numbers."""
    return sorted(manifest["label"].unique().to_pylist())


def part_numbers(split: pa.Table, video_ids: pa.ChunkedArray) -> np.ndarray:
    """Return the part of each video in a split, int8 [n]: an index of PARTS, or their number where it is in none.

    `split` are the rows of the splits that have its name.
    """
    parts = np.full(len(video_ids), len(PARTS), np.int8)
    # A split of all videos has them in this order: no table of a million names is needed.
    whole = split["video_id"].equals(video_ids)
    places = slice(None) if whole else np.asarray(pc.index_in(split["video_id"], video_ids))
    parts[places] = np.asarray(pc.index_in(split["part"], pa.array(PARTS)))
    return parts


def digest(table: pa.Table) -> str:
    """Return the sha256 (hex) of the content of a table of strings and numbers, whatever wrote its file."""
    state = Digest()
    for name in table.column_names:
        state.add(name, table[name])
    return state.hexdigest()


class Digest:
    """What `digest` returns, of a table that comes column by column; each may leave memory before the next.

    Of each column are taken its name and type, which rows have a value, the lengths of strings, and the values; nothing
    stands in the place of what has no value.
    """

    def __init__(self) -> None:
        self._state, self._begun = hashlib.sha256(), False

    def add(self, name: str, column: pa.ChunkedArray) -> None:
        """Take the next column."""
        state = self._state
        if not self._begun:
            state.update(str(len(column)).encode())
            self._begun = True
        state.update(json.dumps([name, str(column.type)]).encode())
        state.update(np.packbits(column.is_valid().to_numpy()).tobytes())
        column = column.drop_null()
        if pa.types.is_string(column.type):
            state.update(pc.binary_length(column).to_numpy())
            for chunk in column.chunks:
                state.update(_text(chunk))
        else:
            state.update(column.to_numpy())

    def hexdigest(self) -> str:
        """Return the sha256 of all columns."""
        return self._state.hexdigest()


def _text(strings: pa.StringArray) -> memoryview:
    """Return the bytes of all strings of an array, one after the other."""
    _, offsets, content = strings.buffers()
    if not len(strings) or content is None:
        return memoryview(b"")
    places = np.frombuffer(offsets, np.int32)
    return memoryview(content)[places[strings.offset] : places[strings.offset + len(strings)]]


def seeded_split(rows: list[Row], settings: PrepareSettings) -> dict[str, Part]:
    """Divide videos into train, val and test by seed, keeping groups together and classes in proportion.

    Each part wants its fraction of each class, at least one video. Groups are assigned in seeded order, those of the
    rarest class and the largest ones first, each to the part that lacks its classes most; the last ones of a class go
    to parts that have none of it yet. Videos without a group are groups of one.

    Raises:
        UserError: a class has fewer groups than there are parts.
    """
    fractions = {"train": 1.0, "val": settings.val_fraction, "test": settings.test_fraction}
    asked = [part for part in PARTS if fractions[part] > 0]
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        groups[_group(row)][row.label] += 1
    totals = Counter(row.label for row in rows)
    spread = Counter(label for members in groups.values() for label in members)
    for label in sorted(totals):
        if spread[label] < len(asked):
            raise UserError(
                f"class {label!r} has {counted(totals[label], 'video')} in {counted(spread[label], 'group')}, too "
                f"few to be divided into {', '.join(asked)}: add videos, supply a split, or set val_fraction or "
                "test_fraction to 0"
            )
    wanted: dict[str, Counter[str]] = {part: Counter() for part in asked}
    for label, total in totals.items():
        for part in asked[1:]:
            wanted[part][label] = max(1, round(fractions[part] * total))
        wanted["train"][label] = total - sum(wanted[part][label] for part in asked[1:])

    random = generator("split", settings.seed)
    names = sorted(groups)
    order = [names[i] for i in random.permutation(len(names))]
    order.sort(key=lambda name: (min(spread[label] for label in groups[name]), -groups[name].total()))
    part_of: dict[str, Part] = {}
    lacking = {label: set(asked) for label in totals}
    left = Counter(spread)
    for name in order:
        members = groups[name]
        urgent = {part for label in members if left[label] <= len(lacking[label]) for part in lacking[label]}
        best = max([part for part in asked if part in urgent] or asked, key=lambda part: _want(wanted[part], members))
        part_of[name] = best
        wanted[best].subtract(members)
        left.subtract(members.keys())
        for label in members:
            lacking[label].discard(best)
    return {row.video_id: part_of[_group(row)] for row in rows}


def _want(wanted: Counter[str], members: Counter[str]) -> float:
    """Return how much a part lacks what a group holds: the mean over its videos of what their classes lack."""
    return sum(wanted[label] * count for label, count in members.items()) / members.total()


def _group(row: Row) -> str:
    return f"group {row.group}" if row.group is not None else f"video {row.video_id}"


def _refuse_names(rows: Iterable[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        if "://" in row.uri:
            refuse_credentials(row.uri)
        for text in (row.uri, row.label, row.group or ""):
            if not text.isascii() and text.encode(errors="replace").decode() != text:
                raise UserError(f"the name {text!r} is not UTF-8: rename it")
        other = seen.setdefault(folded(row.video_id), row)
        if other is not row:
            raise UserError(
                f"two videos have the same id {row.video_id!r} (case does not count), {other.uri} and "
                f"{row.uri}: rename one, or list them in a CSV file with a video_id column"
            )


def _refuse_untrained(name: str, split: dict[str, Part], rows: list[Row]) -> None:
    trained = {row.label for row in rows if split.get(row.video_id) == "train"}
    if not trained:
        return  # it is for evaluation only
    missing = sorted({row.label for row in rows if row.video_id in split} - trained)
    if missing:
        raise UserError(
            f"split {name!r} has no training video of {first_ten([repr(label) for label in missing])}: every class "
            "must be in train; add videos, or " + ("choose another seed" if name == SEEDED else "leave it out")
        )
