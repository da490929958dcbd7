"""TPN: docs/papers/backbones.md, section 3."""

import pytest
import torch
from network_helpers import assert_clips_apart_and_directed, logits, ready

import models
from models.backbones.tpn import GROUPS, Pyramid
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.weights import adopt

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("classes", "expected"), [(48, 62_952_560), (174, 63_210_734), (400, 63_673_808)])
def test_parameters_are_those_of_the_page(classes: int, expected: int) -> None:
    with torch.device("meta"):
        network = models.build("tpn", classes)
        auxiliary = parameters(network) - expected
        assert parameters(network.deploy()) == expected
    if classes == 48:
        assert auxiliary == 18_976_816


@pytest.mark.parametrize(("pooled", "gmacs"), [(True, 41.233), (False, 48.111)])
def test_cost_is_that_of_the_page(pooled: bool, gmacs: float) -> None:
    with torch.device("meta"):
        network = models.build("tpn", 48, keep_temporal_pool=pooled)
        macs, _ = cost(network, torch.empty(1, 3, 8, 224, 224))
    assert macs / 1e9 == pytest.approx(gmacs, rel=1e-3)


@pytest.mark.parametrize(("pooled", "frames", "left"), [(True, 8, 1), (True, 4, 1), (True, 16, 2), (False, 8, 8)])
def test_time_is_pooled_or_kept(pooled: bool, frames: int, left: int) -> None:
    network = ready("tpn", tiny=True, keep_temporal_pool=pooled)
    features = network.forward_features(torch.randn(1, 3, frames, 64, 65))
    assert features.shape == (1, 256, left, 2, 3)


@pytest.mark.parametrize("cascade", [True, False])
def test_the_pyramid_goes_down_and_up(cascade: bool) -> None:
    torch.manual_seed(0)
    neck = Pyramid(96, 2 * GROUPS, pool=4, cascade=cascade).eval()
    third, fourth = torch.randn(2, 96, 4, 6, 6), torch.randn(2, 2 * GROUPS, 4, 3, 3)
    low = neck.tempos[0](neck.reduce(third)).amax(2, keepdim=True)
    high = neck.tempos[1](fourth).amax(2, keepdim=True)
    lowered = low + high
    start = lowered if cascade else low
    raised = high + neck.up(start)
    down = neck.down_fusion.join(torch.cat([neck.down_fusion.levels[0](lowered), neck.down_fusion.levels[1](high)], 1))
    up = neck.up_fusion.join(torch.cat([neck.up_fusion.levels[0](start), neck.up_fusion.levels[1](raised)], 1))
    torch.testing.assert_close(neck(third, fourth), neck.join(torch.cat([down, up], 1)))


def test_clips_do_not_mix_and_time_has_a_direction() -> None:
    network = ready("tpn", tiny=True)
    assert_clips_apart_and_directed(network)


def test_the_auxiliary_head_is_for_training_alone() -> None:
    network = ready("tpn", tiny=True)
    clip, labels = torch.randn(2, 3, 8, 64, 64), torch.tensor([1, 2])
    losses = network.losses(clip, labels)
    torch.testing.assert_close(losses["total"], losses["loss_main"] + 0.5 * losses["loss_auxiliary"])
    before = logits(network, clip)
    torch.testing.assert_close(losses["logits"], before)
    deployed = network.deploy()
    assert not [key for key in deployed.state_dict() if key.startswith("auxiliary.")]
    assert torch.equal(logits(deployed, clip), before)
    assert models.build("tpn", 4, tiny=True, auxiliary_weight=0.0).auxiliary is None


def test_gradients_reach_every_parameter_at_once() -> None:
    network = models.build("tpn", 4, tiny=True)
    network.losses(torch.randn(2, 3, 8, 64, 64), torch.tensor([1, 2]))["total"].backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


def test_image_weights_start_the_trunk() -> None:
    network, imagenet = models.build("tpn", 4), ready("tsn", 1000).state_dict()
    adopted = adopt(network, imagenet, "resnet50.pth")
    assert adopted.left == ["fc.bias", "fc.weight"]
    assert {name.partition(".")[0] for name in adopted.new} == {"neck", "auxiliary", "fc"}


def test_the_authors_files_for_kinetics_are_refused() -> None:
    """Their trunk is SlowOnly, whose layers have the same names."""
    trunk = ready("slowonly", tiny=True).state_dict()
    kinetics = {f"backbone.{name}": value for name, value in trunk.items() if not name.startswith("fc.")}
    with pytest.raises(
        ModelError, match=r"r50f8s8.pth is of another network: conv1\.weight is \[\d+, 3, 1, 7, 7\] there"
    ):
        adopt(models.build("tpn", 4, tiny=True), kinetics, "r50f8s8.pth")


def authors_names(auxiliary: str) -> set[str]:
    """Every tensor of a file of the authors' code, TSM-ResNet-50 with TPN; its auxiliary convolution was in a list."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]

    def pair(conv: str, bn: str) -> set[str]:
        return {f"{conv}.weight", *(f"{bn}.{part}" for part in norm)}

    names = {f"backbone.{key}" for key in models.build("tsn", 2).state_dict() if not key.startswith("fc.")}
    spatial = "necks.spatial_modulation.spatial_modulation.0.0"
    names |= pair(f"{spatial}.conv", f"{spatial}.bn")
    names |= {f"necks.temporal_modulation_ops.{level}.conv.weight" for level in (0, 1)}
    names |= {"necks.downsampling_ops.0.conv.weight"}
    for fusion in ("necks.level_fusion_op", "necks.level_fusion_op2"):
        for level in (0, 1):
            names |= pair(f"{fusion}.ops.{level}.conv", f"{fusion}.ops.{level}.norm")
        names |= pair(f"{fusion}.fusion_conv.0", f"{fusion}.fusion_conv.1")
    names |= pair("necks.pyramid_fusion_op.0", "necks.pyramid_fusion_op.1")
    names |= pair(f"{auxiliary}.conv", f"{auxiliary}.bn")
    names |= {f"{layer}.{part}" for layer in ("necks.aux_head.fc", "cls_head.fc_cls") for part in ("weight", "bias")}
    return names


@pytest.mark.parametrize("auxiliary", ["necks.aux_head.convs", "necks.aux_head.convs.0"])
def test_the_authors_names_are_known(auxiliary: str) -> None:
    with torch.device("meta"):
        network = models.build("tpn", 400)
    ours = {name: network.adapted(name, torch.zeros(1))[0] for name in authors_names(auxiliary)}
    assert sorted(ours.values()) == sorted(network.state_dict())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temporal_pool": 0}, "temporal_pool must be at least 1, not 0"),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight must be at least 0, not -1.0"),
        ({"flow_type": "both"}, "flow_type must be one of cascade, parallel, not 'both'"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as error:
        models.build("tpn", 4, **options)
    assert sentence in str(error.value)
