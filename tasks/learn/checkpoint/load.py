"""Reading checkpoints: every file is compared with the sum that was written, and what is wrong is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tasks.errors import UserError
from tasks.learn.checkpoint.document import (
    DOCUMENT_FILE,
    OPTIMIZER_FILE,
    TRAINED_FILE,
    UNSUMMED,
    WEIGHTS_FILE,
    DamagedError,
    Document,
    Identity,
    Position,
    check_sum,
    damaged,
    parse,
    read,
    short,
    unreadable,
)
from tasks.learn.checkpoint.state import State


def read_identity(folder: Path) -> Identity:
    """Return the identity of a checkpoint; UserError if the folder holds none, or a damaged one."""
    return read(folder).identity


def read_conditions(folder: Path) -> dict[str, str]:
    """Return what a checkpoint was computed with; UserError as `read_identity`."""
    return read(folder).conditions


def read_metrics(folder: Path, content: bytes) -> dict[str, float]:
    """Return what the content of checkpoint.json says was measured; UserError, which names the folder, if damaged."""
    return parse(folder, content).metrics


def verify(folder: Path) -> None:
    """Compare every file with its sum; UserError if the folder holds no checkpoint, or a damaged one."""
    document = read(folder)
    for name in document.files or (WEIGHTS_FILE, OPTIMIZER_FILE):
        file = check_sum(folder, name, document)
        if document.format == UNSUMMED:
            _load_tensors(file)


def newest_whole(folders: Iterable[Path], tell: Callable[[str], None]) -> Path | None:
    """Return the first undamaged checkpoint, and tell of the damaged ones that came before it.

    Args:
        folders: checkpoints of a run, the newest first.
        tell: called with one line if there is something to tell.

    Raises:
        UserError: there are checkpoints and all of them are damaged, or one has an unknown format.
    """
    faults: list[str] = []
    for folder in folders:
        try:
            verify(folder)
        except DamagedError as error:
            faults.append(str(error).partition(": put a copy")[0])
            continue
        if faults:
            tell(f"{'; '.join(faults)}: {folder.name} is taken instead")
        return folder
    if faults:
        raise UserError(
            f"no checkpoint of the run is left to go on from: {'; '.join(faults)}; put a copy in place, or start anew "
            "under another name"
        )
    return None


def load_weights(folder: Path, network: nn.Module) -> None:
    """Load a checkpoint's weights; UserError if they are damaged, of another network or of other classes."""
    _load_into(network, folder, WEIGHTS_FILE, read(folder))


def _load_into(network: nn.Module, folder: Path, name: str, document: Document) -> None:
    weights = _load_tensors(check_sum(folder, name, document))
    expected = {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}
    found = {name: (value.shape, value.dtype) for name, value in weights.items()}
    wrong = [name for name, kind in expected.items() if found.get(name) != kind]
    wrong += [name for name in weights if name not in expected]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        names = ", ".join(map(short, wrong[:3]))
        raise UserError(
            f"checkpoint {folder} is not of this network: {names}{more} differ; build it with the model, options and "
            "classes named in its checkpoint.json"
        )
    network.load_state_dict(weights)


def resume(folder: Path, state: State, identity: Identity) -> Position:
    """Restore everything that training needs and return its position.

    UserError if the checkpoint is damaged, or of another network, other classes, another dataset or another number of
    shares than `identity`.
    """
    document = read(folder)
    before = asdict(document.identity)
    now = json.loads(json.dumps(asdict(identity)))  # tuples become lists, as in the file
    for key in ("model", "stream", "options", "classes", "dataset_digest"):
        if before[key] != now[key]:
            raise UserError(
                f"checkpoint {folder} has another {key.replace('_', ' ')} than this training "
                f"({short(before[key])}, not {short(now[key])}): train under a new name, or go back "
                "to the recipe and dataset that it was made with"
            )
    shares = [one["recipe"].get("train", {}).get("micro_batches") for one in (before, now)]
    if None not in shares and shares[0] != shares[1]:
        raise UserError(
            f"checkpoint {folder} is of a training with train.micro_batches={shares[0]}, not {shares[1]}: batch norm "
            "and noise go by shares, so set it back, or train under a new name"
        )
    if (TRAINED_FILE in document.files) != (state.average is not None):
        without = "out" if state.average else ""
        raise UserError(
            f"checkpoint {folder} was made with{without} train.ema_decay: train under a new name, or go back to the "
            "recipe that it was made with"
        )
    _load_into(state.network, folder, WEIGHTS_FILE, document)
    if state.average is not None:
        state.average.restart(state.network)
        _load_into(state.network, folder, TRAINED_FILE, document)
    values = _optimizer_state(folder, document, state)
    optimizer = state.optimizer
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    try:
        state.scaler.load_state_dict(document.scaler)
    except (KeyError, RuntimeError) as error:
        raise damaged(folder / DOCUMENT_FILE, "the loss scaler is missing, or of another precision") from error
    return document.position


def _load_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except OSError as error:
        raise unreadable(file, error) from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise damaged(file, str(error)) from error


def _optimizer_state(folder: Path, document: Document, state: State) -> dict[int, dict[str, Tensor]]:
    """Return an optimiser's state by the index of the parameter, as torch loads it.

    UserError where it does not fit the parameters. `set_optimizer_state_dict` would map the names too, but first takes
    a step with gradients of zero.
    """
    file = check_sum(folder, OPTIMIZER_FILE, document)
    parameters, places = _parameters(state.network, state.optimizer, by_name=document.format != UNSUMMED)
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in _load_tensors(file).items():
        parameter, _, key = name.rpartition(".")
        if parameter not in places:
            raise damaged(file, f"{short(name)!r} is of no parameter")
        place = places[parameter]
        if value.dim() and value.shape != parameters[place].shape:
            raise damaged(file, f"{short(name)!r} has another shape than its parameter")
        found.setdefault(place, {})[key] = value
    if len({tuple(sorted(entry)) for entry in found.values()}) > 1:
        raise damaged(file, "parts are missing")
    return found


def _parameters(
    network: nn.Module, optimizer: Optimizer, *, by_name: bool
) -> tuple[list[torch.nn.Parameter], dict[str, int]]:
    """Return an optimiser's parameters, and where each stands among them, by name or by the number as text."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not by_name:
        return parameters, {str(place): place for place in range(len(parameters))}
    places = {id(parameter): place for place, parameter in enumerate(parameters)}
    names = {name: places[id(one)] for name, one in network.named_parameters() if id(one) in places}
    return parameters, names
