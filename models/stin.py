"""STIN: a spatial stream that is taught change, and a temporal stream that attends (papers/stin.md).

H. Cao, C. Wu, J. Lu et al., "Spatial-temporal injection network", Signal, Image and Video Processing 17, 2023. Only the
abstract is public: two streams, an auxiliary loss of apparent differences on the RGB stream, self-attention with an
auxiliary loss on the flow stream. Form and weight of losses and attention are our reading, each choice an option. The
base is TSN (papers/tsn-protocol.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

from torch import Tensor, nn

from models.backbones.bninception import BNInception
from models.backbones.resnet import LAYOUTS, TINY, BasicBlock, Bottleneck, Layout, ResNet
from models.errors import ModelError
from models.network import FrameNetwork, Network, cross_entropy
from models.options import Options
from models.stin_heads import AttentionalPooling, Difference, MapPooling, SelfAttention

DROPOUT = {"rgb": 0.8, "flow": 0.7}


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Options):
    """Options of both streams."""

    TINY: ClassVar = {"dropout": 0.0}

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "bninception"] = "resnet50"
    """The 2-D trunk; `tiny` has one of its own."""
    dropout: float | None = None
    """Before the last linear layer; None is 0.8 for rgb and 0.7 for flow."""
    partial_bn: bool = False
    """Freeze all batch norm layers of the trunk but the first, as TSN does from ImageNet weights."""
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
            raise ModelError(f"backbone={self.backbone} and tiny=True exclude each other.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ModelError(f"dropout={self.dropout} is not right; it lies in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class SpatialOptions(StreamOptions):
    """Options of `stin_spatial`."""

    lambda_s: float = 0.5
    """Weight of the auxiliary loss; 0 leaves its head out."""
    ad_mode: Literal["adjacent", "segment"] = "adjacent"
    """Differences between the two neighbouring frames of each segment, or between successive segments."""
    ad_tap: Literal["layer4", "layer3"] = "layer4"
    """Stage whose map is differenced."""
    ad_channels: int = 256
    """Channels of the differences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _weight("lambda_s", self.lambda_s)
        if self.ad_tap == "layer3" and self.backbone == "bninception":
            raise ModelError("ad_tap=layer3 is a stage of the ResNets; bninception has none of that name.")
        if self.ad_channels < 1:
            raise ModelError(f"ad_channels={self.ad_channels} is not right; it is 1 or more.")


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
        _weight("lambda_t", self.lambda_t)
        if self.att_dim is not None and self.att_dim < 1:
            raise ModelError(f"att_dim={self.att_dim} is not right; it is 1 or more.")
        if not self.attention and self.att_aux == "map" and self.lambda_t:
            raise ModelError("attention=False leaves no map to pool by: set lambda_t=0 or att_aux=attentional_pooling.")


