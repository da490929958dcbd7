"""What each network is and how its paper uses it; standard library only, so that nothing waits for torch.

`marey models`, clip cutting and evaluation read this: they never ask a network's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from models.errors import ModelError

if TYPE_CHECKING:
    from models.network import Network


@dataclass(frozen=True, kw_only=True)
class ReferenceCost:
    """The view at which size and cost are compared, and what the paper or its public tables print for it."""

    classes: int
    frames: int
    size: int
    """Height and width in pixels."""
    parameters_m: float | None = None
    """Millions of parameters; None where nothing is published."""
    gmacs: float | None = None
    """Billions of multiply-accumulates, batch norm counted as 2 an output element."""


@dataclass(frozen=True, kw_only=True)
class PublishedAccuracy:
    """An accuracy that others printed. Ours stand in docs/results.md, with the command that gave them."""

    data: str
    top1_percent: float
    top5_percent: float | None = None
    condition: str
    """Frames, start weights, views: what must be the same for a comparison."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """One network and its published protocol."""

    name: str
    factory: str
    """`module:Class` of the `models.network.Network`, whose `create` makes it."""
    title: str
    paper: str
    streams: tuple[str, ...] = ("rgb", "flow")
    sampling: Literal["segments", "dense"] = "segments"
    """TSN segments, or consecutive frames at a stride."""
    stride: int = 1
    """Distance of two frames of a dense clip."""
    short: Literal["clamp", "loop"] = "clamp"
    """What a dense clip longer than its video does: repeat the last frame, or start again."""
    segments: int
    """K segments (T) of a training clip."""
    test_segments: int
    """K segments (T) of a test clip."""
    snippet: dict[str, int] = field(default_factory=lambda: {"rgb": 1, "flow": 5})
    """L consecutive items a segment, by stream: frames of rgb, pairs of flow."""
    test_snippet: dict[str, int] | None = None
    """L of a test clip where it differs: STIN's pairs of frames are for training."""
    snippet_step: int = 1
    """Distance of two items of a snippet."""
    target: Literal["none", "flow"] = "none"
    """What a training clip brings for `losses` beside its label: the flow between the frames of each pair."""
    parts: tuple[str, ...] = ()
    """Networks that this one is put together from; it is trained by them."""
    clips: int
    """Clips a video of the published N-view protocol."""
    crops: int
    """Crops a clip of the published N-view protocol."""
    clip_starts: Literal["even", "random"] = "even"
    """Starts of a video's several clips in that protocol: evenly spread, or drawn with a fixed seed."""
    test_size: int | None = None
    """Height and width of the clips of that protocol where they are not those of training, 224."""
    score_space: Literal["logits", "softmax"]
    """What is averaged over views."""
    mean: dict[str, tuple[float, ...]] = field(default_factory=lambda: {"rgb": (0.485, 0.456, 0.406), "flow": (0.5,)})
    """Subtracted from values in [0, 1], by stream: one a colour, or one for all channels."""
    std: dict[str, tuple[float, ...]] = field(default_factory=lambda: {"rgb": (0.229, 0.224, 0.225), "flow": (0.226,)})
    """Divided by after `mean`, by stream."""
    cost: ReferenceCost
    accuracy: tuple[PublishedAccuracy, ...] = ()


