"""Descriptions of the networks with 3-D convolutions or attention; standard library only."""

from typing import Any

from models.common.description import Description, PublishedAccuracy, ReferenceCost

_SLOWFAST = {"rgb": {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}}
"""Normalisation of the networks trained by PySlowFast."""
_X3D: dict[str, Any] = {
    "paper": "Feichtenhofer, X3D, CVPR 2020",
    "streams": ("rgb",),
    "stream_clip": _SLOWFAST,
    "clips": 10,
    "crops": 3,
    "score_space": "softmax",
}


def _kinetics_30_views(top1: float, top5: float, window: str) -> PublishedAccuracy:
    condition = f"30 views, head_window: [{window}]"
    return PublishedAccuracy(data="Kinetics-400", top1_percent=top1, top5_percent=top5, condition=condition)


_MTNET: dict[str, Any] = {
    "paper": "Stergiou, Poppe, Multi-Temporal Convolutions, IJCNN 2021",
    "streams": ("rgb",),
    "clip": {
        "sampling": "dense",
        "segments": 16,
        "stride": 5,
        "crop": "anywhere",
        "scales": (0.7,),  # 224 of 320 pixels
        "max_distort": 0,
    },
    "test_segments": 16,
    "clips": 10,
    "crops": 3,
    "score_space": "softmax",
}


def _mtnet(
    hacs: tuple[float, float], kinetics: tuple[float, float], ucf101: tuple[float, float]
) -> tuple[PublishedAccuracy, ...]:
    scratch = PublishedAccuracy(data="HACS", top1_percent=hacs[0], top5_percent=hacs[1], condition="from scratch")
    return scratch, *(
        PublishedAccuracy(data=data, top1_percent=top1, top5_percent=top5, condition="from HACS")
        for data, (top1, top5) in (("Kinetics-400", kinetics), ("UCF101", ucf101))
    )


_DSTS: dict[str, Any] = {
    "paper": "Li et al., Dynamic Spatio-Temporal Specialization, ECCV 2022",
    "streams": ("rgb",),
    "score_space": "softmax",
}


def _diving(top1: float, mean_class: float, condition: str = "v2 labels") -> PublishedAccuracy:
    return PublishedAccuracy(data="Diving48", top1_percent=top1, mean_class_percent=mean_class, condition=condition)


def _something(top1: float, top5: float) -> PublishedAccuracy:
    return PublishedAccuracy(data="Something-Something v2", top1_percent=top1, top5_percent=top5)


_BASELINE = "v2 labels, as DSTS lists it"


