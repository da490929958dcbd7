"""checkpoint.json: what a checkpoint is of, how far it has come, and the sums of its files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tasks.clips.settings import ClipSettings
from tasks.errors import UserError
from tasks.files import sha256_of
from tasks.remote import reason

FORMAT = 2
UNSUMMED = 1
"""Format of the checkpoints without sums, whose optimiser's state goes by the index of the parameter."""
WEIGHTS_FILE = "weights.safetensors"
TRAINED_FILE = "training.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
DOCUMENT_FILE = "checkpoint.json"
DIFFERS = "its sha256 differs from the one that was written"
SHOWN = 60
"""Letters of a damaged value that a message shows."""


class DamagedError(UserError):
    """A file of a checkpoint is missing, or not what was written."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Description of what a checkpoint holds: enough to rebuild the network and to cut its clips."""

    model: str
    stream: str
    options: dict[str, Any]
    classes: list[str]
    recipe: dict[str, Any]
    dataset_digest: str
    run_id: str | None = None
    clip: dict[str, Any] = field(default_factory=dict)
    """Fields of `ClipSettings`."""


@dataclass(frozen=True)
class Position:
    """Progress of a training."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Optimisation steps taken since the start."""
    best: float | None = None
    """Best validation so far; None without one, or where the training does not watch it."""
    stale: int = 0
    """Validations since then."""

    def judged(self, value: float, *, better: bool) -> Position:
        """Return the position after a validation, which was better than the best before or was not."""
        return replace(self, best=value, stale=0) if better else replace(self, stale=self.stale + 1)


@dataclass(frozen=True)
class Document:
    """The content of checkpoint.json."""

    identity: Identity
    position: Position
    scaler: dict[str, float]
    metrics: dict[str, float]
    """What was measured with these weights; empty in format 1."""
    files: dict[str, str]
    """sha256 of each other file by its name; empty in format 1."""
    format: int = FORMAT
    conditions: dict[str, str] = field(default_factory=dict)
    """What the weights were computed with; empty where it was not recorded."""

    def text(self) -> str:
        """Return the text of the file."""
        content = json.loads(json.dumps(asdict(self)))
        return json.dumps({**content, "sha256": _sum(content)}, indent=1) + "\n"


def read(folder: Path) -> Document:
    """Read and check checkpoint.json; UserError if there is none or its format is another, DamagedError otherwise."""
    file = folder / DOCUMENT_FILE
    try:
        return parse(folder, file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(
            f"no checkpoint in {folder}: checkpoint.json and weights.safetensors are expected there"
        ) from None
    except OSError as error:
        raise unreadable(file, error) from error


def parse(folder: Path, text: bytes) -> Document:
    """Check the content of a folder's checkpoint.json; UserError if its format is another, DamagedError otherwise."""
    file = folder / DOCUMENT_FILE
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(file, "no JSON") from error
    if not isinstance(content, dict) or "format" not in content:
        raise damaged(file, "no checkpoint")
    summed = "sha256" in content
    if summed and content.pop("sha256") != _sum(content):
        raise damaged(file, DIFFERS)
    if content["format"] not in (UNSUMMED, FORMAT) or isinstance(content["format"], bool):
        raise UserError(
            f"checkpoint {folder} has format {short(content['format'])} and this version reads formats {UNSUMMED} and "
            f"{FORMAT}: use the version of marey that wrote it"
        )
    if content["format"] != UNSUMMED and not summed:
        raise damaged(file, "its sha256 is missing")
    try:
        return _checked(content)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(file, f"a field is missing or wrong: {error}") from error


def check_sum(folder: Path, name: str, document: Document) -> Path:
    """Return a file of a checkpoint; DamagedError if it is missing, or not the one that was written."""
    file = folder / name
    if document.format == UNSUMMED:
        return file
    if name not in document.files:
        raise damaged(folder / DOCUMENT_FILE, f"no sha256 of {name}")
    found = sum_of(file)
    if found != document.files[name]:
        raise damaged(file, DIFFERS)
    return file


def sum_of(file: Path) -> str:
    """Return the sha256 of a file; DamagedError if it is missing."""
    try:
        return sha256_of(file)
    except OSError as error:
        raise unreadable(file, error) from error


def damaged(file: Path, why: str) -> DamagedError:
    """Return the error of a damaged file."""
    return DamagedError(
        f"{file} is damaged ({short(why)}): put a copy in its place, or take another checkpoint of the run"
    )


def unreadable(file: Path, error: OSError) -> UserError:
    """Return the error of a file that cannot be read: damage, except where the right to read it is missing."""
    kind = UserError if isinstance(error, PermissionError) else DamagedError
    return kind(f"{file} cannot be read: {reason(error)}")


def short(value: Any) -> str:
    """Return a value as part of a message: one line, and no longer than that."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checked(content: dict[str, Any]) -> Document:
    """Return the document by its types; KeyError, TypeError or ValueError where a field is not what it must be."""
    identity, position = Identity(**content["identity"]), Position(**content["position"])
    kinds: dict[str, type | tuple[type, ...]] = {
        **dict.fromkeys(("options", "recipe", "clip"), dict),
        "classes": list,
        "run_id": (str, type(None)),
    }
    for one in fields(Identity):
        if not isinstance(getattr(identity, one.name), kinds.get(one.name, str)):
            raise TypeError(one.name)
    if not all(isinstance(name, str) for name in identity.classes):
        raise TypeError("classes")
    ClipSettings(**identity.clip)
    if not all(type(count) is int and count >= 0 for count in (position.epoch, position.step, position.stale)):
        raise TypeError("position")
    if position.best is not None and not isinstance(position.best, float):
        raise TypeError("best")
    summed = content["format"] != UNSUMMED
    metrics, files = (content["metrics"], content["files"]) if summed else ({}, {})
    for name, numbers in (("scaler", content["scaler"]), ("metrics", metrics)):
        if not isinstance(numbers, dict) or not all(isinstance(value, int | float) for value in numbers.values()):
            raise TypeError(name)
    conditions = content.get("conditions", {})
    for name, texts in (("files", files), ("conditions", conditions)):
        if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
            raise TypeError(name)
    return Document(identity, position, content["scaler"], metrics, files, content["format"], conditions)
