"""Jester v1 and Something-Something v1, whose videos are folders of images."""

from __future__ import annotations

from tasks.data import storage
from tasks.data.layouts import _published as published
from tasks.data.manifest import Listing, Part
from tasks.errors import UserError

_SETS = {"20bn-jester-v1": "jester-v1", "20bn-something-something-v1": "something-something-v1"}
_PARTS: dict[str, Part] = {"train": "train", "validation": "test"}


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/20bn-jester-v1/<id>/00001.jpg`, or `SOURCE/20bn-something-something-v1/<id>/00001.jpg`.

    The lists are `jester-v1-labels.csv` (a class per line), `-train.csv` and `-validation.csv` (`id;class`) and
    `-test.csv` (`id`), or the same with `something-something-v1-`, in SOURCE, `SOURCE/labels` or
    `SOURCE/annotations`, or `labels.csv` and so on in `SOURCE/labels`, as newer packages have them. Validation is
    `test`; the test part is `val` if `labels/test-answers.csv` has its labels and its videos are there, else it is
    left out (`_published.py`). `tasks.video.image_folder` has the frame rate of such videos.

    Raises:
        UserError: a list is missing, or lists, classes and videos do not match.
    """
    source = storage.absolute(source)
    here = [name for name, is_folder in storage.entries(source) if is_folder and name in _SETS]
    if len(here) != 1:
        raise UserError(f"{source} must hold exactly one of the folders {' and '.join(_SETS)}, with the videos in it")
    prefix = _SETS[here[0]]

    def places(name: str) -> list[str]:
        return published.places_of(f"{prefix}-{name}.csv", f"{name}.csv")

    lists = published.Lists({line for _, line in published.read_lines(published.find(source, *places("labels")))})
    for name, part in _PARTS.items():
        for place, line in published.read_lines(published.find(source, *places(name))):
            video, _, label = line.partition(";")
            lists.add(place, video, label, part)
    for path in published.found(source, "labels/test-answers.csv"):
        for place, line in published.read_lines(path):
            video, _, label = line.partition(";")
            lists.add(place, video, label, "val")
    for path in published.found(source, *places("test"))[:1]:
        for _, line in published.read_lines(path):
            lists.leave_out(path, line.partition(";")[0])
    return lists.listing(source, here[0], published.frame_folders_in(storage.join(source, here[0])), group)
