"""Settings of the training loop; standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.checks import above, at_least, within

CLIPS_OF_A_SHARE = 8
"""Clips of a share where `micro_batches` is null."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run."""

    epochs: int = 50
    batch_size: int = 64
    """Clips per optimisation step, over all workers together."""
    label_smoothing: float = 0.0
    """Part of each label that is spread evenly over all classes, 0 to 1."""
    mixup: float = 0.0
    """Clips of a share are blended in pairs, and their labels with them, by a part drawn from Beta(mixup, mixup); 0 is
    none."""
    cutmix: float = 0.0
    """Clips get a box of another clip of their share, and as much of its label; its part of the area is drawn from
    Beta(cutmix, cutmix), and 0 is none. With `mixup`, either happens to half of the shares."""
    class_weights: Literal["off", "balanced"] | dict[str, float] = "off"
    """What a clip counts in the loss by its class: `balanced` lets all classes count alike, `{"jump": 2.0}` names some
    (others 1). Scaled to a mean of 1 over the train part."""
    balanced_sampling: bool = False
    """An epoch has as many samples as the train part, but as many of each class as of another: of large classes others
    in each epoch, of small ones some several times, in different clips."""
    multigrid: Literal["off", "long", "short", "both"] = "off"
    """Coarser clips in larger batches, by epoch (long), by step (short) or both; an epoch then has fewer steps."""
    micro_batches: int | None = None
    """Shares into which a step is cut, whatever computes them: the unit of batch norm and of a worker's memory, and the
    most workers that a training can have; null is one for every 8 clips of `batch_size`."""
    sums: Literal["exact", "fast"] = "exact"
    """How gradients are added: to the same bits on any number of workers, or overlapped with the backward pass and
    equal but for rounding."""
    lr: float = 0.01
    """Base learning rate; it is not scaled by batch size or number of workers."""
    trunk_lr_factor: float = 1.0
    """Learning-rate multiplier for the backbone; below 1 to fine-tune a pretrained one."""
    lr_factors: dict[str, float] = field(default_factory=dict)
    """Further learning-rate multipliers by the names of parameters: `{"layer1.*": 0.1, "*.gate.*": 0.5}`; where several
    patterns fit, each multiplies."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    """SGD momentum."""
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW betas."""
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (30, 40, 45)
    """Epochs at which the step schedule multiplies the learning rate by `gamma`."""
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    """Linear warm-up from zero, in epochs (fractions allowed)."""
    warmup_steps: int = 0
    """The same in optimisation steps, whose number per epoch multigrid training changes."""
    min_lr: float = 0.0
    """Learning rate at the end of the cosine schedule."""
    clip_norm: float | None = None
    """Largest total gradient norm; null turns clipping off."""
    ema_decay: float = 0.0
    """Decay per step of a moving average of the weights, such as 0.999; validation, evaluation and whatever else uses a
    checkpoint's weights then has the average. 0 is none."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision; needs a GPU."""
    deterministic: bool = False
    """Whether GPUs may use only what gives the same bits each time, which is slower; CPUs always do."""
    recompute: bool = False
    """Keep only what goes into each block of the network, and compute the rest again in the backward pass: less memory,
    about a third more time, and the same weights."""
    log_every: int = 10
    """Steps between logged metrics."""
    validate_every: int = 1
    """Epochs between validations."""
    patience: int = 0
    """Validations in a row that are not better than the best before them after which the training ends early; 0: it
    always trains all epochs. The learning rate is that of all epochs, whenever it ends."""
    patience_metric: Literal["val/top1_percent", "val/top5_percent", "val/mean_class_percent", "val/loss"] = (
        "val/top1_percent"
    )
    """What `patience` watches."""
    checkpoint_steps: int = 0
    """Steps between checkpoints within an epoch; 0: only at the ends of epochs, and by `checkpoint_minutes`."""
    checkpoint_minutes: float = 10.0
    """Minutes after which a checkpoint is made within an epoch, at the next logged step; 0 turns this off."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep besides the best one; the newest is always kept."""
    loader_threads: int = 2
    """Threads per worker that decode and augment clips."""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "micro_batches", "log_every", "validate_every", "loader_threads")
        above(self, 0, "lr", "trunk_lr_factor", "gamma", "clip_norm")
        at_least(self, 0, "weight_decay", "warmup_epochs", "min_lr", "checkpoint_steps", "checkpoint_minutes")
        at_least(self, 0, "patience", "warmup_steps")
        at_least(self, 0, "keep_checkpoints")
        at_least(self, 0, "mixup", "cutmix")
        within(self, 0, 1, "momentum", "label_smoothing")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, not {self.ema_decay}")
        for pattern, factor in self.lr_factors.items():
            if not factor > 0:
                raise ValueError(f"lr_factors must be above 0, not {factor} for {pattern!r}")
        if self.warmup_epochs and self.warmup_steps:
            raise ValueError("warmup_epochs and warmup_steps are one warm-up in two units: choose one")
        if isinstance(self.class_weights, dict):
            for name, weight in self.class_weights.items():
                if not weight > 0:
                    raise ValueError(f"class_weights must be above 0, not {weight} for {name!r}")
        if self.class_weights == "balanced" and self.balanced_sampling:
            raise ValueError("class_weights=balanced and balanced_sampling both even the classes out: choose one")

    def resolved(self) -> TrainSettings:
        """Return the settings with the number of shares that null stands for."""
        return replace(self, micro_batches=self.shares)

    @property
    def shares(self) -> int:
        """`micro_batches`, or what null stands for."""
        return self.micro_batches or max(1, self.batch_size // CLIPS_OF_A_SHARE)
