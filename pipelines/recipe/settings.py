"""The fields of a recipe; standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tasks.checks import above, at_least
from tasks.clips.settings import ClipSettings
from tasks.data.settings import PrepareSettings, SourceSettings
from tasks.learn.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class DataSettings(SourceSettings):
    """The prepared dataset, where it comes from, and how it is divided."""

    dataset: str
    """Folder or URL of the prepared dataset; `marey run` makes it where it is missing."""
    source: str | None = None
    """Videos that `marey run` prepares; null where the dataset exists already."""
    split: str | None = None
    """Name of a split; null is the dataset's only or first one."""
    fold: str | None = None
    """`group=NAME`: test on that group and train on all others, instead of a split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dataset", "source"):
            if getattr(self, name) == "":
                raise ValueError(f"{name} is empty: give a path or a URL")
        if self.split is not None and self.fold is not None:
            raise ValueError("split and fold exclude each other: give one of them")


WEIGHT_FILES = (".pt", ".pth", ".bin", ".safetensors")
"""Endings by which `model.weights` names a file rather than a run."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The network, and where its weights start."""

    name: str
    """A name of `marey models`."""
    stream: Literal["rgb", "flow"] = "rgb"
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword options of the network, such as `tiny: true`."""
    weights: str | None = None
    """Where training starts: a .pth or .safetensors file or URL (ImageNet, as of torchvision or timm), or a run."""
    weights_sha256: str | None = None
    """SHA-256 of that file, or the first digits of it; a URL without encryption (http://) needs 16 of them."""


INPUT_FIELDS = tuple(
    field.name
    for field in fields(ClipSettings)
    if field.name not in ("stream", "seed", "mean", "std", "snippet_step", "target")
)
"""Fields of a clip that a recipe's `input` may set; the others follow from `model` and `train`."""


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """Which views of which videos are scored; what is not given is the published protocol of the network.

    The result of one clip and its centre crop is always reported beside that of this protocol.
    """

    clips: int | None = None
    """Clips per video."""
    clip_starts: Literal["even", "random"] | None = None
    """Where several clips start: evenly spread, or drawn as in training."""
    crops: Literal[1, 3, 10] | None = None
    """Crops per clip: 1 (centre), 3 (along the longer side) or 10 (corners, centre, and their mirror images)."""
    segments: int | None = None
    """Segments of a test clip where they differ from training (TSN: 25)."""
    size: int | None = None
    """Height and width of a test clip; by default the published size after training at 224, else that of training."""
    snippet: int | None = None
    """Consecutive frames or flow pairs per segment of a test clip."""
    score_space: Literal["logits", "softmax"] | None = None
    """What is averaged over views."""
    part: Literal["val", "test"] | None = None
    """Part of the split; by default test."""

    def __post_init__(self) -> None:
        at_least(self, 1, "clips", "segments", "size", "snippet")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ProtocolSettings):
    """How a run is scored."""

    part: Literal["val", "test"] = "test"
    seed: int = 0
    """Decides clips that are drawn, alike for every run."""
    batch_size: int = 16
    """Clips that a worker scores at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "batch_size")


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Resources that a training takes of the cluster."""

    workers: int | tuple[int, int] = 1
    """Workers that share each step; `[2, 8]` trains on as many as there is room for, at least 2 and at most 8.
    Without a cluster, a single one works in the command's own process."""
    resize_every_s: float = 300
    """Seconds between two looks for room for more workers, where `workers` is a range; taking it costs a restart."""
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    max_failures: int = 3
    """Restarts of a failed worker group after one checkpoint and before the next; machines taken away do not count, and
    an error that a restart cannot mend ends the training at once."""

    def __post_init__(self) -> None:
        if isinstance(self.workers, int):
            at_least(self, 1, "workers")
        elif not 1 <= self.fewest <= self.most:
            raise ValueError(f"workers must be a number from 1, or two such as [2, 8], not {list(self.workers)}")
        above(self, 0, "cpus_per_worker", "resize_every_s")
        at_least(self, 0, "gpus_per_worker", "max_failures")

    @property
    def fewest(self) -> int:
        """Workers without which the training waits."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """Workers that it takes where there is room."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The sweep of `marey tune`."""

    space: dict[str, Any] = field(default_factory=dict)
    """Field -> distribution: `train.lr: {log_uniform: [1e-4, 1e-1]}`; also uniform, int_uniform, choice. With `when`, a
    field is varied only beside certain values of others: `train.momentum: {uniform: [0.8, 0.98], when:
    {train.optimizer: sgd}}`. Where it is empty, learning rate, weight decay, momentum, label smoothing and dropout are
    varied."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """What chooses values: Optuna's tree-structured Parzen estimator, chance, or all combinations in
    order."""
    metric: str = "val/top1_percent"
    mode: Literal["max", "min"] = "max"
    trials: int | None = None
    """Null is 20, or all combinations of a grid."""
    concurrent: int | None = None
    """Trials at once; null is as many as fit the cluster."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """What stops trials early: asynchronous successive halving, the median stopping rule, or nothing."""
    grace_epochs: int = 1
    """Epochs before a trial may be stopped."""
    reduction: int = 3
    """Trials per one that ASHA keeps at each rung."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "trials", "concurrent", "grace_epochs")
        at_least(self, 2, "reduction")


LONGEST_NAME = 120
"""Bytes of a recipe's name: folders of trials, splits and fused runs have more in theirs."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data, network and training of one run: the whole of a recipe file."""

    name: str
    """Name of the run; the same name resumes it."""
    data: DataSettings
    model: ModelSettings
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    input: dict[str, Any] = field(default_factory=dict)
    """Fields of `tasks.clips.ClipSettings` that differ from the network's paper; null is the paper's value, and no flip
    where a class name holds left or right."""
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    experiment: str | None = None
    """MLflow experiment of the run; null takes MLFLOW_EXPERIMENT_NAME, else `marey`."""

    def __post_init__(self) -> None:
        if self.experiment is not None and not self.experiment.strip():
            raise ValueError("experiment is empty: name an MLflow experiment, or leave it out")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name is {self.name!r}, but names a folder: use letters, digits, '.', '_' and '-'")
        if len(self.name.encode()) > LONGEST_NAME:
            raise ValueError(f"name must have at most {LONGEST_NAME} bytes, as it names a folder")
        unknown = sorted(self.input.keys() - set(INPUT_FIELDS))
        if unknown:
            raise ValueError(f"input has no field {unknown[0]}; known: {', '.join(INPUT_FIELDS)}")
        ClipSettings(**{name: value for name, value in self.input.items() if value is not None})  # its checks
        object.__setattr__(self, "input", {name: self.input.get(name) for name in INPUT_FIELDS})
