"""MTNet: docs/papers/mtnet.md, sections 2 to 8, and its options."""

import pytest
import torch
from network_helpers import assert_clips_apart_and_directed, logits, ready
from torch import nn

import models
from models.common.cost import parameters
from models.common.errors import ModelError
from models.mtnet import MTNetOptions
from models.mtnet.mtconv import MTConv
from models.mtnet.network import MTBlock
from models.mtnet.recurrent_gate import RecurrentGate

NAMES = ["mtnet_s", "mtnet_m", "mtnet_l", "mtconv_r50"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cell": "rnn"}, 24_447_755),
        ({"cell": "lstm"}, 26_700_059),
        ({"cell": "lstm_peephole"}, 26_700_059 + 3 * 2_712),  # three weights a channel of each block
        ({"gru_layers": 2}, 28_201_595),
        ({"share_lateral_bn": True}, 25_944_913),
    ],
)
def test_other_readings_of_m(options: dict, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build("mtnet_m", 200, **options)) == expected


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "expected"),
    [
        (24, 24, 1, 43_040),
        (24, 48, 2, 81_201),
        (48, 48, 1, 171_168),
        (96, 96, 1, 685_098),
        (192, 192, 1, 2_736_432),
    ],
)
def test_parameters_of_a_block(inputs: int, outputs: int, stride: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(MTBlock(inputs, outputs, stride, MTNetOptions())) == expected


def test_parameters_of_a_convolution_and_of_gates() -> None:
    with torch.device("meta"):
        assert parameters(MTConv(64, 96, (3, 3, 3), settings=MTNetOptions())) == 130_824
        gates = [parameters(RecurrentGate(channels, cell="gru", layers=1)) for channels in (24, 48, 96, 192)]
    assert gates == [3_600, 14_112, 55_872, 222_336]


def test_time_is_halved_behind_the_stem_and_by_each_later_stage() -> None:
    network = ready("mtnet_m", tiny=True)
    seen = []
    for module in network.stages:
        module.register_forward_hook(lambda _module, _inputs, y: seen.append(tuple(y.shape[2:])))
    logits(network, torch.randn(1, 3, 16, 64, 64))
    assert sorted(set(seen), reverse=True) == [(8, 16, 16), (4, 8, 8), (2, 4, 4), (1, 2, 2)]


@pytest.mark.parametrize("frames", [16, 7, 1])
def test_the_stems_frames_are_pooled_in_pairs_where_asked_for(frames: int) -> None:
    """Of an odd number, the last one stays as it is."""
    network, seen = ready("mtnet_m", tiny=True, stem_pool="avg"), {}
    network.maxpool.register_forward_hook(lambda _module, _inputs, y: seen.update(stem=y))
    network.stages.register_forward_pre_hook(lambda _module, inputs: seen.update(stages=inputs[0]))
    logits(network, torch.randn(1, 3, frames, 64, 64))
    pairs = seen["stem"].split(2, dim=2)
    torch.testing.assert_close(seen["stages"], torch.cat([pair.mean(2, keepdim=True) for pair in pairs], 2))


@pytest.mark.parametrize("name", ["mtnet_m", "mtconv_r50"])
def test_with_repeated_ends_a_still_clip_stays_still_up_to_the_first_gate(name: str) -> None:
    """Zeros beyond the ends would make the first and the last frames differ from the others."""
    still = torch.randn(1, 3, 1, 64, 64).repeat(1, 1, 16, 1, 1)
    for ends, stays in (("repeat", True), ("zeros", False)):
        network, seen = ready(name, tiny=True, ends=ends), []
        first = next(module for module in network.modules() if isinstance(module, RecurrentGate))
        first.register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
        logits(network, still)
        spread = (seen[0] - seen[0][:, :, :1]).abs().max() / seen[0].abs().max()
        assert (spread < 1e-5) == stays


@pytest.mark.parametrize("name", NAMES)
def test_clips_do_not_mix_and_time_has_a_direction(name: str) -> None:
    network = ready(name, tiny=True)
    assert_clips_apart_and_directed(network)


@pytest.mark.parametrize("size", [(4, 112, 112), (13, 182, 182), (16, 101, 101), (3, 64, 75)])
def test_any_frames_and_odd_sizes(size: tuple[int, int, int]) -> None:
    assert logits(ready("mtnet_m", tiny=True), torch.randn(1, 3, *size)).isfinite().all()


def test_without_a_ratio_nothing_is_prolonged_or_gated() -> None:
    for name in NAMES:
        keys = models.build(name, 4, tiny=True, ratio=None).state_dict()
        assert not [key for key in keys if "prolonged" in key or "lateral" in key or "gate" in key]


@pytest.mark.parametrize("cell", ["gru", "lstm", "lstm_peephole", "rnn"])
def test_a_gate_only_weakens(cell: str) -> None:
    y = 5 * torch.randn(2, 6, 4, 3, 3)
    gated = RecurrentGate(6, cell=cell, layers=2)(y)
    assert gated.shape == y.shape
    assert (gated.abs() <= y.abs()).all()
    assert (gated != 0).any()


def test_a_gate_has_seen_the_frames_before() -> None:
    gate, y = RecurrentGate(6, cell="gru", layers=1), torch.randn(1, 6, 5, 2, 2)
    changed = y.clone()
    changed[:, :, 2] += 1
    weights, others = gate(y) / y, gate(changed) / changed
    torch.testing.assert_close(weights[:, :, :2], others[:, :, :2])
    assert (weights[:, :, 2:] - others[:, :, 2:]).abs().amin((0, 1, 3, 4)).min() > 0


def test_without_peepholes_the_cell_is_the_lstm() -> None:
    ours, theirs = (RecurrentGate(6, cell=cell, layers=2).cell for cell in ("lstm_peephole", "lstm"))
    with torch.no_grad():
        for index, layer in enumerate(ours.layers):
            for part, linear in (("ih", layer.of_input), ("hh", layer.of_hidden)):
                linear.weight.copy_(getattr(theirs, f"weight_{part}_l{index}"))
                linear.bias.copy_(getattr(theirs, f"bias_{part}_l{index}"))
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    nn.init.ones_(ours.layers[0].of_cell)
    assert (ours(x)[0] - theirs(x)[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"lateral_kernel": "same"},
        {"share_lateral_bn": True},
        {"spatial_pool": "avg"},
        {"temporal_pool": "symmetric"},
        {"temporal_pool": "symmetric", "spatial_pool": "avg"},
        {"edge_frames": "interior"},
        {"select": "highest"},
        {"ends": "zeros"},
        {"compare": "after"},
        {"stem_pool": "avg"},
        {"stem_pool": "soft"},
        {"cell": "lstm_peephole"},
        {"ratio": 0.25},
        {"ratio": None},
        {"ratio": None, "ends": "zeros", "compare": "after"},
    ],
    ids=str,
)
def test_every_reading_trains_all_that_can(options: dict) -> None:
    """At 16 frames the last stage has one, and the recurrent weights of its gates nothing to recur on."""
    network = models.build("mtnet_m", 3, tiny=True, **options)
    nn.init.normal_(network.fc.weight)
    network.losses(torch.randn(2, 3, 16, 64, 64), torch.tensor([0, 2]))["total"].backward()
    idle = {name for name, p in network.named_parameters() if not p.grad.abs().max() > 0}
    assert all(".gate.cell." in name for name in idle)
    last = {f"stages.{index}." for index in (6, 7)}
    assert {name[:9] for name in idle} <= last


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ratio": 1.0}, "ratio must be above 0 and below 1, or None, not 1.0"),
        ({"ratio": 0.01}, "ratio=0.01 leaves nothing to the local branch of 24 channels"),
        ({"gru_layers": 0}, "gru_layers must be at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"ratio": None, "cell": "rnn"}, "cell=rnn has no effect: ratio=None splits nothing"),
        ({"stem_pool": "avg", "compare": "after"}, "compare=after has no effect: stem_pool=avg compares nothing"),
        ({"cell": "gated"}, "cell must be one of gru, lstm, lstm_peephole, rnn, not 'gated'"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as error:
        models.build("mtnet_m", 4, **options)
    assert sentence in str(error.value)
