"""Kinetics-400, -600 and -700, HACS Clips, and Moments in Time: CSV lists of clips, some of which are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.data import storage
from tasks.data.endings import ending, is_named_video, stem
from tasks.data.layouts import _published as published
from tasks.data.layouts import group_of
from tasks.data.layouts._table import Table, lines_of, place, read_rows, read_text
from tasks.data.manifest import GIVEN, Listing, Part, Row, video_id_of
from tasks.errors import UserError, first_ten
from tasks.names import nfc

_PARTS: dict[str, Part] = {"train": "train", "val": "test", "test": "val"}
"""Published part -> part of the split; `_published.py` explains why."""
_PUBLISHED = {"train": "train", "training": "train", "val": "val", "validate": "val", "validation": "val"}
_PUBLISHED |= {"test": "test", "testing": "test"}
_KINETICS = {"youtube_id", "time_start", "time_end", "split"}
_HACS = {"classname", "youtube_id", "subset", "start", "end", "label"}
_MOMENTS = {"trainingSet.csv": "training", "validationSet.csv": "validation"}
_LIST_FOLDERS = ("annotations", "HACS_v1.1.1")

_Key = tuple[str, str, str]
"""Part, class (with `_` for spaces) and name without ending of a file; empty if no folder gives it."""


@dataclass(kw_only=True, slots=True)
class _Clip:
    """A clip as a line of a list has it."""

    place: str
    id: str
    label: str
    part: str
    """Published part: train, val or test."""
    path: str
    """Expected path below the source."""
    whole: str = ""
    """Name of the whole video, without its ending."""
    start_s: float | None = None
    end_s: float | None = None
    """Its range within the whole video, from `start_s`."""
    group: str | None = None
    left_out: str = ""
    """Why it gets no row; empty if it gets one."""
    file: str = ""
    """Actual path below the source; empty if the clip is missing."""


def read(source: str, group: str | None = None) -> Listing:
    """List the clips that the lists in SOURCE, `SOURCE/annotations` or `SOURCE/HACS_v1.1.1` name.

    Kinetics: CSV files with `label,youtube_id,time_start,time_end,split`. A clip is
    `<part>/<label>/<youtube_id>_<start>_<end>.mp4`, with six digits per time and spaces or `_` in the label, or
    `<part>/<youtube_id>_<start>_<end>.mp4`; or it is that range of a whole video `<youtube_id>.mp4`, there or in
    SOURCE. HACS Clips: a CSV file with `classname,youtube_id,subset,start,end,label`; a clip is that range of
    `<classname>/v_<youtube_id>.mp4`. Those with label -1 do not show their class and do not belong to the set. Moments
    in Time: `trainingSet.csv` and `validationSet.csv` with `path,label` and votes, without a header, for
    `training/<path>` and `validation/<path>`. Other containers than mp4 are read too, such as mkv and webm beside it.

    Clips that are listed but missing are normal for these sets: they stay, fail as `missing`, and count for
    `--max-failed`. Clips that are there but not listed are ignored. Validation is `test`; the test part is `val` if it
    has labels and any of its clips is there, else it is left out (`_published.py`). The group of a clip is its YouTube
    video.

    Raises:
        UserError: there is no list, a line of one is wrong, or all clips are missing.
    """
    source = storage.absolute(source)
    wrong: list[str] = []
    moments = len(published.found(source, *_MOMENTS)) == len(_MOMENTS)
    clips = list(_moments(source, wrong) if moments else _csv_lists(source, wrong))
    files, ignored = _files(source)
    for clip in clips:
        clip.file = _locate(clip, files)
    test = [clip for clip in clips if clip.part == "test" and not clip.left_out]
    if not any(clip.file for clip in test):
        for clip in test:
            clip.left_out = "of the test part, of which none is there"
    kept: dict[str, _Clip] = {}
    for clip in clips:
        if not clip.left_out:
            first = kept.setdefault(clip.id, clip)
            if (first.label, first.part) != (clip.label, clip.part):
                wrong.append(f"{clip.place} repeats {clip.id} with another label or part")
    published.refuse(source, wrong)
    if not any(clip.file for clip in kept.values()):
        expected = first_ten([clip.path for clip in kept.values()])
        raise UserError(f"{source} holds none of the {len(kept)} labelled clips in its lists: {expected}")
    reasons = Counter((clip.place.rpartition(" line ")[0], clip.left_out) for clip in clips if clip.left_out)
    listing = Listing([], [f"{name}, clips {reason}: {count}" for (name, reason), count in reasons.items()])
    listing.ignored += sorted({*files.values()} - {clip.file for clip in clips}) + ignored
    listing.rows += [_row(clip, source, group) for clip in kept.values()]
    return listing


def _row(clip: _Clip, source: str, group: str | None) -> Row:
    path = clip.file or clip.path
    is_whole = stem(path).rpartition("/")[2] == clip.whole
    return Row(
        video_id=video_id_of(clip.id),
        uri=storage.join(source, path),
        label=clip.label,
        group=group_of(path, group) if group else clip.group,
        start_s=clip.start_s if is_whole else None,
        end_s=clip.end_s if is_whole else None,
        parts={GIVEN: _PARTS[clip.part]},
    )


def _files(source: str) -> tuple[dict[_Key, str], list[str]]:
    """Return the videos in the source and up to two folders below it, and what else is in these folders."""
    files: dict[_Key, str] = {}
    others: list[str] = []

    def walk(below: str, part: str, label: str) -> None:
        for name, is_folder in sorted(storage.entries(storage.join(source, below)), key=_mp4_first):
            path = f"{below}/{name}".lstrip("/")
            key = part, label, nfc(stem(name))
            if is_named_video(name) and not is_folder and not name.startswith(".") and key not in files:
                files[key] = path
            elif not below and is_folder and name in _PUBLISHED:
                walk(path, _PUBLISHED[name], "")
            elif is_folder and not label and name not in _LIST_FOLDERS and not name.startswith("."):
                walk(path, part, nfc(name.replace(" ", "_")))
            elif below:
                others.append(path)

    walk("", "", "")
    return files, sorted(others)


def _mp4_first(entry: tuple[str, bool]) -> tuple[bool, str]:
    return ending(entry[0]) != "mp4", entry[0]


def _locate(clip: _Clip, files: dict[_Key, str]) -> str:
    folder, _, file = nfc(clip.path).rpartition("/")
    label_folder = folder.rpartition("/")[2].replace(" ", "_")
    for name in (stem(file), nfc(clip.whole)):
        for part in (clip.part, ""):
            for label in (label_folder, ""):
                if (part, label, name) in files:
                    return files[part, label, name]
    return ""


def _csv_lists(source: str, wrong: list[str]) -> Iterator[_Clip]:
    """Yield the clips of all CSV files with the columns of Kinetics or HACS."""
    known = False
    for path in _csv_files(source):
        table = Table(path)
        for columns, read_line in ((_HACS, _hacs), (_KINETICS, _kinetics)):
            if columns <= set(table.columns):
                known = True
                yield from _clips(table, read_line, wrong)
                break
    if not known:
        for path in _csv_files(source):
            Table(path).refuse_separator()
        raise UserError(
            f"{source} holds no CSV file with the columns {', '.join(sorted(_KINETICS))} (Kinetics) or "
            f"{', '.join(sorted(_HACS))} (HACS), and not both of {' and '.join(_MOMENTS)} (Moments in Time)"
        )


def _csv_files(source: str) -> list[str]:
    folders = [source, *published.found(source, *_LIST_FOLDERS)]
    entries = [(folder, *entry) for folder in folders for entry in storage.entries(folder)]
    return [
        storage.join(folder, name) for folder, name, is_folder in entries if name.endswith(".csv") and not is_folder
    ]


def _clips(table: Table, read_line: Callable[[str, dict[str, str]], _Clip], wrong: list[str]) -> Iterator[_Clip]:
    table.require()
    for line, values in table.rows():
        at = place(table.path, line)
        try:
            yield read_line(at, dict(zip(table.columns, map(nfc, values), strict=True)))
        except ValueError as error:
            wrong.append(f"{at} has {error}")


def _kinetics(place: str, cells: dict[str, str]) -> _Clip:
    video, label, part = cells["youtube_id"], cells.get("label", ""), _part(cells, "split")
    start, end = _range(cells, "time_start", "time_end")
    name = f"{video}_{int(start):06d}_{int(end):06d}"
    if not label and part != "test":
        raise ValueError("no label")
    return _Clip(
        place=place,
        id=name,
        label=label,
        part=part,
        path=storage.join(part, label, f"{name}.mp4"),
        whole=video,
        start_s=start,
        end_s=end,
        group=video,
        left_out="" if label else "without a label",
    )


def _hacs(place: str, cells: dict[str, str]) -> _Clip:
    video, label, part, shows = cells["youtube_id"], cells["classname"], _part(cells, "subset"), cells["label"]
    start, end = _range(cells, "start", "end")
    if part != "test" and (shows not in ("1", "-1") or not label):
        raise ValueError(f"label {shows!r} of class {label!r}, not 1 or -1 of a class")
    path = storage.join(label.replace(" ", "_"), f"v_{video}") if label else f"v_{video}"
    negative = "that do not show their class (label -1)"
    return _Clip(
        place=place,
        id=f"{path}@{round(1000 * start)}-{round(1000 * end)}",
        label=label,
        part=part,
        path=f"{path}.mp4",
        whole=f"v_{video}",
        start_s=start,
        end_s=end,
        group=video,
        left_out=negative if shows == "-1" else "" if shows == "1" and label else "without a label",
    )


def _moments(source: str, wrong: list[str]) -> Iterator[_Clip]:
    for name, folder in _MOMENTS.items():
        path = storage.join(source, name)
        columns = 0
        for line, cells in read_rows(path, lines_of(read_text(path, "a CSV file"))):
            columns = columns or len(cells)
            if len(cells) != columns or len(cells) < 2 or "/" not in cells[0] or not cells[1]:
                wrong.append(f"{place(name, line)} has no path and label")
                continue
            yield _Clip(
                place=place(name, line),
                id=stem(cells[0]),
                label=cells[1],
                part=_PUBLISHED[folder],
                path=f"{folder}/{cells[0]}",
            )


def _part(cells: dict[str, str], column: str) -> str:
    if cells[column] not in _PUBLISHED:
        raise ValueError(f"{column} {cells[column]!r}, not one of {', '.join(_PUBLISHED)}")
    return _PUBLISHED[cells[column]]


def _range(cells: dict[str, str], *columns: str) -> tuple[float, float]:
    try:
        start, end = (float(cells[column]) for column in columns)
    except ValueError:
        start, end = -1.0, -1.0
    if not 0 <= start < end:
        raise ValueError(f"{' and '.join(f'{name} {cells[name]!r}' for name in columns)}, not a range in seconds")
    return start, end
