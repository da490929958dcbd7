"""The studies that `make results` trains: which networks and options are compared, on which videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cells import Configuration, Fusion, Study

from tasks.stickfigures import FigureSettings

BUSY = replace(FigureSettings.demo(), clutter=1.0, noise=4.0)
"""As in the demo, but before a busy background: there the networks that see time differ."""
HARD = replace(FigureSettings.demo(), clutter=1.5, noise=16.0, shake=3.0)
"""Where a trained TPN still errs: of the busy ones it recognises 98 %."""
SNIPPETS = {"input.segments": 3}
"""Two streams as in TSN: three segments, of a frame, of two neighbouring frames, or of five pairs of flow."""
BY_SOFTMAX = {"mix": "softmax"}
CODES: dict[str, dict[str, Any]] = {
    "norm": {"temporal_norm": True},
    "code of time x 0.1": {"temporal_pos_scale": 0.1},
    "norm, code of time x 0.1": {"temporal_norm": True, "temporal_pos_scale": 0.1},
}
"""What STHAC's temporal branch sees of a frame's content beside its place in the clip."""
RGB = (
    Configuration("tsn, 3 segments", "tsn", fields=SNIPPETS),
    Configuration("stin_spatial", "stin_spatial", fields=SNIPPETS),
    Configuration("stin_spatial: flow as target", "stin_spatial", options={"ad_target": "flow"}, fields=SNIPPETS),
)
FLOW = (
    Configuration("tsn flow, 3 segments", "tsn", "flow", fields=SNIPPETS),
    Configuration("stin_temporal", "stin_temporal", "flow", fields=SNIPPETS),
    Configuration("stin_temporal: without its loss", "stin_temporal", "flow", {"lambda_t": 0.0}, SNIPPETS),
)

TWO_STREAM = Fusion("two-stream: tsn + tsn flow, 3 segments", "tsn, 3 segments", "tsn flow, 3 segments")
ONE_LOSS = (
    Fusion("with the difference loss: stin_spatial + tsn flow", "stin_spatial", "tsn flow, 3 segments"),
    Fusion("with attention and its loss: tsn + stin_temporal", "tsn, 3 segments", "stin_temporal"),
)
STIN = Fusion("stin: stin_spatial + stin_temporal", "stin_spatial", "stin_temporal")


def _named(*networks: str) -> tuple[Configuration, ...]:
    return tuple(Configuration(name, name) for name in networks)


FIGURES = Study(
    name="figures",
    base="demo_stm",
    drawn=BUSY,
    fields={"train.epochs": 12},
    configurations=(
        *_named("tsn", "tsm", "stm"),
        Configuration("stm: CSTM only", "stm", options={"branches": "cstm"}),
        Configuration("stm: CMM only", "stm", options={"branches": "cmm"}),
        Configuration("stm flow, 5 segments", "stm", "flow", fields={"input.segments": 5}),
        *RGB,
        *FLOW,
    ),
    fusions=(TWO_STREAM, *ONE_LOSS, STIN, Fusion("stm + stm flow", "stm", "stm flow, 5 segments")),
)
STAM = Study(
    name="stam",
    base="demo_stm",
    drawn=BUSY,
    data_of="figures",
    fields={"train.epochs": 24},  # of 12 it learns 47 to 69 % of the training videos
    configurations=(
        *_named("tada2d", "stam"),
        Configuration("tada2d: without its average", "tada2d", options={"aggregation": False}),
        Configuration("stam: STHAC without OD", "stam", options={"od": False}),
        *(Configuration(f"stam: {name}", "stam", options=options) for name, options in CODES.items()),
        *(
            Configuration(f"stam: STHAC without OD, {name}", "stam", options={**options, "od": False})
            for name, options in CODES.items()
        ),
        Configuration("stam: without the temporal branch", "stam", options={"branches": "spatial"}),
        Configuration("stam: without the spatial branch", "stam", options={"branches": "temporal"}),
        Configuration("stam by softmax", "stam", options=BY_SOFTMAX),
    ),
    beside="stam",
)
ATTENTION = Study(
    name="attention",
    base="demo_stm",
    drawn=BUSY,
    data_of="figures",
    fields={"train.epochs": 36},
    configurations=FLOW,
    beside=FLOW[0].name,
)
"""Attention where a training has come to its plateau: of 12 epochs it learns 82 to 89 % of the training videos."""
LARGE = Study(
    name="large",
    base="demo_stm",
    drawn=replace(BUSY, size=112),
    fields={"train.epochs": 36, "prepare.short_side": 112, "input.size": 112},
    configurations=FLOW,
    beside=FLOW[0].name,
)
"""Attention has four times the positions here: 4 x 4 instead of 2 x 2."""
GESTURES = Study(
    name="gestures",
    base="ud810_gestures",
    videos="arm_gestures",
    fields={},
    configurations=(
        *_named("tsn", "tsm", "stm", "tada2d", "stam"),
        Configuration("stam by softmax", "stam", options=BY_SOFTMAX),
        Configuration("tsn flow", "tsn", "flow"),
        Configuration("stm flow", "stm", "flow"),
    ),
    fusions=(
        Fusion("two-stream: tsn + tsn flow", "tsn", "tsn flow"),
        Fusion("stm + stm flow", "stm", "stm flow"),
    ),
    folds=("group=1", "group=2", "group=3"),
)
FIGHTS = Study(
    name="fights",
    base="fight_surv",
    videos="fight_surv/groups.csv",
    fields={},
    configurations=(
        *RGB,
        *FLOW,
        Configuration(
            "stin_temporal: twice as long", "stin_temporal", "flow", fields={**SNIPPETS, "train.epochs": 120}
        ),
    ),
    fusions=(TWO_STREAM, *ONE_LOSS, STIN),
    folds=tuple(f"split{number}" for number in range(1, 6)),
    beside=TWO_STREAM.name,
)
"""The same streets and cameras with and without a fight: appearance is shared, motion differs."""
CORNERS = {"input.crop": "scales", "input.max_distort": 1}
"""Crops as the other networks have them."""
WHOLE_VIDEO = {"input.sampling": "dense", "input.segments": 16, "input.stride": 1, **CORNERS}
"""Every frame of a built-in video."""
BEFORE = {"ends": "zeros", "compare": "after"}
"""The selection that follows the padding, which was the default once."""
SYMMETRIC = {"temporal_pool": "symmetric", "spatial_pool": "avg"}
SELECTIONS = (
    Configuration("mtnet_m: ratio 0.875, triplet, soft, GRU", "mtnet_m"),
    Configuration("zeros beyond the ends, compared after", "mtnet_m", options=BEFORE),
    Configuration("ends repeated, compared after", "mtnet_m", options={"compare": "after"}),
    Configuration("zeros beyond the ends, compared before", "mtnet_m", options={"ends": "zeros"}),
    Configuration("pairs averaged behind the stem", "mtnet_m", options={"stem_pool": "avg"}),
)
POOLINGS = (
    Configuration("triplet, spatial average", "mtnet_m", options={"spatial_pool": "avg"}),
    Configuration("symmetric average", "mtnet_m", options=SYMMETRIC),
    Configuration("symmetric average, zeros, compared after", "mtnet_m", options={**BEFORE, **SYMMETRIC}),
    Configuration("symmetric, spatial soft", "mtnet_m", options={"temporal_pool": "symmetric"}),
)
"""The pooling of the prolonged branch's inputs, as the paper varies it."""
MTNET = Study(
    name="mtnet",
    base="demo_stm",
    drawn=BUSY,
    data_of="figures",
    fields={"train.epochs": 24, **WHOLE_VIDEO},  # of 12 it learns 42 to 65 % of the training videos, by the start
    configurations=(
        *SELECTIONS,
        *POOLINGS,
        Configuration("ratio 0.75", "mtnet_m", options={"ratio": 0.75}),
        Configuration("ratio 0.5", "mtnet_m", options={"ratio": 0.5}),
        Configuration("RNN", "mtnet_m", options={"cell": "rnn"}),
        Configuration("LSTM", "mtnet_m", options={"cell": "lstm"}),
        Configuration("plain 3-D, 1.27 times its cost", "mtnet_m", options={"ratio": None}),
        Configuration(
            "plain 3-D, 0.91 times its cost: 48 pixels", "mtnet_m", options={"ratio": None}, fields={"input.size": 48}
        ),
    ),
    beside=SELECTIONS[0].name,
)
MTNET_GESTURES = Study(
    name="mtnet_gestures",
    base="ud810_gestures",
    videos="arm_gestures",
    data_of="gestures",
    fields={"input.sampling": "segments", "input.segments": 16, **CORNERS},
    configurations=(*SELECTIONS, *POOLINGS),
    folds=("group=1", "group=2", "group=3"),
    beside=SELECTIONS[0].name,
)
TRUNK = {"keep_temporal_pool": False}
PLATEAU = 36
FURTHER = 12
"""Epochs of the TPN that is started from, and those that each row goes on for."""


