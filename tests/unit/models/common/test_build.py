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
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", models.names())
def test_options_that_leave_clips_alone_leave_the_description_alone(name: str) -> None:
    assert models.describe(name, {}) is models.describe(name)
    assert models.describe(name, {"tiny": True}) == models.describe(name)


def test_a_description_refuses_wrong_options() -> None:
    with pytest.raises(ModelError, match="stm has no option 'branch'"):
        models.describe("stm", {"branch": "cmm"})
    with pytest.raises(ModelError, match="ad_delta=0 is not right"):
        models.describe("stin_spatial", {"ad_delta": 0})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "stmm"}, "There is no network 'stmm'; did you mean 'stm'? The networks are tsn, stm, "),
        ({"name": "stm", "stream": "flows"}, "no stream 'flows'; did you mean 'flow'? The streams are rgb, flow."),
        ({"name": "stm", "branch": "cmm"}, "stm has no option 'branch'; did you mean 'branches'? The options are"),
        ({"name": "tsn", "branches": "cmm"}, "tsn has no option 'branches'"),
        ({"name": "stm", "branches": "ctsm"}, "did you mean 'cstm'? The choices are both, cstm, cmm, cmm_static."),
        ({"name": "stm", "depth": 18}, "stm: depth=18 is not right; the choices are 50, 101, 152."),
        ({"name": "stm", "depth": 101, "tiny": True}, "depth=101 and tiny=True exclude each other"),
        ({"name": "stm", "dropout": "half"}, "stm: dropout='half' is not right; float is expected."),
        ({"name": "stm", "dropout": True}, "float is expected"),
        ({"name": "tsn", "dropout": 1.0}, "it lies in [0, 1)"),
        ({"name": "stm", "tiny": 1}, "bool is expected"),
        ({"name": "stm", "cmm_reduction": 7}, "it divides the 64 channels"),
        ({"name": "stm", "cmm_reduction": 0}, "it divides the 64 channels"),
        ({"name": "stm", "stages": [1, 5]}, "the stages are 1, 2, 3, 4"),
        ({"name": "stm", "stages": "1"}, "a list of int is expected"),
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