def _weight(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ModelError(f"{name}={value} is not right; it lies in [0, 1].")


class Stream(FrameNetwork):
    """What both streams share; each class below joins one of them to a trunk."""

    heads: ClassVar = ("auxiliary", "attention")
    auxiliary: nn.Module | None

    @classmethod
    def create(cls, num_classes: int, *, stream: str, options: Any) -> Network:
        """The stream in the trunk that its options name."""
        trunk = BNInception if options.backbone == "bninception" else ResNet
        (joined,) = (kind for kind in cls.__subclasses__() if issubclass(kind, trunk))
        return joined(num_classes, stream=stream, options=options)

    def __init__(self, num_classes: int, *, stream: str, options: Any) -> None:
        dropout = DROPOUT[stream] if options.dropout is None else options.dropout
        trunk: dict[str, Any] = {"stream": stream, "options": options, "dropout": dropout}
        if isinstance(self, ResNet):
            trunk["block"] = BasicBlock if options.depth < 50 else Bottleneck
        super().__init__(num_classes, **trunk)
        self.add_heads(self.fc.in_features)
        if options.partial_bn:
            self.freeze_bn()

    def add_heads(self, channels: int) -> None:
        """Add what stands beside a trunk of `channels` outputs."""
        raise NotImplementedError

    def deploy(self) -> Self:
        """Drop the auxiliary head."""
        self.auxiliary = None
        return self


class SpatialStream(Stream):
    """The RGB stream: [B, 3, T, H, W] -> [B, K], a TSN whose features are taught to change as the action does.

    In training a clip has 2K frames, two neighbours a segment: I1, I1', I2, I2', ... The main score comes from I alone;
    the pairs' second frames pass through the same trunk call and so enter the batch statistics, of the first batch
    norm layer only with partial batch norm. With `ad_mode=segment` there are no pairs, and K >= 2.
    """

    Options = SpatialOptions

    def add_heads(self, channels: int) -> None:
        """Add the difference head."""
        options: SpatialOptions = self.options
        self.auxiliary: Difference | None = None
        if options.lambda_s:
            tapped = cast("ResNet", self).third_stage_channels if options.ad_tap == "layer3" else channels
            self.auxiliary = Difference(tapped, options.ad_channels, self.num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> logits [B, K], the mean over all frames; with `fuse_aux` T is 2K as in training."""
        if not self.options.fuse_aux or self.auxiliary is None:
            return super().forward(clip)
        main, change = self.scores(clip)
        assert change is not None
        return main + self.options.lambda_s * change

    def scores(self, clip: Tensor) -> tuple[Tensor, Tensor | None]:
        """Main and auxiliary logits [B, K] of a training clip."""
        pairs = self.options.ad_mode == "adjacent"
        frames = clip.shape[2]
        if pairs and frames % 2:
            raise ModelError(f"stin_spatial is trained on pairs of neighbouring frames; got a clip of {frames} frames.")
        if not pairs and frames < 2 and self.auxiliary is not None:
            raise ModelError("stin_spatial with ad_mode=segment is trained on at least 2 segments; got 1.")
        if self.options.ad_tap == "layer3":
            tapped, features = cast("ResNet", self).forward_stages(clip)
        else:
            tapped = features = self.forward_features(clip)
        main = self.classify(features[:, :, ::2] if pairs else features)
        return main, None if self.auxiliary is None else self.auxiliary(tapped, pairs=pairs)

    def losses(self, clip: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """As `Network.losses`, with `loss_main` and `loss_difference`."""
        main, change = self.scores(clip)
        return _losses(main, change, self.options.lambda_s, "loss_difference", labels, weights)


class TemporalStream(Stream):
    """The flow stream: [B, 10, K, H, W] -> [B, K], a TSN whose last map attends to itself."""

    Options = TemporalOptions

    def add_heads(self, channels: int) -> None:
        """Add attention and the head that trains it."""
        options: TemporalOptions = self.options
        self.attention = self.auxiliary = None
        if options.attention:
            share = 2 if options.backbone == "bninception" else 4
            self.attention = SelfAttention(channels, options.att_dim or channels // share)
        if options.lambda_t:
            kind = MapPooling if options.att_aux == "map" else AttentionalPooling
            self.auxiliary = kind(channels, self.num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        """[B, 10, K, H, W] -> logits [B, K]."""
        main, pooled = self.scores(clip, auxiliary=self.options.fuse_aux)
        return main if pooled is None else main + self.options.lambda_t * pooled

    def scores(self, clip: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, Tensor | None]:
        """Main and auxiliary logits [B, K]."""
        features = self.forward_features(clip)
        clips, segments = features.shape[0], features.shape[2]
        maps = features.transpose(1, 2).flatten(0, 1)
        attended, attention = (maps, None) if self.attention is None else self.attention(maps)
        main = self.classify(attended.view(clips, segments, *attended.shape[1:]).transpose(1, 2))
        if self.auxiliary is None or not auxiliary:
            return main, None
        return main, self.auxiliary(maps, attention).view(clips, segments, -1).mean(1)

    def losses(self, clip: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """As `Network.losses`, with `loss_main` and `loss_attention`."""
        main, pooled = self.scores(clip)
        return _losses(main, pooled, self.options.lambda_t, "loss_attention", labels, weights)


class SpatialResNet(SpatialStream, ResNet):
    """`stin_spatial` in a ResNet. Deployed 24,327,632 parameters for 400 classes, 4.087 GMACs a 224 frame."""


class SpatialInception(SpatialStream, BNInception):
    """`stin_spatial` in BN-Inception."""


class TemporalResNet(TemporalStream, ResNet):
    """`stin_temporal` in a ResNet. 4.571 GMACs a snippet at 224."""


class TemporalInception(TemporalStream, BNInception):
    """`stin_temporal` in BN-Inception."""


def _losses(
    main: Tensor, auxiliary: Tensor | None, share: float, name: str, labels: Tensor, weights: Tensor | None
) -> dict[str, Tensor]:
    loss = cross_entropy(main, labels, weights)
    if auxiliary is None:
        return {"total": loss, "logits": main.detach()}
    added = cross_entropy(auxiliary, labels, weights)
    total = loss + share * added
    return {"total": total, "logits": main.detach(), "loss_main": loss.detach(), name: added.detach()}


@dataclass(frozen=True, kw_only=True)
class STINOptions(Options):
    """Options of `stin`."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "bninception"] = "resnet50"
    """Trunk of both streams."""
    att_dim: int | None = None
    """As in `stin_temporal`."""
    fusion_weights: tuple[float, ...] = (1.0, 1.5)
    """Weights of the rgb and the flow scores."""

    def __post_init__(self) -> None:
        if len(self.fusion_weights) != 2 or min(self.fusion_weights) < 0 or not any(self.fusion_weights):
            raise ModelError(
                f"fusion_weights={self.fusion_weights} is not right; they are two, one for rgb, one for flow."
            )


class STIN(Network):
    """Both streams: (rgb [B, 3, T, H, W], flow [B, 10, K, H, W]) -> [B, K], weighted sums of scores before softmax.

    For inference: it is put together from trained streams (`load_streams`).
    """

    Options = STINOptions

    def __init__(self, num_classes: int, *, stream: str, options: STINOptions) -> None:
        super().__init__(num_classes, stream=stream, options=options)
        shared: dict[str, Any] = {"tiny": options.tiny, "backbone": options.backbone}
        spatial, temporal = (
            SpatialOptions(**shared, lambda_s=0.0),
            TemporalOptions(**shared, lambda_t=0.0, att_dim=options.att_dim or (64 if options.tiny else None)),
        )
        self.spatial = SpatialStream.create(num_classes, stream="rgb", options=spatial)
        self.temporal = TemporalStream.create(num_classes, stream="flow", options=temporal)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Logits [B, K]."""
        of_rgb, of_flow = self.options.fusion_weights
        logits: Tensor = of_rgb * self.spatial(rgb) + of_flow * self.temporal(flow)
        return logits

    def losses(self, clip: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Raise `ModelError`: the streams are trained one by one."""
        raise ModelError("stin is not trained as a whole: train stin_spatial and stin_temporal, then join the two.")

    def load_streams(self, spatial: dict[str, Tensor], temporal: dict[str, Tensor]) -> None:
        """Take the weights of trained streams; what only their training needed is left out."""
        for network, state in ((self.spatial, spatial), (self.temporal, temporal)):
            network.load_state_dict({key: value for key, value in state.items() if not key.startswith("auxiliary.")})
