"""Options of STIN's networks (docs/papers/stin.md): every decision of our reading, and the ablations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from models.backbones import bninception
from models.backbones.resnet import LAYOUTS, TINY, Layout
from models.common.checks import at_least, fraction, rate
from models.common.description import Description
from models.common.errors import ModelError
from models.common.options import Options

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "bninception"]


def adapt_to(backbone: Backbone, description: Description) -> Description:
    """Return the description with the normalisation that the public weights of the trunk expect."""
    if backbone != "bninception":
        return description
    clips = {
        stream: {**clip, "mean": bninception.MEAN[stream], "std": bninception.STD[stream]}
        for stream, clip in description.stream_clip.items()
    }
    return replace(description, stream_clip=clips)


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Options):
    """Options of both streams."""

    TINY: ClassVar = {"dropout": 0.0}

    backbone: Backbone = "resnet50"
    """The 2-D trunk; `tiny` has its own."""
    dropout: float | None = None
    """Dropout before the last linear layer, in [0, 1); None: 0.8 for rgb and 0.7 for flow."""
    partial_bn: bool = False
    """Freeze all batch norm layers of the trunk but the first, as TSN does when starting from ImageNet weights."""
    fuse_aux: bool = False
    """Add the weighted auxiliary scores to the main ones in eval mode too."""

    @property
    def depth(self) -> int:
        """Layers of a ResNet trunk."""
        return int(self.backbone.removeprefix("resnet"))

    @property
    def layout(self) -> Layout:
        """Stages of a ResNet trunk."""
        return TINY if self.tiny else LAYOUTS[self.depth]

    def __post_init__(self) -> None:
        if self.tiny and self.backbone != "resnet50":
            raise ModelError(f"backbone={self.backbone} and tiny=True exclude each other")
        rate(self, "dropout")

    def adapt(self, description: Description) -> Description:
        return adapt_to(self.backbone, description)


@dataclass(frozen=True, kw_only=True)
class SpatialOptions(StreamOptions):
    """Options of `stin_spatial`."""

    lambda_s: float = 0.5
    """Weight of the auxiliary loss; 0 leaves its head out."""
    ad_mode: Literal["adjacent", "segment"] = "adjacent"
    """Differences between the two frames of each segment, or between the single frames of successive segments."""
    ad_delta: int = 1
    """Frames from the first to the second frame of a segment."""
    ad_target: Literal["cls", "flow"] = "cls"
    """What the differences predict: the class, or the optical flow between the two frames."""
    ad_tap: Literal["layer4", "layer3"] = "layer4"
    """Stage whose map is differenced."""
    ad_channels: int = 256
    """Channels of the differences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, "lambda_s")
        if self.ad_tap == "layer3" and self.backbone == "bninception":
            raise ModelError("ad_tap=layer3 is a stage of the ResNets; bninception has none of that name")
        at_least(self, 1, "ad_channels", "ad_delta")
        if self.ad_target == "flow" and (self.ad_mode != "adjacent" or self.ad_delta != 1):
            raise ModelError("ad_target=flow works between neighbouring frames only: set ad_mode=adjacent, ad_delta=1")
        if self.ad_target == "flow" and self.fuse_aux:
            raise ModelError("fuse_aux=True adds scores, and ad_target=flow has none to add")
        if self.ad_mode == "segment" and self.ad_delta != 1:
            raise ModelError(f"ad_delta={self.ad_delta} has no effect: ad_mode=segment takes single frames")

    def adapt(self, description: Description) -> Description:
        """Set pairs of frames at their distance or single frames, and the flow between them if it is predicted."""
        adapted = super().adapt(description)
        clip = {
            "snippet": 2 if self.ad_mode == "adjacent" else 1,
            "snippet_step": self.ad_delta,
            "target": "flow" if self.ad_target == "flow" and self.lambda_s else "none",
        }
        return replace(
            adapted,
            stream_clip={**adapted.stream_clip, "rgb": {**adapted.stream_clip["rgb"], **clip}},
            # Auxiliary scores that are added need pairs in tests too.
            test_snippet=None if self.fuse_aux and self.lambda_s else description.test_snippet,
        )


@dataclass(frozen=True, kw_only=True)
class TemporalOptions(StreamOptions):
    """Options of `stin_temporal`."""

    TINY: ClassVar = {"dropout": 0.0, "att_dim": 64}

    attention: bool = True
    """Ablation: the self-attention block."""
    att_dim: int | None = None
    """Channels of queries, keys and values; None is a quarter of the trunk's (half for bninception)."""
    att_aux: Literal["map", "attentional_pooling"] = "map"
    """What the auxiliary loss classifies: features pooled by the attention map, or attentional pooling."""
    lambda_t: float = 0.5
    """Weight of the auxiliary loss; 0 leaves its head out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, "lambda_t")
        at_least(self, 1, "att_dim")
        if not self.attention and self.att_aux == "map" and self.lambda_t:
            raise ModelError("attention=False leaves no map to pool by: set lambda_t=0 or att_aux=attentional_pooling")


@dataclass(frozen=True, kw_only=True)
class STINOptions(Options):
    """Options of `stin`."""

    backbone: Backbone = "resnet50"
    """Trunk of both streams."""
    att_dim: int | None = None
    """As in `stin_temporal`."""
    fusion_weights: tuple[float, ...] = (1.0, 1.5)
    """Weights of the rgb and the flow scores."""

    def __post_init__(self) -> None:
        if len(self.fusion_weights) != 2 or min(self.fusion_weights) < 0 or not any(self.fusion_weights):
            raise ModelError(
                f"fusion_weights must be two, one for rgb and one for flow, not below 0 and not both 0; got "
                f"{self.fusion_weights}"
            )

    def adapt(self, description: Description) -> Description:
        return adapt_to(self.backbone, description)
