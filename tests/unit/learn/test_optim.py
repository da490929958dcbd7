import pytest
from learn_toys import Toy

from models.network import Group
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
    optimizer = build_optimizer(Grouped(), settings)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.2, 0.1])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0, 0.01]
    set_lr(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.02, 0.01])
    if name == "sgd":
        assert all(group["momentum"] == 0.8 and group["nesterov"] for group in optimizer.param_groups)


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
