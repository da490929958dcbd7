"""Diving48 with the labels of version 2."""

from __future__ import annotations

from typing import Any

from tasks.data import storage
from tasks.data.layouts import _published as published
from tasks.data.manifest import Listing, Part
from tasks.errors import UserError

_PARTS: tuple[Part, ...] = ("train", "test")
_GROUP = r"([^/]+)_\d+\.\w+$"


def read(source: str, group: str | None = None) -> Listing:
    """List `SOURCE/rgb/<vid_name>.mp4`, or the same in another container.

    `Diving48_V2_train.json` and `Diving48_V2_test.json`, in SOURCE or `SOURCE/annotations`, give each `vid_name` a
    `label`; `Diving48_vocab.json` names the labels, and without it their numbers are the classes. The group of a video
    is the longer video that it is cut from: its name without the number at the end.

    Raises:
        UserError: a list is missing, or lists, classes and videos do not match.
    """
    source = storage.absolute(source)
    lists = published.Lists()
    vocabulary = None
    for path in published.found(source, *_places("Diving48_vocab.json"))[:1]:
        # Four words per class, such as ["Back", "15som", "05Twis", "FREE"].
        vocabulary = [" ".join(words) for words in _words(path)]
    for part in _PARTS:
        path = published.find(source, *_places(f"Diving48_V2_{part}.json"))
        for place, (video, number) in published.read_entries(path, vid_name=str, label=int):
            if vocabulary is None:
                lists.add(place, f"{video}.mp4", f"{number:02d}", part)
            elif 0 <= number < len(vocabulary):
                lists.add(place, f"{video}.mp4", vocabulary[number], part)
            else:
                lists.wrong.append(f"{place} has label {number}, but Diving48_vocab.json has {len(vocabulary)}")
    return lists.listing(source, "rgb", published.in_folder(storage.join(source, "rgb"), "mp4"), group, _GROUP)


def _words(path: str) -> list[list[str]]:
    content: Any = published.read_json(path)
    whole = isinstance(content, list) and all(isinstance(words, list) for words in content)
    if not whole or not all(isinstance(word, str) for words in content for word in words):
        raise UserError(f"{path} is not a list of lists of words: download it again")
    return list(content)


def _places(name: str) -> list[str]:
    return [name, f"annotations/{name}"]
