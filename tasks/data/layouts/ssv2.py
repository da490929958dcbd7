"""Something-Something v2."""

from __future__ import annotations

from tasks.data import storage
from tasks.data.layouts import _published as published
from tasks.data.manifest import Listing, Part

_VIDEOS = "20bn-something-something-v2"
_PARTS: dict[str, Part] = {"train": "train", "validation": "test"}


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/20bn-something-something-v2/<id>.webm`, or the same in another container.

    The lists are `something-something-v2-labels.json`, `-train.json`, `-validation.json` and `-test.json`, in SOURCE,
    `SOURCE/labels` or `SOURCE/annotations`, or `labels.json` and so on in `SOURCE/labels`, as newer packages have
    them. A class is a template without its brackets. Validation is `test`; the test part is `val` if
    `labels/test-answers.csv` has its labels and its videos are there, else it is left out (`_published.py`).

    Raises:
        UserError: a list is missing, or lists, classes and videos do not match.
    """
    source = storage.absolute(source)
    lists = published.Lists(published.read_names(published.find(source, *_places("labels.json"))))
    for name, part in _PARTS.items():
        path = published.find(source, *_places(f"{name}.json"))
        for place, (video, template) in published.read_entries(path, id=str, template=str):
            lists.add(place, f"{video}.webm", template.replace("[", "").replace("]", ""), part)
    for path in published.found(source, "labels/test-answers.csv"):
        for place, line in published.read_lines(path):
            video, _, label = line.partition(";")
            lists.add(place, f"{video}.webm", label, "val")
    for path in published.found(source, *_places("test.json"))[:1]:
        for _, (video,) in published.read_entries(path, id=str):
            lists.leave_out(path, f"{video}.webm")
    return lists.listing(source, _VIDEOS, published.in_folder(storage.join(source, _VIDEOS), "webm"), group)


def _places(name: str) -> list[str]:
    return published.places_of(f"something-something-v2-{name}", name)
