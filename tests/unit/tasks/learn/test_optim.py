import pytest
from learn_toys import Toy

from models.common.network import Group
from tasks.errors import UserError
from tasks.learn.optim import build_optimizer, set_lr
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick


class Grouped(Toy):
    def parameter_groups(self):
        return [
            Group(["conv.weight"], 5.0, True, "ordinary"),
            Group(["conv.bias", "fc.bias"], 2.0, False, "ordinary"),
            Group(["fc.weight", "norm.weight", "norm.bias"], 1.0, True, "ordinary"),
        ]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_groups_keep_their_multiplier_and_decay(name):
    settings = TrainSettings(lr=0.1, optimizer=name, weight_decay=0.01, momentum=0.8, nesterov=True)
    network = Grouped()
    optimizer = build_optimizer(network, settings)
    names = {id(parameter): name for name, parameter in network.named_parameters()}

    def told(key):
        return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}

    multipliers = {"conv.weight": 5, "conv.bias": 2, "fc.bias": 2, "fc.weight": 1, "norm.weight": 1, "norm.bias": 1}
    assert told("lr") == pytest.approx({name: 0.1 * multiplier for name, multiplier in multipliers.items()})
    assert told("weight_decay") == {name: 0.0 if multiplier == 2 else 0.01 for name, multiplier in multipliers.items()}
    set_lr(optimizer, 0.01)
    assert told("lr") == pytest.approx({name: 0.01 * multiplier for name, multiplier in multipliers.items()})
    if name == "sgd":
        assert all(group["momentum"] == 0.8 and group["nesterov"] for group in optimizer.param_groups)


def test_a_trained_trunk_learns_slower_than_its_head():
    network = Grouped()
    optimizer = build_optimizer(network, TrainSettings(lr=1.0, trunk_lr_factor=0.1, weight_decay=0.01))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    rates = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert rates == {
        "conv.weight": (pytest.approx(0.5), 0.01),
        "conv.bias": (pytest.approx(0.2), 0.0),
        "norm.weight": (pytest.approx(0.1), 0.01),
        "norm.bias": (pytest.approx(0.1), 0.01),
        "fc.weight": (1.0, 0.01),
        "fc.bias": (2.0, 0.0),
    }
    Grouped.heads = ("norm",)
    try:
        optimizer = build_optimizer(network, TrainSettings(lr=1.0, trunk_lr_factor=0.1))
    finally:
        Grouped.heads = ()
    rates = {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert (rates["norm.weight"], rates["conv.weight"]) == (1.0, pytest.approx(0.5))


def test_frozen_parameters_are_left_out():
    network = Grouped()
    network.norm.requires_grad_(False)
    held = {id(p) for group in build_optimizer(network, TrainSettings()).param_groups for p in group["params"]}
    assert held == {id(p) for p in network.parameters() if p.requires_grad}


def test_a_forgotten_parameter_is_named():
    class Forgetful(Toy):
        def parameter_groups(self):
            return Grouped.parameter_groups(self)[:2]

    with pytest.raises(ValueError, match=r"fc\.weight, norm\.bias, norm\.weight"):
        build_optimizer(Forgetful(), TrainSettings())


def rates(settings):
    network = Grouped()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(p)]: g["lr"] for g in build_optimizer(network, settings).param_groups for p in g["params"]}


def test_layers_have_factors_of_their_own():
    plain = rates(TrainSettings(lr=1.0, trunk_lr_factor=0.1))
    found = rates(TrainSettings(lr=1.0, trunk_lr_factor=0.1, lr_factors={"conv.*": 0.5, "*.bias": 3.0}))
    factors = {name: found[name] / plain[name] for name in plain}
    assert factors == pytest.approx(
        {"conv.weight": 0.5, "conv.bias": 1.5, "norm.weight": 1, "norm.bias": 3, "fc.weight": 1, "fc.bias": 3}
    )


def test_factors_of_one_are_the_groups_without_any():
    """Groups and their order are the same, and so are the bits of a norm over them."""
    without, ones = (
        build_optimizer(Grouped(), TrainSettings(lr_factors=factors)).param_groups for factors in ({}, {"*": 1.0})
    )
    assert [[p.shape for p in g["params"]] for g in without] == [[p.shape for p in g["params"]] for g in ones]
    assert [g["lr"] for g in without] == [g["lr"] for g in ones]


def test_a_pattern_that_fits_nothing_is_named():
    said = r"train\.lr_factors: no parameter is named like 'layer1\.\*'; names are such as conv\.weight, "
    with pytest.raises(UserError, match=said):
        build_optimizer(Grouped(), TrainSettings(lr_factors={"layer1.*": 0.1}))
