"""Building networks by name: options, errors, descriptions."""

import subprocess
import sys

import pytest
import torch
from network_helpers import NETWORKS

import models
from models.common.errors import ModelError

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("name", "stream"), [(n, stream) for n in NETWORKS for stream in models.describe(n).streams])
def test_tiny_networks_build_and_learn_a_step(name: str, stream: str) -> None:
    network = models.build(name, 5, stream=stream, tiny=True)
    clip = torch.randn(2, 3 if stream == "rgb" else 10, 4, 32, 40)
    losses = network.losses(clip, torch.tensor([0, 4]))
    losses["total"].backward()
    assert losses["logits"].shape == (2, 5)
    assert not losses["logits"].requires_grad
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", models.names())
def test_descriptions_agree_with_the_networks(name: str) -> None:
    description = models.describe(name)
    assert description.name == name
    for stream in description.streams:
        for each in stream.split("+"):
            clip = description.training_clip(each)
            length = description.test_snippet[each] if description.test_snippet else clip.get("snippet", 1)
            assert length == {"rgb": 1, "flow": 5}[each]
            assert len(clip["mean"]) == len(clip["std"])
        with torch.device("meta"):
            assert next(models.build(name, 4, stream=stream).parameters()).is_meta


def test_names_and_descriptions_need_no_torch() -> None:
    code = "import sys, models; models.names(); models.describe('stm'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


@pytest.mark.parametrize("name", models.names())
def test_options_that_leave_clips_alone_leave_the_description_alone(name: str) -> None:
    assert models.describe(name, {}) is models.describe(name)
    assert models.describe(name, {"tiny": True}) == models.describe(name)


def test_a_description_refuses_wrong_options() -> None:
    with pytest.raises(ModelError, match="unknown option 'branch' of stm"):
        models.describe("stm", {"branch": "cmm"})
    with pytest.raises(ModelError, match="ad_delta must be at least 1, not 0"):
        models.describe("stin_spatial", {"ad_delta": 0})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "stmm"}, "unknown network 'stmm'; did you mean 'stm'?"),
        ({"name": "resnet"}, "unknown network 'resnet'; known: dsts_swin_b, dsts_tpn, mtconv_r50, mtnet_l, "),
        ({"name": "stm", "stream": "flows"}, "unknown stream 'flows' of stm; did you mean 'flow'? known: flow, rgb"),
        (
            {"name": "stm", "branch": "cmm"},
            "unknown option 'branch' of stm; did you mean 'branches'? known: branches, cmm_reduction, ",
        ),
        (
            {"name": "tsn", "branches": "cmm"},
            "unknown option 'branches' of tsn; known: depth, dropout, partial_bn, tiny",
        ),
        (
            {"name": "stm", "branches": "ctsm"},
            "stm: branches must be one of both, cstm, cmm, cmm_static, not 'ctsm'; did you mean 'cstm'?",
        ),
        ({"name": "stm", "depth": 18}, "stm: depth must be one of 50, 101, 152, not 18"),
        ({"name": "stm", "depth": 101, "tiny": True}, "depth=101 and tiny=True exclude each other"),
        ({"name": "stm", "dropout": "half"}, "stm: dropout must be a number, not 'half'"),
        ({"name": "stm", "dropout": True}, "must be a number, not True"),
        ({"name": "tsn", "dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"name": "stm", "tiny": 1}, "tiny must be true or false, not 1"),
        ({"name": "stm", "cmm_reduction": 7}, "must divide the 64 channels of a block; 7 does not"),
        ({"name": "stm", "cmm_reduction": 0}, "must divide the 64 channels of a block; 0 does not"),
        ({"name": "stm", "stages": [1, 5]}, "stages must be among 1, 2, 3, 4, not (1, 5)"),
        ({"name": "stm", "stages": "1"}, "stages must be a list, each item a whole number, not '1'"),
        ({"name": "stm", "branches": "cmm", "temporal_conv": "dense"}, "temporal_conv=dense has no effect"),
        ({"name": "stm", "branches": "cstm", "fusion": "concat"}, "fusion=concat has no effect"),
    ],
)
def test_a_wrong_argument_is_one_sentence_with_the_right_ones(arguments: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as error:
        models.build(arguments.pop("name"), 4, **arguments)
    assert sentence in str(error.value)


def test_tiny_has_defaults_of_its_own_and_explicit_options_win() -> None:
    assert models.build("stm", 4, tiny=True).options.dropout == 0
    assert models.build("stm", 4, tiny=True, dropout=0.25).options.dropout == 0.25
    with torch.device("meta"):
        assert models.build("stm", 4).dropout.p == 0.5
        assert models.build("tsn", 4).dropout.p == 0.8
        assert models.build("tsn", 4, stream="flow").dropout.p == 0.7
        assert models.build("tsn", 4, dropout=0.0).dropout.p == 0


def test_lists_of_yaml_serve_as_tuples() -> None:
    with torch.device("meta"):
        assert models.build("stm", 4, stages=[3, 4]).options.stages == (3, 4)
