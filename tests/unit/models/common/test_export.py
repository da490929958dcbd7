"""Every network is exportable, for any batch size, and where it keeps time for any number of frames from three on."""

import pytest
import torch
from network_helpers import NETWORKS, clip_for, last_linear
from torch import nn

import models

OPTIONS = {"stam": {"temperature_start": 30.0}}
"""Options that are harder to export than the defaults: an annealed temperature is a buffer."""


SAME_LAYERS = {"x3d_m", "x3d_l", "mtnet_m", "mtnet_l"}
"""Networks that only differ in size from x3d_s and mtnet_s."""


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - SAME_LAYERS))
def test_export_with_a_dynamic_clip(name: str) -> None:
    network = models.build(name, 3, tiny=True, **OPTIONS.get(name, {})).eval()
    nn.init.normal_(last_linear(network).weight)
    for key, parameter in network.named_parameters():
        if key.endswith(".filters"):
            nn.init.normal_(parameter, std=0.5)
    network.begin_step(7.5)
    batch = torch.export.Dim("batch", min=1, max=64)
    frames = torch.export.Dim("frames", min=3, max=64)
    example = clip_for(network, 2, 4, 48, 48)
    keeps_time = network.forward_features(example).shape[2] == 4
    dynamic = {0: batch, 2: frames} if keeps_time else {0: batch}
    exported = torch.export.export(network, (example,), dynamic_shapes=(dynamic,)).module()
    for shape in ((1, 4), (5, 4), (1, 16), (3, 3)) if keeps_time else ((1, 4), (5, 4)):
        clip = clip_for(network, *shape, 48, 48)
        torch.testing.assert_close(exported(clip), network(clip), rtol=1e-4, atol=1e-5)
