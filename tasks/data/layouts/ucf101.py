"""UCF101 with its three splits."""

from __future__ import annotations

from tasks.data import storage
from tasks.data.layouts import _published as published
from tasks.data.manifest import Listing, Part

_LISTS = "ucfTrainTestlist"
_PARTS: tuple[Part, ...] = ("train", "test")
_GROUP = r"_(g\d+)_c\d+"


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/UCF-101/<class>/v_<class>_g01_c01.avi`, or the class folders in SOURCE itself.

    Videos in another container than avi are read too.

    `SOURCE/ucfTrainTestlist` holds `classInd.txt` and, for the splits `split1` to `split3`, `trainlist01.txt` (with
    the number of the class after each video), `testlist01.txt` and so on. The group of a video is its `g01` to `g25`:
    within a class, the clips of a group are cut from one longer video.

    Raises:
        UserError: a list is missing, or lists, classes and videos do not match.
    """
    source = storage.absolute(source)
    below = "UCF-101" if published.found(source, "UCF-101") else ""
    lists = published.Lists()
    numbers: dict[str, str] = {}
    for place, line in published.read_lines(storage.join(source, _LISTS, "classInd.txt")):
        match line.split():
            case [number, label]:
                numbers[label] = number
            case _:
                lists.wrong.append(f"{place} is not a number and a class")
    lists.classes = numbers.keys()
    for fold in (1, 2, 3):
        for part in _PARTS:
            for place, line in published.read_lines(storage.join(source, _LISTS, f"{part}list{fold:02d}.txt")):
                video, *rest = line.split()
                label = video.partition("/")[0]
                if part == "train" and label in numbers and rest != [numbers[label]]:
                    lists.wrong.append(f"{place} does not end with {numbers[label]}, the number of {label}")
                else:
                    lists.add(place, video, label, part, f"split{fold}")
    files = published.in_class_folders(storage.join(source, below), "avi", leave=_LISTS)
    return lists.listing(source, below, files, group, _GROUP)
