"""Checkpoints: a folder of safetensors and JSON, nothing pickled.

weights.safetensors    the network's state dict
optimizer.safetensors  the optimiser's state, `<index of the parameter>.<name>`
checkpoint.json        identity, position and loss scaler

Random numbers are functions of (seed, step, rank), so a position is all that an exact resume needs of them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from tasks.clips.settings import ClipSettings
from tasks.errors import UserError
from tasks.files import move_into_place
from tasks.remote import reason

FORMAT = 1
WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
DOCUMENT_FILE = "checkpoint.json"


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


def save(
    folder: Path, network: nn.Module, optimizer: Optimizer, scaler: GradScaler, identity: Identity, position: Position
) -> Path:
    """Write a checkpoint to a temporary folder and rename it to `folder`, replacing what was there.

    Nobody but its owner may read it.
    """
    from safetensors.torch import save_file

    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir(mode=0o700)
    save_file(_on_cpu(network.state_dict()), aside / WEIGHTS_FILE)
    state = optimizer.state_dict()["state"]
    tensors = {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items() if value is not None}
    save_file(_on_cpu(tensors), aside / OPTIMIZER_FILE)
    document = {
        "format": FORMAT,
        "identity": asdict(identity),
        "position": asdict(position),
        "scaler": scaler.state_dict(),
    }
    (aside / DOCUMENT_FILE).write_text(json.dumps(document, indent=1) + "\n")
    for file in aside.iterdir():
        file.chmod(0o600)
    move_into_place(aside, folder)
    return folder


def read_identity(folder: Path) -> Identity:
    """Return the identity of a checkpoint; UserError if the folder holds none, or a damaged one."""
    return _read(folder).identity


def load_weights(folder: Path, network: nn.Module) -> None:
    """Load a checkpoint's weights; UserError if they are damaged, of another network or of other classes."""
    _read(folder)
    weights = _load_tensors(folder / WEIGHTS_FILE)
    expected = {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}
    found = {name: (value.shape, value.dtype) for name, value in weights.items()}
    wrong = [name for name, kind in expected.items() if found.get(name) != kind]
    wrong += [name for name in weights if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        names = ", ".join(map(_short, wrong[:3]))
        raise UserError(
            f"checkpoint {folder} is not of this network: {names}{more} differ; build it with the model, options and "
            "classes named in its checkpoint.json"
        )
    network.load_state_dict(weights)


def resume(folder: Path, network: nn.Module, optimizer: Optimizer, scaler: GradScaler, identity: Identity) -> Position:
    """Restore everything that training needs and return its position.

    UserError if the checkpoint is damaged, or of another network, other classes or another dataset than `identity`.
    """
    document = _read(folder)
    before = asdict(document.identity)
    now = json.loads(json.dumps(asdict(identity)))  # tuples become lists, as in the file
    for key in ("model", "stream", "options", "classes", "dataset_digest"):
        if before[key] != now[key]:
            raise UserError(
                f"checkpoint {folder} has another {key.replace('_', ' ')} than this training "
                f"({_short(before[key])}, not {_short(now[key])}): train under a new name, or go back "
                "to the recipe and dataset that it was made with"
            )
    load_weights(folder, network)
    state = _optimizer_state(folder / OPTIMIZER_FILE, optimizer)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    try:
        scaler.load_state_dict(document.scaler)
    except (KeyError, RuntimeError) as error:
        raise _damaged(folder / DOCUMENT_FILE, "the loss scaler is missing, or of another precision") from error
    return document.position


@dataclass(frozen=True)
class _Document:
    """The content of checkpoint.json."""

    identity: Identity
    position: Position
    scaler: dict[str, float]


def _read(folder: Path) -> _Document:
    file = folder / DOCUMENT_FILE
    try:
        document = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no checkpoint in {folder}: checkpoint.json and weights.safetensors are expected there"
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "no JSON") from error
    if not isinstance(document, dict) or "format" not in document:
        raise _damaged(file, "no checkpoint")
    if document["format"] != FORMAT:
        raise UserError(
            f"checkpoint {folder} has format {_short(document['format'])} and this version reads format {FORMAT}: use "
            "the version of marey that wrote it"
        )
    try:
        return _checked(document)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"a field is missing or wrong: {error}") from error


def _checked(document: dict[str, Any]) -> _Document:
    """Return the document by its types; KeyError, TypeError or ValueError where a field is not what it must be."""
    identity, position = Identity(**document["identity"]), Position(**document["position"])
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
    if not all(type(count) is int and count >= 0 for count in (position.epoch, position.step)):
        raise TypeError("position")
    scaler = document["scaler"]
    if not isinstance(scaler, dict) or not all(isinstance(value, int | float) for value in scaler.values()):
        raise TypeError("scaler")
    return _Document(identity, position, scaler)


def _load_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(file, str(error)) from error


def _optimizer_state(file: Path, optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """Return an optimiser's state by the index of the parameter; UserError where it does not fit the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _load_tensors(file).items():
        index, dot, key = name.partition(".")
        if not dot or not index.isdecimal() or int(index) >= len(parameters):
            raise _damaged(file, f"{_short(name)!r} is of no parameter")
        if value.dim() and value.shape != parameters[int(index)].shape:
            raise _damaged(file, f"{_short(name)!r} has another shape than its parameter")
        state.setdefault(int(index), {})[key] = value
    if len({tuple(sorted(entry)) for entry in state.values()}) > 1:
        raise _damaged(file, "parts are missing")
    return state


def _damaged(file: Path, why: str) -> UserError:
    return UserError(
        f"{file} is damaged ({_short(why)}): put a copy in its place, or take another checkpoint of the run"
    )


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return plain contiguous tensors, as safetensors needs, whatever the memory format in training."""
    return {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in tensors.items()}


def _short(value: Any) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= 60 else text[:57] + "..."