_STIN = "our reading of Cao et al., STIN, SIViP 2023"
_ALL = (
    Description(
        name="tsn",
        factory="models.tsn:TSN",
        title="Temporal Segment Network, ResNet-50: the time-blind baseline",
        paper="Wang et al., Temporal Segment Networks, ECCV 2016",
        segments=3,
        test_segments=25,
        clips=1,
        crops=10,
        score_space="logits",
        cost=ReferenceCost(classes=174, frames=8, size=224, parameters_m=23.87, gmacs=32.88),
        accuracy=(
            PublishedAccuracy(data="UCF101", top1_percent=83.03, condition="split 1, ResNet-50, RGB alone"),
            PublishedAccuracy(data="UCF101", top1_percent=94.2, condition="3 splits, BN-Inception, three modalities"),
            PublishedAccuracy(data="HMDB51", top1_percent=69.4, condition="3 splits, BN-Inception, three modalities"),
        ),
    ),
    Description(
        name="stm",
        factory="models.stm:STM",
        title="SpatioTemporal and Motion encoding, ResNet-50",
        paper="Jiang et al., STM, ICCV 2019, arXiv 1908.02486",
        segments=8,
        test_segments=8,
        clips=10,
        crops=3,
        clip_starts="random",
        score_space="softmax",
        cost=ReferenceCost(classes=174, frames=16, size=224, parameters_m=24, gmacs=66.5),
        accuracy=(
            PublishedAccuracy(
                data="Something-Something v1",
                top1_percent=50.7,
                top5_percent=80.4,
                condition="16 frames, from ImageNet, 10 clips x 3 crops",
            ),
            PublishedAccuracy(
                data="Something-Something v2",
                top1_percent=64.2,
                top5_percent=89.8,
                condition="16 frames, from ImageNet, 10 clips x 3 crops",
            ),
            PublishedAccuracy(
                data="Kinetics-400",
                top1_percent=73.7,
                top5_percent=91.6,
                condition="16 frames, from ImageNet, 10 clips x 3 crops",
            ),
            PublishedAccuracy(data="Jester", top1_percent=96.7, condition="16 frames, from ImageNet"),
            PublishedAccuracy(data="UCF101", top1_percent=96.2, condition="16 frames, 3 splits, from Kinetics-400"),
            PublishedAccuracy(data="HMDB51", top1_percent=72.2, condition="16 frames, 3 splits, from Kinetics-400"),
        ),
    ),
    Description(
        name="tsm",
        factory="models.tsm:TSM",
        title="Temporal Shift Module, ResNet-50",
        paper="Lin et al., TSM, ICCV 2019",
        segments=8,
        test_segments=8,
        clips=2,
        crops=3,
        test_size=256,
        score_space="softmax",
        cost=ReferenceCost(classes=174, frames=8, size=224),
        accuracy=(
            PublishedAccuracy(data="Something-Something v1", top1_percent=48.2, condition="8 frames, as TPN lists it"),
            PublishedAccuracy(data="Something-Something v2", top1_percent=62.3, condition="8 frames, as TPN lists it"),
        ),
    ),
    Description(
        name="tada2d",
        factory="models.tada2d:TAda2D",
        title="Temporally-adaptive convolutions, ResNet-50",
        paper="Huang et al., TAdaConv, ICLR 2022",
        segments=8,
        test_segments=8,
        clips=2,
        crops=3,
        test_size=256,
        score_space="softmax",
        cost=ReferenceCost(classes=400, frames=8, size=224, parameters_m=27.49, gmacs=32.8),
        accuracy=(
            PublishedAccuracy(
                data="Kinetics-400",
                top1_percent=76.7,
                top5_percent=92.6,
                condition="8 frames x stride 8, from ImageNet",
            ),
            PublishedAccuracy(
                data="Something-Something v2", top1_percent=64.0, top5_percent=88.0, condition="8 frames, from ImageNet"
            ),
            PublishedAccuracy(
                data="Something-Something v2",
                top1_percent=65.6,
                top5_percent=89.1,
                condition="16 frames, from ImageNet",
            ),
        ),
    ),
    Description(
        name="stam",
        factory="models.stam:STAM",
        title="Spatio-temporal adaptive module, ResNet-50",
        paper="our reading of Li et al., STAM, The Visual Computer 2023",
        segments=8,
        test_segments=8,
        clips=2,
        crops=3,
        test_size=256,
        score_space="softmax",
        cost=ReferenceCost(classes=174, frames=8, size=224),
    ),
    Description(
        name="stin_spatial",
        factory="models.stin:SpatialStream",
        title="Spatial injection stream, ResNet-50",
        paper=_STIN,
        streams=("rgb",),
        segments=3,
        test_segments=25,
        snippet={"rgb": 2},
        test_snippet={"rgb": 1},
        clips=1,
        crops=10,
        score_space="logits",
        cost=ReferenceCost(classes=101, frames=1, size=224),
    ),
    Description(
        name="stin_temporal",
        factory="models.stin:TemporalStream",
        title="Temporal injection stream, ResNet-50",
        paper=_STIN,
        streams=("flow",),
        segments=3,
        test_segments=25,
        clips=1,
        crops=10,
        score_space="logits",
        cost=ReferenceCost(classes=101, frames=1, size=224),
    ),
    Description(
        name="stin",
        factory="models.stin:STIN",
        title="Both injection streams",
        paper=_STIN,
        streams=("rgb+flow",),
        parts=("stin_spatial", "stin_temporal"),
        segments=3,
        test_segments=25,
        test_snippet={"rgb": 1, "flow": 5},
        clips=1,
        crops=10,
        score_space="logits",
        cost=ReferenceCost(classes=101, frames=1, size=224),
    ),
)
_BY_NAME = {description.name: description for description in _ALL}


def names() -> list[str]:
    """Every network that `build` knows."""
    return list(_BY_NAME)


def describe(name: str, options: Mapping[str, Any] | None = None) -> Description:
    """The network of this name, as these options make it: some change how clips are cut. With options, torch loads.

    Raises:
        ModelError: unknown name or option, or a wrong value of one.
    """
    if name not in _BY_NAME:
        raise ModelError(f"There is no network {name!r}; {nearest(name, names(), 'networks')}.")
    description = _BY_NAME[name]
    if not options:
        return description
    from models.options import parse

    return parse(network_class(description).Options, name, options).adapt(description)


def network_class(description: Description) -> type[Network]:
    """The class whose `create` makes the network."""
    module, class_name = description.factory.split(":")
    found: type[Network] = getattr(import_module(module), class_name)
    return found


def nearest(word: object, known: list[str], kind: str) -> str:
    """The second half of a sentence about an unknown word: the nearest known one, then all of them."""
    close = get_close_matches(str(word), known, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? The " if close else "the ") + f"{kind} are {', '.join(known)}"
