"""Every network is exportable, for any batch size and any number of frames from three on."""

import pytest
import torch
from network_helpers import NETWORKS, clip_for
from torch import nn

import models

OPTIONS = {"stam": {"temperature_start": 30.0}}
"""What is harder to export than the default: an annealed temperature is a buffer."""


@pytest.mark.parametrize("name", NETWORKS)
def test_export_with_dynamic_batch_and_frames(name: str) -> None:
    network = models.build(name, 3, tiny=True, **OPTIONS.get(name, {})).eval()
    nn.init.normal_(network.fc.weight)
    for key, parameter in network.named_parameters():
        if key.endswith(".filters"):
            nn.init.normal_(parameter, std=0.5)
    network.begin_step(7.5)
    batch = torch.export.Dim("batch", min=1, max=64)
    frames = torch.export.Dim("frames", min=3, max=64)
    example = (clip_for(network, 2, 4, 48, 48),)
    exported = torch.export.export(network, example, dynamic_shapes=({0: batch, 2: frames},)).module()
    for shape in ((1, 4), (5, 4), (1, 16), (3, 3)):
        clip = clip_for(network, *shape, 48, 48)
        torch.testing.assert_close(exported(clip), network(clip), rtol=1e-4, atol=1e-5)
