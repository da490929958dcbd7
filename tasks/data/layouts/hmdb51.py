"""HMDB51 with its three splits."""

from __future__ import annotations

import re

from tasks.data import storage
from tasks.data.layouts import _published as published
from tasks.data.manifest import Listing, Part

_LISTS = "testTrainMulti_7030_splits"
_ARCHIVE = "test_train_splits"
_PARTS: dict[str, Part | None] = {"0": None, "1": "train", "2": "test"}


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/<class>/<video>.avi`, or the class folders in `SOURCE/hmdb51_org`; other containers are read too.

    `SOURCE/testTrainMulti_7030_splits` (or the same below `SOURCE/test_train_splits`) holds a file
    `<class>_test_split1.txt` and so on for each class and split, with a video and a flag per line: 1 is train, 2 is
    test, and 0 means that the split leaves the video out. The splits are called `split1` to `split3`.

    Raises:
        UserError: lists and videos do not match.
    """
    source = storage.absolute(source)
    lists_at = published.find(source, _LISTS, f"{_ARCHIVE}/{_LISTS}")
    below = "hmdb51_org" if published.found(source, "hmdb51_org") else ""
    lists = published.Lists()
    names = {name for name, is_folder in storage.entries(lists_at) if not is_folder}
    labels = sorted({match[1] for match in (re.fullmatch(r"(.+)_test_split\d\.txt", name) for name in names) if match})
    for label in labels:
        for fold in (1, 2, 3):
            name = f"{label}_test_split{fold}.txt"
            for place, line in published.read_lines(storage.join(lists_at, name)):
                *video, flag = line.rsplit(maxsplit=1)
                if not video or flag not in _PARTS:
                    lists.wrong.append(f"{place} does not end with 0, 1 or 2")
                else:
                    lists.add(place, f"{label}/{video[0]}", label, _PARTS[flag], f"split{fold}")
    top = lists_at.removeprefix(f"{source}/").partition("/")[0]
    files = published.in_class_folders(storage.join(source, below), "avi", leave=top)
    return lists.listing(source, below, files, group)
