"""MTConv, SoftPool and frame selection: docs/papers/mtnet.md, sections 2 and 8."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.mtnet.frame_selection import frame_selection
from models.mtnet.mtconv import MTConv, MTConvSettings, pool, resize

pytestmark = pytest.mark.quick
SETTINGS = MTConvSettings()


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (1, 3, 3)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("size", [(8, 9, 14), (1, 7, 7), (5, 1, 1), (2, 1, 4), (3, 8, 8)])
@pytest.mark.parametrize("temporal", ["triplet", "symmetric"])
def test_its_shape_is_that_of_a_convolution(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, int, int], temporal: str
) -> None:
    x = torch.randn(2, 16, *size)
    layer = MTConv(16, 24, kernel, stride, settings=MTConvSettings(temporal_pool=temporal))
    padding = tuple(side // 2 for side in kernel)
    assert layer(x).shape == nn.Conv3d(16, 24, kernel, stride, padding)(x).shape


def test_it_is_what_the_page_says() -> None:
    torch.manual_seed(0)
    layer = MTConv(16, 8, (3, 3, 3), (1, 2, 2), settings=MTConvSettings(ratio=0.75)).eval()
    x = torch.randn(2, 16, 6, 9, 9)
    local = layer.bn_local(layer.conv_local(x[:, :12])).relu()
    assert local.shape[1] == 6

    def reduced(y: Tensor) -> Tensor:
        return frame_selection(pool(y, "soft", pairs=False))

    prolonged = layer.bn_prolonged(layer.conv_prolonged(reduced(x[:, 12:])))
    lateral = layer.bn_lateral(layer.conv_lateral(reduced(local)))
    assert lateral.shape == prolonged.shape == (2, 2, 3, 3, 3)
    expected = torch.cat([local, resize(prolonged + lateral, local).relu()], 1)
    torch.testing.assert_close(layer(x), expected)
    layer.act = False
    assert layer(x).min() < 0


@pytest.mark.parametrize(
    ("ratio", "channels", "local"), [(0.29, 100, 29), (0.875, 54, 47), (0.7, 10, 7), (0.57, 100, 57), (None, 24, 24)]
)
def test_the_local_branch_has_the_ratio_as_it_is_written(ratio: float | None, channels: int, local: int) -> None:
    """In floating point, 0.29 * 100 and 0.57 * 100 lie below 29 and 57."""
    assert MTConvSettings(ratio=ratio).split(channels) == local


def test_softpool_of_known_windows() -> None:
    def of(*values: float) -> float:
        return pool(torch.tensor(values, dtype=torch.float).view(1, 1, 1, 2, 2), "soft", pairs=False).item()

    assert of(0, 1, 2, 3) == pytest.approx(2.492653, abs=1e-6)
    assert of(-1000, -1000, -1000, -999) == pytest.approx(-999.5246, abs=1e-3)
    assert of(100, 101, 102, 103) == pytest.approx(102.492653, abs=1e-4)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("size", [(4, 6, 8), (5, 7, 3), (1, 1, 1), (3, 1, 5)])
def test_softpool_lies_between_mean_and_maximum(pairs: bool, size: tuple[int, int, int]) -> None:
    x = torch.randn(2, 3, *size)
    soft, mean = pool(x, "soft", pairs=pairs), pool(x, "avg", pairs=pairs)
    spans = [2 if pairs and size[0] > 1 else 1, *((2, 2) if max(size[1:]) > 1 else (1, 1))]
    assert soft.shape[2:] == tuple(math.ceil(side / span) for side, span in zip(size, spans, strict=True))
    assert (soft >= mean - 1e-6).all()
    highest = nn.functional.max_pool3d(x, tuple(spans), ceil_mode=True)
    assert (soft <= highest + 1e-6).all()
    torch.testing.assert_close(pool(x + 3, "soft", pairs=pairs), soft + 3)


def clip_of(vectors: Tensor) -> Tensor:
    """Frames [T, C] -> [1, C, T, 2, 3]; the first column of pixels holds all."""
    clip = torch.zeros(1, vectors.shape[1], vectors.shape[0], 2, 3)
    clip[0, :, :, 0, 0] = vectors.T
    return clip


def kept(vectors: Tensor, **options: bool) -> list[int]:
    numbers = torch.arange(1.0, len(vectors) + 1)
    clip = torch.cat([clip_of(vectors), torch.zeros(1, 1, len(vectors), 2, 3)], 1)
    clip[0, -1, :, 0, 1] = numbers
    clip[0, -1, :, 0, 2] = -numbers  # names each frame, and counts for nothing in its sum
    return (frame_selection(clip, **options)[0, -1, :, 0, 1] - 1).int().tolist()


def angles(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], 1)


@pytest.mark.parametrize("edges", [True, False])
def test_known_selections(edges: bool) -> None:
    a, b = (1.0, 0.0), (0.0, 1.0)
    assert kept(torch.tensor([a, a, a, b, a, a]), edges=edges) == [2, 3, 4]
    assert kept(angles(0, 10, 20, 90, 95, 100, 170, 180), edges=edges) == [2, 3, 5, 6]


def test_edges_and_the_authors_code() -> None:
    turning = angles(0, 90, 91, 92, 93, 180)
    assert kept(turning) == [0, 1, 5]
    assert 0 not in kept(turning, edges=False)
    assert kept(turning, lowest=False) == [2, 3, 4]
    assert kept(turning, lowest=False, edges=False) == [2, 3, 4]


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 16])
def test_selection_keeps_order_scale_and_direction(frames: int) -> None:
    torch.manual_seed(frames)
    x = torch.rand(3, 4, frames, 2, 2) * torch.rand(3, 1, frames, 1, 1)
    y = frame_selection(x)
    assert y.shape[2] == (frames // 2 if frames > 2 else frames)
    for sample, chosen in zip(x, y, strict=True):
        places = [
            next(t for t in range(frames) if torch.equal(sample[:, t], chosen[:, n])) for n in range(chosen.shape[1])
        ]
        assert places == sorted(places)
    assert torch.equal(frame_selection(4 * x), 4 * y)
    assert torch.equal(frame_selection(x.flip(2)), y.flip(2))


def test_gradient_flows_through_kept_frames_alone() -> None:
    x = clip_of(angles(0, 10, 20, 90, 95, 100, 170, 180)).requires_grad_()
    frame_selection(x).sum().backward()
    assert x.grad.abs().amax((0, 1, 3, 4)).nonzero().flatten().tolist() == [2, 3, 5, 6]
