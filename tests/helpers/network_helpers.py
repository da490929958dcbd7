"""Networks made comparable: statistics and weights that are neither 0 nor 1, and logits large enough to differ."""

import torch
from torch import Tensor, nn

import models
from models.common.describe import network_class
from models.common.network import CHANNELS, FrameNetwork
from models.stam.sthac import STHAC

NETWORKS = [name for name in models.names() if not models.describe(name).components]
"""Networks that take one clip; a network of several is tested beside its components."""

IN_A_RESNET = [name for name in NETWORKS if issubclass(network_class(models.describe(name)), FrameNetwork)]
"""Networks that run a ResNet on every frame."""


def clip_for(network: nn.Module, *shape: int) -> Tensor:
    """A random clip of the network's stream: [B, C, T, H, W] of shape B, T, H, W."""
    clips, *rest = shape
    return torch.randn(clips, CHANNELS[network.stream], *rest)


def last_linear(network: nn.Module) -> nn.Linear:
    return network.get_submodule(network.classifier)


def randomise(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 1.5)
                if module.affine:
                    uniform(module.weight, 0.5, 1.0)
                    uniform(module.bias, -0.2, 0.2)
        uniform(last_linear(network).weight, -0.05, 0.05)


def ready(name: str, classes: int = 6, **options: object) -> nn.Module:
    torch.manual_seed(3)
    network = models.build(name, classes, **options)
    randomise(network)
    return network.eval()


@torch.no_grad()
def logits(network: nn.Module, clip: Tensor) -> Tensor:
    return network(clip)


def sthac(network: nn.Module) -> list[STHAC]:
    return [module for module in network.modules() if isinstance(module, STHAC)]


def with_random_filters(network: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    for module in sthac(network):
        if module.mix != "branch":
            nn.init.normal_(module.filters, std=0.5)
            continue
        for branch in (module.spatial, module.temporal):
            if branch is not None:
                nn.init.normal_(branch.head.weight, std=0.5)
    return network


def assert_clips_apart_and_directed(network: nn.Module) -> None:
    """Clips of a batch do not mix, and a clip's reverse scores otherwise."""
    clips = torch.randn(2, 3, 8, 64, 64)
    scores = logits(network, clips)
    torch.testing.assert_close(logits(network, clips[1:]), scores[1:], rtol=1e-4, atol=1e-5)
    assert (logits(network, clips.flip(2)) - scores).abs().max() > 1e-4 * scores.abs().max()
