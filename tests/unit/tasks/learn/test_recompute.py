"""Blocks that are computed again: the same training in less memory."""

import pytest
import torch
from learn_toys import CASES, Toy
from learn_worker import network_of, steps
from torch.autograd.graph import saved_tensors_hooks

import models
from models.common.network import CHANNELS
from tasks.errors import UserError
from tasks.learn.recompute import recompute

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("case", CASES)
def test_weights_statistics_and_figures_have_the_same_bits(case):
    """With dropout, gate noise, UDL and several shares, each of which starts from the statistics of the step before."""
    plain, again = (steps(0, 1, None, None, case, "exact", 2, recompute=value) for value in (False, True))
    assert again["sha256"] == plain["sha256"]
    assert again["figures"] == plain["figures"]


@pytest.mark.parametrize("case", CASES)
def test_less_is_kept_for_the_backward_pass(case):
    def kept(changed):
        network, flow = network_of(case)
        if changed:
            recompute(network)
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        clip = torch.randn(2, CHANNELS[network.stream], 4, 32, 32)
        more = {"flow": torch.zeros(2, 2, 2, 32, 32)} if flow else {}
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            network.train().losses(clip, torch.tensor([0, 1]), **more)
        weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
        return sum(size for place, size in storages.items() if place not in weights)

    assert kept(True) < 0.8 * kept(False)


def test_a_network_without_blocks_is_told_so():
    with pytest.raises(UserError, match=r"train\.recompute: Toy has no blocks"):
        recompute(Toy())
    inception = models.build("stin_temporal", 3, stream="flow", backbone="bninception")
    with pytest.raises(UserError, match="no blocks"):
        recompute(inception)