VOLUMES = (
    Description(
        name="slowonly",
        factory="models.backbones.resnet3d:SlowOnly",
        title="Slow pathway of SlowFast alone, 3-D ResNet-50",
        paper="Feichtenhofer et al., SlowFast Networks, ICCV 2019",
        streams=("rgb",),
        clip={"sampling": "dense", "segments": 8, "stride": 8},
        stream_clip=_SLOWFAST,
        test_segments=8,
        clips=10,
        crops=3,
        test_size=256,
        score_space="softmax",
        cost=ReferenceCost(classes=400, frames=8, size=256, parameters_m=32.45, gmacs=54.75),
        accuracy=(
            PublishedAccuracy(data="Kinetics-400", top1_percent=74.58, condition="8 frames at stride 8, 30 views"),
        ),
    ),
    Description(
        name="r3d50",
        factory="models.backbones.resnet3d:R3D50",
        title="3-D ResNet-50 of expansion 1, what MTConv is compared with",
        cost=ReferenceCost(classes=400, frames=16, size=224, parameters_m=36.7),
        accuracy=(PublishedAccuracy(data="Kinetics-400", top1_percent=61.3, top5_percent=83.1),),
        **_MTNET,
    ),
    Description(
        name="x3d_s",
        factory="models.backbones.x3d:X3D",
        title="X3D-S, a narrow 3-D network of depthwise convolutions",
        clip={"sampling": "dense", "segments": 13, "stride": 6},
        test_segments=13,
        test_size=182,
        cost=ReferenceCost(classes=400, frames=13, size=182, parameters_m=3.79, gmacs=2.96),
        accuracy=(_kinetics_30_views(73.33, 91.27, "13, 5, 5"),),
        **_X3D,
    ),
    Description(
        name="x3d_m",
        factory="models.backbones.x3d:X3D",
        title="X3D-M: X3D-S on more and larger frames",
        clip={"sampling": "dense", "segments": 16, "stride": 5},
        test_segments=16,
        test_size=256,
        cost=ReferenceCost(classes=400, frames=16, size=256, parameters_m=3.79, gmacs=6.72),
        accuracy=(_kinetics_30_views(75.94, 92.72, "16, 7, 7"),),
        **_X3D,
    ),
    Description(
        name="x3d_l",
        factory="models.backbones.x3d:X3DL",
        title="X3D-L, deeper",
        clip={"sampling": "dense", "segments": 16, "stride": 5},
        test_segments=16,
        test_size=356,
        cost=ReferenceCost(classes=400, frames=16, size=356, parameters_m=6.15, gmacs=26.64),
        accuracy=(_kinetics_30_views(77.44, 93.31, "16, 10, 10"),),
        **_X3D,
    ),
    Description(
        name="swin3d_b",
        factory="models.backbones.swin3d:Swin3D",
        title="Video Swin Transformer, base",
        paper="Liu et al., Video Swin Transformer, CVPR 2022",
        streams=("rgb",),
        clip={"sampling": "dense", "segments": 32, "stride": 2},
        test_segments=32,
        clips=4,
        crops=3,
        score_space="softmax",
        cost=ReferenceCost(classes=400, frames=32, size=224, parameters_m=88, gmacs=281.6),
        accuracy=(
            PublishedAccuracy(
                data="Kinetics-400",
                top1_percent=80.6,
                top5_percent=94.6,
                condition="32 frames, window 8x7x7, from ImageNet-1K",
            ),
            PublishedAccuracy(
                data="Something-Something v2",
                top1_percent=69.6,
                top5_percent=92.7,
                condition="32 frames, window 16x7x7, from Kinetics-400, 1 clip x 3 crops",
            ),
            _diving(80.5, 69.7, _BASELINE),
        ),
    ),
    Description(
        name="tpn",
        factory="models.backbones.tpn:TPN",
        title="Temporal pyramid over a temporally shifted ResNet-50",
        paper="Yang et al., Temporal Pyramid Network, CVPR 2020",
        streams=("rgb",),
        clip={"segments": 8},
        test_segments=8,
        clips=2,
        crops=3,
        test_size=256,
        score_space="softmax",
        cost=ReferenceCost(classes=48, frames=8, size=224, parameters_m=63),
        accuracy=(
            PublishedAccuracy(
                data="Something-Something v2",
                top1_percent=64.7,
                top5_percent=88.1,
                condition="8 frames, from ImageNet, 2 clips x 3 crops",
            ),
            _diving(86.2, 76.0, _BASELINE),
        ),
    ),
    Description(
        name="mtnet_s",
        factory="models.mtnet:MTNet",
        title="Multi-temporal network, small input",
        cost=ReferenceCost(classes=200, frames=16, size=182, parameters_m=25.8, gmacs=5.8),
        accuracy=_mtnet((80.7, 95.2), (74.8, 92.1), (94.2, 98.0)),
        **_MTNET,
    ),
    Description(
        name="mtnet_m",
        factory="models.mtnet:MTNet",
        title="Multi-temporal network",
        cost=ReferenceCost(classes=200, frames=16, size=224, parameters_m=25.8, gmacs=8.8),
        accuracy=_mtnet((83.4, 95.9), (76.6, 92.5), (95.4, 98.1)),
        **_MTNET,
    ),
    Description(
        name="mtnet_l",
        factory="models.mtnet:MTNetL",
        title="Multi-temporal network, deeper; parameters differ from the paper's",
        cost=ReferenceCost(classes=200, frames=16, size=224, parameters_m=50.1, gmacs=17.6),
        accuracy=(
            *_mtnet((86.6, 96.7), (78.1, 93.2), (97.4, 99.2)),
            PublishedAccuracy(data="Moments in Time", top1_percent=35.2, condition="from HACS"),
        ),
        **_MTNET,
    ),
    Description(
        name="mtconv_r50",
        factory="models.mtnet:MTConvR50",
        title="Multi-temporal convolutions in a 3-D ResNet-50",
        cost=ReferenceCost(classes=400, frames=16, size=224, parameters_m=35.7, gmacs=23.1),
        accuracy=(PublishedAccuracy(data="Kinetics-400", top1_percent=74.8, top5_percent=91.3),),
        **_MTNET,
    ),
    Description(
        name="dsts_tpn",
        factory="models.dsts:DSTSTPN",
        title="TPN with dynamic spatio-temporal specialisation",
        clip={"segments": 8},
        test_segments=8,
        clips=2,
        crops=3,
        test_size=256,
        cost=ReferenceCost(classes=48, frames=8, size=224, parameters_m=75),
        accuracy=(_diving(88.4, 78.2), _something(67.2, 89.2)),
        **_DSTS,
    ),
    Description(
        name="dsts_swin_b",
        factory="models.dsts:DSTSSwin",
        title="Video Swin-B with dynamic spatio-temporal specialisation",
        clip={"segments": 32},
        test_segments=32,
        clips=1,
        crops=3,
        cost=ReferenceCost(classes=174, frames=32, size=224),
        accuracy=(_diving(83.0, 71.5), _something(71.8, 93.7)),
        **_DSTS,
    ),
)
