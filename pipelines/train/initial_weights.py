"""`model.weights` of a recipe: the file, URL or run whose weights a training starts from."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.recipe import ModelSettings
from pipelines.recipe.settings import WEIGHT_FILES
from pipelines.tracking import local_folder, make_folder, resolve
from pipelines.train.download import download, refuse_unsafe
from tasks.files import sha256_of
from tasks.remote import reason

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

FOLDER = "weights"
"""Folder of the workspace, on this machine, that keeps downloaded weights."""


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a training starts from."""

    state: dict[str, Tensor]
    tags: dict[str, str]
    """Tags of the run: their source and sha256, and which of them the network took."""

    def given(self, alone: bool) -> Callable[[], dict[str, Tensor]]:
        """Return what gives each worker the tensors: by Ray's object store, unless one trains alone in this process."""
        if alone:
            return lambda: self.state
        import ray

        return partial(ray.get, ray.put(self.state))  # type: ignore[return-value]


def load_initial_weights(model: ModelSettings, num_classes: int) -> InitialWeights | None:
    """Return the weights that a recipe names; None where it names none.

    Raises:
        UserError: there is no such file or run, it cannot be read, or its sha256 differs from the recipe's.
        ModelError: it holds no weights, or those of another network.
    """
    if model.weights is None:
        return None
    wanted = model.weights_sha256 or _hash_in_name(model.weights)
    file = _find(model.weights, wanted)
    sha256 = _sha256(file)
    if wanted and not sha256.startswith(wanted.lower()):
        again = "delete it, to download it again" if "://" in model.weights else "download it again"
        raise UserError(f"{file} has sha256 {sha256}, not {wanted}: it is another file, or damaged; {again}")
    import torch

    from models import build
    from models.common.errors import ModelError
    from models.common.weights import adopt, unwrap

    try:
        state = unwrap(_load(file), model.weights)
    except (UserError, ModelError):
        if "://" in model.weights:
            file.unlink()
        raise
    with torch.device("meta"):
        network = build(model.name, num_classes, stream=model.stream, **model.options)
    adopted = adopt(network, state, model.weights)
    log.info("weights of %s: %s", model.weights, adopted)
    return InitialWeights(state, {"weights": model.weights, "weights.sha256": sha256, "weights.taken": str(adopted)})


def _find(source: str, sha256: str | None) -> Path:
    if "://" in source:
        return _downloaded(source, sha256)
    if not source.endswith(WEIGHT_FILES):
        from tasks.learn.checkpoint import WEIGHTS_FILE

        return resolve(source).checkpoint / WEIGHTS_FILE
    if not Path(source).is_file():
        raise UserError(f"model.weights: there is no file {source}; give a file, a URL or a run")
    return Path(source)


def _downloaded(url: str, sha256: str | None) -> Path:
    refuse_unsafe(url, sha256)
    name = url.partition("?")[0].rpartition("/")[2][-100:] or "weights"
    place = local_folder() / FOLDER / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"
    if not place.exists():
        log.info("downloading %s", url)
        make_folder(place.parent)
        download(url, place, sha256)
    return place


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error


def _hash_in_name(source: str) -> str | None:
    """Return the start of the sha256 that torchvision puts into file names, as in resnet50-0676ba61.pth."""
    found = re.search(r"-([0-9a-f]{8})\.pth$", source)
    return found[1] if found else None


def _load(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is not a safetensors file ({error}); download it again") from error
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{file} holds more than weights, or is damaged ({said}); save its state dict alone, or download it again"
        ) from error
