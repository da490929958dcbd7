"""Every network is exportable, for any batch size and any number of frames from three on."""

import pytest
import torch
from torch import nn

import models


@pytest.mark.parametrize("name", models.names())
def test_export_with_dynamic_batch_and_frames(name: str) -> None:
    network = models.build(name, 3, tiny=True).eval()
    nn.init.normal_(network.fc.weight)
    batch = torch.export.Dim("batch", min=1, max=64)
    frames = torch.export.Dim("frames", min=3, max=64)
    example = (torch.randn(2, 3, 4, 48, 48),)
    exported = torch.export.export(network, example, dynamic_shapes=({0: batch, 2: frames},)).module()
    for shape in ((1, 4), (5, 4), (1, 16), (3, 3)):
        clip = torch.randn(shape[0], 3, shape[1], 48, 48)
        torch.testing.assert_close(exported(clip), network(clip), rtol=1e-4, atol=1e-5)
