"""Checkpoints: a folder of safetensors and JSON, nothing pickled.

weights.safetensors    the network's state dict
optimizer.safetensors  the optimiser's state, `<index of the parameter>.<name>`
checkpoint.json        identity, position and loss scaler

Random numbers are functions of (seed, step, rank), so a position is all that an exact resume needs of them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from tasks.errors import UserError
from tasks.files import move_into_place

FORMAT = 1
WEIGHTS_FILE = "weights.safetensors"
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
    """Write a checkpoint to a temporary folder and rename it to `folder`, replacing what was there."""
    from safetensors.torch import save_file

    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_on_cpu(network.state_dict()), aside / WEIGHTS_FILE)
    state = optimizer.state_dict()["state"]
    tensors = {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items() if value is not None}
    save_file(_on_cpu(tensors), aside / "optimizer.safetensors")
    document = {
        "format": FORMAT,
        "identity": asdict(identity),
        "position": asdict(position),
        "scaler": scaler.state_dict(),
    }
    (aside / DOCUMENT_FILE).write_text(json.dumps(document, indent=1) + "\n")
    move_into_place(aside, folder)
    return folder


def read_identity(folder: Path) -> Identity:
    """Return the identity of a checkpoint; UserError if the folder holds none."""
    return Identity(**_read(folder)["identity"])


def load_weights(folder: Path, network: nn.Module) -> None:
    """Load a checkpoint's weights; UserError if they are of another network or other classes."""
    from safetensors.torch import load_file

    _read(folder)
    weights = load_file(folder / WEIGHTS_FILE)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    wrong = [name for name, shape in expected.items() if name not in weights or tuple(weights[name].shape) != shape]
    wrong += [name for name in weights if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"checkpoint {folder} is not of this network: {', '.join(wrong[:3])}{more} differ; build it with the "
            "model, options and classes named in its checkpoint.json"
        )
    network.load_state_dict(weights)


def resume(folder: Path, network: nn.Module, optimizer: Optimizer, scaler: GradScaler, identity: Identity) -> Position:
    """Restore everything that training needs and return its position.

    UserError if the checkpoint is of another network, other classes or another dataset than `identity`.
    """
    from safetensors.torch import load_file

    document = _read(folder)
    now = json.loads(json.dumps(asdict(identity)))  # tuples become lists, as in the file
    for key in ("model", "stream", "options", "classes", "dataset_digest"):
        if document["identity"][key] != now[key]:
            raise UserError(
                f"checkpoint {folder} has another {key.replace('_', ' ')} than this training "
                f"({_short(document['identity'][key])}, not {_short(now[key])}): train under a new name, or go back "
                "to the recipe and dataset that it was made with"
            )
    load_weights(folder, network)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    scaler.load_state_dict(document["scaler"])
    return Position(**document["position"])


def _read(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / DOCUMENT_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"no checkpoint in {folder}: checkpoint.json and weights.safetensors are expected there"
        ) from None
    if document["format"] != FORMAT:
        raise UserError(
            f"checkpoint {folder} has format {document['format']} and this version reads format {FORMAT}: use the "
            "version of marey that wrote it"
        )
    return document


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return plain contiguous tensors, as safetensors needs, whatever the memory format in training."""
    return {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in tensors.items()}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
