"""Equations (1) to (7) of docs/papers/stam.md and (1) to (3) of docs/papers/tada2d.md, in double precision."""

import math

import pytest
import torch
from network_helpers import ready, with_random_filters
from torch import Tensor, nn

from models.stam.network import STAMBlock

pytestmark = pytest.mark.quick
CLIPS, FRAMES = 2, 3


def normalised(bn: nn.Module, x: Tensor) -> Tensor:
    """Batch norm of [rows, C, ...] by running statistics."""
    shape = (1, -1, *[1] * (x.dim() - 2))
    y = (x - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
    return y if bn.weight is None else y * bn.weight.view(shape) + bn.bias.view(shape)


def pooled(x: Tensor, side: int) -> Tensor:
    """Means of the parts of a map that overlap where its size is no multiple."""
    height, width = x.shape[2:]
    rows = [slice(i * height // side, -(-(i + 1) * height // side)) for i in range(side)]
    columns = [slice(i * width // side, -(-(i + 1) * width // side)) for i in range(side)]
    return torch.stack([torch.stack([x[:, :, r, c].mean((2, 3)) for c in columns], 2) for r in rows], 2)


def dilated(u: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """A depthwise 3x3 convolution as a sum of nine shifted maps."""
    height, width = u.shape[2:]
    y = torch.zeros_like(u)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            for row in range(height):
                for column in range(width):
                    r, c = row + i * dilation, column + j * dilation
                    if 0 <= r < height and 0 <= c < width:
                        y[:, :, row, column] += weight[:, 0, i + 1, j + 1] * u[:, :, r, c]
    return y


def spatial(branch: nn.Module, x: Tensor) -> Tensor:
    """Equation (1)."""
    x = pooled(x, 7) if max(x.shape[2:]) > 7 else x
    u = normalised(branch.bn, torch.einsum("nchw,mc->nmhw", x, branch.reduce.weight[:, :, 0, 0])).clamp_min(0)
    scales = [dilated(u, conv.weight, d).mean((2, 3)) for d, conv in zip((1, 2, 3), branch.dilated, strict=True)]
    logits = (sum(scales) @ branch.select.weight.T + branch.select.bias).split(u.shape[1], 1)
    total = sum(logit.exp() for logit in logits)
    mixed = sum(logit.exp() / total * scale for logit, scale in zip(logits, scales, strict=True))
    return mixed @ branch.head.weight.T + branch.head.bias


def layer_norm(norm: nn.LayerNorm, v: Tensor) -> Tensor:
    centred = v - v.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def temporal(branch: nn.Module, x: Tensor, scale: float) -> Tensor:
    """Equation (2), clip by clip and frame by frame."""
    means = x.mean((2, 3)) @ branch.reduce.weight.T
    means = (means if branch.bn is None else normalised(branch.bn, means)) + branch.reduce.bias
    width = means.shape[1]
    code = torch.zeros(FRAMES, width, dtype=x.dtype)
    for t in range(FRAMES):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            code[t, i] = math.cos(angle) if i % 2 else math.sin(angle)
    out = []
    for clip in means.view(CLIPS, FRAMES, width):
        v = clip + scale * code
        parts = layer_norm(branch.norm1, v) @ branch.qkv.weight.T + branch.qkv.bias
        query, key, value = parts.split(width, 1)
        rows = []
        for t in range(FRAMES):
            weights = torch.stack([(query[t] * key[s]).sum() / math.sqrt(width) for s in range(FRAMES)]).exp()
            rows.append(sum(w * row for w, row in zip(weights / weights.sum(), value, strict=True)))
        v = v + torch.stack(rows) @ branch.out.weight.T + branch.out.bias
        first, _, last = branch.mlp
        inner = layer_norm(branch.norm2, v) @ first.weight.T + first.bias
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        v = v + inner @ last.weight.T + last.bias
        out.append(v @ branch.head.weight.T + branch.head.bias)
    return torch.cat(out)


def factors(sthac: nn.Module, x: Tensor, mix: str, scale: float) -> Tensor:
    """Equation (3), or (5) and (6)."""
    branches = [(sthac.spatial, spatial(sthac.spatial, x)), (sthac.temporal, temporal(sthac.temporal, x, scale))]
    if mix == "branch":
        return 1 + sum(branch.scale * value for branch, value in branches)[:, :, None, None]
    shares = sum(value for _, value in branches).exp()
    shares = shares / shares.sum(1, keepdim=True)
    return 1 + torch.einsum("bn,ncij->bcij", shares, sthac.filters)


def convolved(x: Tensor, weights: Tensor, stride: int) -> Tensor:
    """Each frame with its own weights [B*T, C', C, 3, 3]."""
    frames = [
        nn.functional.conv2d(frame[None], w, stride=stride, padding=1) for frame, w in zip(x, weights, strict=True)
    ]
    return torch.cat(frames)


def neighbours(y: Tensor) -> Tensor:
    """A third of the sum of each frame and its two neighbours, [B*T, ...]."""
    clips = y.view(CLIPS, FRAMES, *y.shape[1:])
    sums = [clips[:, max(0, t - 1) : t + 2].sum(1) for t in range(FRAMES)]
    return torch.stack(sums, 1).flatten(0, 1) / 3


def along_time(y: Tensor, weight: Tensor) -> Tensor:
    """A convolution of three taps along T of [B, T, c, ...] by [c', c, 3]."""
    taps = [(tap, t + tap - 1) for t in range(FRAMES) for tap in range(3)]
    out = [
        sum(
            torch.einsum("bc...,dc->bd...", y[:, s], weight[:, :, tap])
            for tap, s in taps[3 * t : 3 * t + 3]
            if 0 <= s < FRAMES
        )
        for t in range(FRAMES)
    ]
    return torch.stack(out, 1)


def aggregated(od: nn.Module, y: Tensor) -> Tensor:
    """Equation (7) without its sum with bn2(y)."""
    gates, clips = od.gates, y.view(CLIPS, FRAMES, *y.shape[1:])
    local, wide, still, whole = clips.split(y.shape[1] // 4, 2)

    def gate(bn: nn.Module, of_time: Tensor) -> Tensor:
        rows = of_time.flatten(0, 1)
        return normalised(bn, rows).sigmoid().view(of_time.shape)

    local = local * gate(gates.bn_local_time, along_time(local, gates.local_time.weight[..., 0]))
    means = along_time(wide.mean((3, 4)), gates.global_space.weight[..., 0])
    wide = wide * gate(gates.bn_global_space, means)[..., None, None]
    plane = nn.functional.conv2d(still.mean(1), gates.global_time.weight, padding=1)
    still = still * normalised(gates.bn_global_time, plane).sigmoid()[:, None]
    everything = whole.mean((1, 3, 4)) @ gates.everything.weight.T
    whole = whole * normalised(gates.bn_everything, everything).sigmoid()[:, None, :, None, None]
    return normalised(od.bn, neighbours(torch.cat([local, wide, still, whole], 2).flatten(0, 1)))


@pytest.mark.parametrize("mix", ["branch", "softmax"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("side", [5, 9])
@torch.no_grad()
def test_a_block_of_stam_is_its_equations(mix: str, norm: bool, side: int) -> None:
    network = ready("stam", tiny=True, mix=mix, temporal_norm=norm, temporal_pos_scale=0.3)
    block = with_random_filters(network).double().layer2[0]
    assert isinstance(block, STAMBlock)
    u = torch.randn(CLIPS * FRAMES, block.conv2.in_channels, side, side - 1, dtype=torch.float64)
    u = u.contiguous(memory_format=torch.channels_last)
    alpha = factors(block.sthac, u, mix, 0.3)
    # It computes factors in single precision, which is what half precision is promoted to.
    torch.testing.assert_close(block.sthac.factors(u, FRAMES).double(), alpha, rtol=1e-6, atol=1e-6)
    y = convolved(u, alpha[:, None] * block.conv2.weight, block.conv2.stride[0])
    expected = (normalised(block.bn2, y) + aggregated(block.od, y)).clamp_min(0)
    torch.testing.assert_close(block.middle(u, FRAMES), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_block_of_tada2d_is_its_equations() -> None:
    block = ready("tada2d", tiny=True).layer2[0]
    nn.init.normal_(block.route.b.weight)
    block.double()
    u = torch.randn(CLIPS * FRAMES, block.conv2.in_channels, 9, 7, dtype=torch.float64)
    u = u.contiguous(memory_format=torch.channels_last)
    route, frames = block.route, u.mean((2, 3)).view(CLIPS, FRAMES, -1)
    context = frames + (frames.mean(1) @ route.g.weight.T + route.g.bias)[:, None]
    inner = along_time(context, route.a.weight) + route.a.bias
    inner = normalised(route.bn, inner.flatten(0, 1)).clamp_min(0).view(inner.shape)
    alpha = 1 + along_time(inner, route.b.weight).flatten(0, 1)
    y = convolved(u, block.conv2.weight * alpha[:, None, :, None, None], 2)
    expected = (normalised(block.bn2, y) + normalised(block.average_bn, neighbours(y))).clamp_min(0)
    torch.testing.assert_close(block.middle(u, FRAMES), expected, rtol=1e-10, atol=1e-10)
