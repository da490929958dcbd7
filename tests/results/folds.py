"""A table of videos with as many splits as folds: no group is on both sides of one, and each video is tested once."""

from __future__ import annotations

import csv
import random
from pathlib import Path

VAL = 0.15
"""Share of the groups that choose no weights here, and whose videos no network is trained on."""


def write(table: Path, file: Path, folds: int) -> None:
    """Write the rows of a table of path, label and group with columns `split1` to `splitN`; paths become absolute."""
    with table.open(newline="") as content:
        rows = list(csv.DictReader(content))
    clips = {group: sum(row["group"] == group for row in rows) for group in sorted({row["group"] for row in rows})}
    groups = list(clips)
    random.Random(0).shuffle(groups)
    load = [0] * folds
    fold: dict[str, int] = {}
    for group in sorted(groups, key=lambda group: -clips[group]):
        fold[group] = load.index(min(load))
        load[fold[group]] += clips[group]
    val = {group: random.Random(group).random() < VAL for group in clips}
    with file.open("w", newline="") as content:
        written = csv.writer(content)
        written.writerow(["path", "label", "group", *(f"split{number + 1}" for number in range(folds))])
        for row in rows:
            group = row["group"]
            parts = ["test" if fold[group] == number else "val" if val[group] else "train" for number in range(folds)]
            written.writerow([str(table.parent / row["path"]), row["label"], group, *parts])