def _start(videos: int = 1) -> Configuration:
    """The TPN that the others start from; with more times the videos it sees each of them as many times less often."""
    return Configuration("tpn", "tpn", options=TRUNK, fields={"train.epochs": PLATEAU // videos})


def _further(name: str, model: str = "dsts_tpn", videos: int = 1, **options: Any) -> Configuration:
    """A row that goes on from the trained TPN in as many steps as the others, which train as many clips a step.

    Upstream-downstream learning holds half of a step's clips out, and so has twice as many.
    """
    held_out = model == "dsts_tpn" and options.get("udl", True)
    fields = {"train.epochs": FURTHER // videos * (1 + held_out), **({"train.batch_size": 32} if held_out else {})}
    return Configuration(name, model, options=options, fields=fields, start="tpn")


DSTS = Study(
    name="dsts",
    base="demo_stm",
    drawn=HARD,
    fields={},
    configurations=(
        _start(),
        _further("tpn, trained on", "tpn", **TRUNK),
        _further("dsts without UDL", udl=False),
        _further("dsts with UDL"),
        _further("dsts, upstream rate 1", upstream_rate=1.0),
        _further("dsts without synapse", synapse=False),
        _further("dsts without gates", gates=False),
        _further("dsts, N = 1", n_neurons=1),
    ),
    pictured="dsts with UDL",
    beside="tpn, trained on",
)
DSTS_MORE = Study(
    name="dsts_more",
    base="demo_stm",
    drawn=replace(HARD, train_clips=4 * HARD.train_clips, train_people=4 * HARD.train_people),
    fields={"train.warmup_epochs": 0.25},
    configurations=(
        _start(4),
        _further("tpn, trained on", "tpn", 4, **TRUNK),
        _further("dsts without UDL", videos=4, udl=False),
        _further("dsts with UDL", videos=4),
    ),
    beside="tpn, trained on",
)
"""In as many steps, on four times the videos: whether too few of them are why the module does not pay."""
STUDIES = {
    study.name: study
    for study in (DSTS, DSTS_MORE, MTNET, MTNET_GESTURES, STAM, FIGURES, ATTENTION, LARGE, GESTURES, FIGHTS)
}
