"""What the words of a command line name: a path, which is made absolute, or something else, which stays as it is.

A verb's `Args` say by the type of a field what its words are: `Place`, `RunName`, `RecipeName`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pipelines.errors import UserError
from tasks.data import storage

CHECKPOINT_DOCUMENT = "checkpoint.json"
"""As in `tasks.learn.checkpoint`, which loads torch."""

AnyArgs = TypeVar("AnyArgs")


@dataclass(frozen=True)
class Word:
    """Marks the type of an argument whose words may be paths."""

    absolute: Callable[[str], str]
    """Returns the word, absolute if it is a path."""


def absolute_run(text: str) -> str:
    """Return a RUN: the absolute path of a folder; ids, names, `models:/...` and URLs as they are.

    A word without a slash is a path only where there is a checkpoint or a dataset: a run and some folder here may well
    have one name.
    """
    if "://" in text or text.startswith("models:/"):
        return text
    is_path = "/" in text or text in (".", "..") or text.startswith("~")
    found = is_checkpoint(text) or is_file(Path(text, "dataset.json"))
    return storage.absolute(text) if is_path or found else text


def is_checkpoint(path: str | Path) -> bool:
    """Return whether this folder is a checkpoint."""
    return is_file(Path(path, CHECKPOINT_DOCUMENT))


def absolute_recipe(text: str) -> str:
    """Return the absolute path of a recipe file; the name of a built-in recipe as it is."""
    path = Path(text)
    return storage.absolute(text) if path.suffix or "/" in text or is_file(path) else text


def is_file(path: Path) -> bool:
    """Return whether there is such a file; False for what cannot be a path."""
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


Place = Annotated[str, Word(storage.absolute)]
"""A path or URL."""
LocalFile = Annotated[Path, Word(storage.absolute)]
"""A file of this machine."""
RunName = Annotated[str, Word(absolute_run)]
"""A run's id or name, `models:/...`, or a checkpoint folder; also a dataset where a verb takes both."""
RecipeName = Annotated[str, Word(absolute_recipe)]
"""A recipe file, or the name of a built-in recipe."""


def absolute_arguments(args: AnyArgs) -> AnyArgs:
    """Return a verb's arguments with every path absolute.

    Raises:
        UserError: a path is empty, which would mean the current folder; or that folder has been removed, without which
            libraries that we load end the process.
    """
    storage.absolute(".")
    changed = {name: _absolute(getattr(args, name), word, name) for name, word in path_fields(type(args)).items()}
    return dataclasses.replace(args, **changed)  # type: ignore[type-var]


def path_fields(args: type) -> dict[str, Word]:
    """Return the fields of a verb's `Args` whose words may be paths, with their marks."""
    hints = get_type_hints(args, include_extras=True)
    marks = {field.name: _word(hints[field.name]) for field in dataclasses.fields(args)}
    return {name: mark for name, mark in marks.items() if mark is not None}


def _word(hint: Any) -> Word | None:
    """Return the mark of a type, also of the items of a tuple or the branches of a union."""
    for part in (*getattr(hint, "__metadata__", ()), *get_args(hint)):
        found = part if isinstance(part, Word) else _word(part)
        if found is not None:
            return found
    return None


def _absolute(value: Any, word: Word, name: str) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_absolute(each, word, name) for each in value)
    if not str(value):
        raise UserError(f"{name} is empty: give a path")
    return type(value)(word.absolute(str(value)))
