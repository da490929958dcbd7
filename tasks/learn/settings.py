"""Settings of the training loop; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.checks import above, at_least, within


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run."""

    epochs: int = 50
    batch_size: int = 64
    """Clips an optimisation step, over all workers together."""
    multigrid: Literal["off", "long", "short", "both"] = "off"
    """Coarser clips in larger batches, by epochs (long), steps (short) or both; an epoch then has fewer steps."""
    accumulate: int = 1
    """Parts that a worker's share of a step is cut into, one after the other: less memory, the same gradients but for
    batch norm, which then takes the statistics of each part."""
    lr: float = 0.01
    """Base learning rate, as given: it is not scaled by batch size or workers."""
    trunk_lr_factor: float = 1.0
    """Factor of the rate of all that is not the last layer, or a head that the network adds beside its trunk: below 1
    where a trained trunk is fine-tuned."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (30, 40, 45)
    """Epochs at which the step schedule multiplies the learning rate by `gamma`."""
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    """Linear warm-up from zero, in epochs (fractions allowed)."""
    min_lr: float = 0.0
    """Where the cosine ends."""
    clip_norm: float | None = None
    """Largest total gradient norm; null switches clipping off."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision; on a GPU only."""
    log_every: int = 10
    """Steps between two logged points."""
    validate_every: int = 1
    """Epochs between two validations."""
    checkpoint_steps: int = 0
    """Also keep a checkpoint every so many steps within an epoch; 0 for the ends of epochs only."""
    keep_checkpoints: int = 2
    """Checkpoints kept beside the best one."""
    loader_threads: int = 2
    """Threads a worker that decode and augment clips."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "accumulate", "log_every", "validate_every", "loader_threads")
        above(self, 0, "lr", "trunk_lr_factor", "gamma", "clip_norm")
        at_least(self, 0, "weight_decay", "warmup_epochs", "min_lr", "checkpoint_steps", "keep_checkpoints")
        within(self, 0, 1, "momentum")
