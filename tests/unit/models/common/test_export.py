"""Every network is exportable, for any batch size, and where it keeps time for any number of frames from three on."""

from typing import Any

import pytest
import torch
from network_helpers import NETWORKS, clip_for, last_linear, with_random_filters
from torch import nn

import models

SAME_LAYERS = {"x3d_m", "x3d_l", "mtnet_m", "mtnet_l"}
"""Networks that only differ in size from x3d_s and mtnet_s."""


CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(set(NETWORKS) - SAME_LAYERS)] + [
    ("stam", {"mix": "softmax", "temperature_start": 30.0})
]
"""Defaults, and options that are harder to export: an annealed temperature is a buffer."""


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_export_with_a_dynamic_clip(name: str, options: dict[str, Any]) -> None:
    network = with_random_filters(models.build(name, 3, tiny=True, **options)).eval()
    nn.init.normal_(last_linear(network).weight)
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
