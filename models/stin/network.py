"""STIN: a spatial stream that learns to see change, and a temporal stream with self-attention (docs/papers/stin.md).

H. Cao, C. Wu, J. Lu et al., "Spatial-temporal injection network", Signal, Image and Video Processing 17, 2023. Only the
abstract is public: two streams, an auxiliary loss of apparent differences on the RGB stream, self-attention with an
auxiliary loss on the flow stream. This is our reimplementation, from the abstract: form and weight of losses and
attention are our reading, and each choice is an option. The base is TSN (docs/papers/tsn-protocol.md).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

from torch import Tensor, nn

from models.backbones.bninception import BNInception
from models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from models.common.errors import ModelError
from models.common.network import FrameNetwork, Network, cross_entropy
from models.stin.heads import AttentionalPooling, Difference, FlowDifference, MapPooling, SelfAttention, flow_error
from models.stin.options import SpatialOptions, STINOptions, TemporalOptions

DROPOUT = {"rgb": 0.8, "flow": 0.7}


class Stream(FrameNetwork):
    """Base of both streams; the classes at the end combine each with a trunk."""

    heads: ClassVar = ("auxiliary", "attention")
    auxiliary: nn.Module | None

    @classmethod
    def create(cls, num_classes: int, *, stream: str, options: Any) -> Network:
        """Make the stream on the trunk that its options name."""
        trunk = BNInception if options.backbone == "bninception" else ResNet
        (combined,) = (kind for kind in cls.__subclasses__() if issubclass(kind, trunk))
        return combined(num_classes, stream=stream, options=options)

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
        """Add the heads beside a trunk of `channels` outputs."""
        raise NotImplementedError

    def deploy(self) -> Self:
        """Drop the auxiliary head."""
        self.auxiliary = None
        return self


class SpatialStream(Stream):
    """The RGB stream: [B, 3, T, H, W] -> [B, K], a TSN whose features learn to change as the action does.

    In training a clip has 2K frames, two per segment, `ad_delta` apart: I1, I1', I2, I2', ... The main score comes from
    I alone; the pairs' second frames pass through the same trunk call and so enter the batch statistics, of the first
    batch norm layer only with partial batch norm. With `ad_mode=segment` there are no pairs, and K >= 2. With
    `ad_target=flow` the differences predict the flow between the frames, which `losses` then takes.
    """

    Options = SpatialOptions

    def add_heads(self, channels: int) -> None:
        """Add the difference head."""
        options: SpatialOptions = self.options
        self.auxiliary: Difference | FlowDifference | None = None
        if options.lambda_s:
            tapped = cast("ResNet", self).third_stage_channels if options.ad_tap == "layer3" else channels
            if options.ad_target == "flow":
                self.auxiliary = FlowDifference(tapped, options.ad_channels)
            else:
                self.auxiliary = Difference(tapped, options.ad_channels, self.num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> logits [B, K], the mean over all frames; with `fuse_aux` T is 2K as in training."""
        if not self.options.fuse_aux or self.auxiliary is None:
            return super().forward(clip)
        main, change = self.scores(clip)
        assert change is not None
        return main + self.options.lambda_s * change

    def scores(self, clip: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the main logits [B, K] of a training clip, and the head's logits [B, K] or flow [B, 2, K, h, w]."""
        pairs = self.options.ad_mode == "adjacent"
        frames = clip.shape[2]
        if pairs and frames % 2:
            raise ModelError(f"stin_spatial is trained on pairs of frames; got a clip of {frames} frames")
        if not pairs and frames < 2 and self.auxiliary is not None:
            raise ModelError("stin_spatial with ad_mode=segment is trained on at least 2 segments; got 1")
        if self.options.ad_tap == "layer3":
            tapped, features = cast("ResNet", self).forward_stages(clip)
        else:
            tapped = features = self.forward_features(clip)
        main = self.classify(features[:, :, ::2] if pairs else features)
        return main, None if self.auxiliary is None else self.auxiliary(tapped, pairs=pairs)

    def losses(
        self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None, flow: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return `Network.losses` with `loss_main` and `loss_difference`.

        With `ad_target=flow`, `flow` is [B, 2, K, H, W] in pixels per frame, x before y.
        """
        main, change = self.scores(clip)
        added = None
        if change is not None:
            flows = self.options.ad_target == "flow"
            added = flow_error(change, flow, sample_weights) if flows else cross_entropy(change, labels, sample_weights)
        return _losses(
            main, cross_entropy(main, labels, sample_weights), added, self.options.lambda_s, "loss_difference"
        )


class TemporalStream(Stream):
    """The flow stream: [B, 10, K, H, W] -> [B, K], a TSN with self-attention on its last map."""

    Options = TemporalOptions

    def add_heads(self, channels: int) -> None:
        """Add self-attention and the head that trains it."""
        options: TemporalOptions = self.options
        self.attention = self.auxiliary = None
        if options.attention:
            divisor = 2 if options.backbone == "bninception" else 4
            self.attention = SelfAttention(channels, options.att_dim or channels // divisor)
        if options.lambda_t:
            kind = MapPooling if options.att_aux == "map" else AttentionalPooling
            self.auxiliary = kind(channels, self.num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        """[B, 10, K, H, W] -> logits [B, K]."""
        main, pooled = self.scores(clip, auxiliary=self.options.fuse_aux)
        return main if pooled is None else main + self.options.lambda_t * pooled

    def scores(self, clip: Tensor, *, auxiliary: bool = True) -> tuple[Tensor, Tensor | None]:
        """Return the main and the auxiliary logits [B, K]."""
        features = self.forward_features(clip)
        clips, segments = features.shape[0], features.shape[2]
        maps = features.transpose(1, 2).flatten(0, 1)
        attended, attention = (maps, None) if self.attention is None else self.attention(maps)
        main = self.classify(attended.view(clips, segments, *attended.shape[1:]).transpose(1, 2))
        if self.auxiliary is None or not auxiliary:
            return main, None
        return main, self.auxiliary(maps, attention).view(clips, segments, -1).mean(1)

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return `Network.losses` with `loss_main` and `loss_attention`."""
        main, pooled = self.scores(clip)
        added = None if pooled is None else cross_entropy(pooled, labels, sample_weights)
        return _losses(
            main, cross_entropy(main, labels, sample_weights), added, self.options.lambda_t, "loss_attention"
        )


class SpatialResNet(SpatialStream, ResNet):
    """`stin_spatial` in a ResNet. 24,327,632 parameters for 400 classes when deployed, 4.087 GMACs per frame at 224."""


class SpatialInception(SpatialStream, BNInception):
    """`stin_spatial` in BN-Inception."""


class TemporalResNet(TemporalStream, ResNet):
    """`stin_temporal` in a ResNet. 4.571 GMACs per snippet at 224."""


class TemporalInception(TemporalStream, BNInception):
    """`stin_temporal` in BN-Inception."""


def _losses(main: Tensor, loss: Tensor, added: Tensor | None, weight: float, name: str) -> dict[str, Tensor]:
    """Return what `losses` does, given the main scores, their loss and the auxiliary loss."""
    if added is None:
        return {"total": loss, "logits": main.detach()}
    total = loss + weight * added
    return {"total": total, "logits": main.detach(), "loss_main": loss.detach(), name: added.detach()}


class STIN(Network):
    """Both streams: (rgb [B, 3, T, H, W], flow [B, 10, K, H, W]) -> [B, K], a weighted sum of logits.

    For inference only: it is composed of trained streams (`load_streams`).
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
        of_rgb, of_flow = self.options.fusion_weights
        logits: Tensor = of_rgb * self.spatial(rgb) + of_flow * self.temporal(flow)
        return logits

    def losses(self, clip: Tensor, labels: Tensor, sample_weights: Tensor | None = None) -> dict[str, Tensor]:
        """Raise `ModelError`: the streams are trained separately."""
        raise ModelError("stin is not trained as a whole: train stin_spatial and stin_temporal, then combine the two")

    def load_streams(self, spatial: dict[str, Tensor], temporal: dict[str, Tensor]) -> None:
        """Load the weights of trained streams, without their auxiliary heads."""
        for network, state in ((self.spatial, spatial), (self.temporal, temporal)):
            network.load_state_dict({key: value for key, value in state.items() if not key.startswith("auxiliary.")})
