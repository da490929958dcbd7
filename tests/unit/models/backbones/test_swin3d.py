"""Video Swin-B against a slow reference: docs/papers/backbones.md, section 5."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from network_helpers import logits
from torch import Tensor, nn

from models.backbones.attention import attend, fused, written
from models.backbones.swin3d import DropPath, Swin3D, Swin3DOptions, SwinBlock, Window, resize_table
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.options import parse
from models.common.weights import adopt

KINETICS, SOMETHING = (8, 7, 7), (16, 7, 7)


def swin(classes: int = 6, stream: str = "rgb", **options: Any) -> Swin3D:
    torch.manual_seed(3)
    return Swin3D.create(classes, stream=stream, options=parse(Swin3DOptions, "swin3d_b", options))


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Weights at which every part of a layer counts."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        spread = {1: 0.3, 2: parameter.shape[-1] ** -0.5}.get(parameter.dim(), 0.05)
        if name.endswith("table"):
            spread = 1.0
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.copy_(centre + spread * noise)


@pytest.fixture(scope="module")
def tiny() -> Swin3D:
    network = swin(tiny=True)
    randomise(network)
    return network.eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.randn(3, 3, 8, 64, 64, generator=torch.Generator().manual_seed(2))


# Size and cost.


@pytest.mark.parametrize(
    ("classes", "window", "count", "gmacs"),
    [
        (400, KINETICS, 88_048_984, {16: 140.67, 32: 281.33}),
        (174, SOMETHING, 88_834_038, {32: 320.36}),
        (48, SOMETHING, 88_704_888, {}),
        (400, SOMETHING, 89_065_688, {}),
    ],
)
def test_size_and_cost(classes: int, window: tuple[int, ...], count: int, gmacs: dict[int, float]) -> None:
    with torch.device("meta"):
        network = swin(classes, window=window)
        assert parameters(network) == count
        for frames, expected in gmacs.items():
            assert cost(network, torch.empty(1, 3, frames, 224, 224)).macs == pytest.approx(expected * 1e9, rel=1e-3)


def test_the_cost_is_counted_alike_off_the_meta_device(tiny: Swin3D, clip: Tensor) -> None:
    with torch.device("meta"):
        elsewhere = cost(swin(tiny=True), torch.empty(3, 3, 8, 64, 64))
    assert cost(tiny, clip) == elsewhere
    assert parameters(tiny) < 400_000


# Keys.


def torchvisions_shapes() -> dict[str, tuple[int, ...]]:
    """State dict of torchvision's `swin3d_b`."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (128, 3, 2, 4, 4), "patch_embed.proj.bias": (128,)}

    def add(name: str, *weight: int, bias: int = 0) -> None:
        shapes[f"{name}.weight"] = weight
        shapes.update({f"{name}.bias": (bias,)} if bias else {})

    add("patch_embed.norm", 128, bias=128)
    for stage, (depth, heads) in enumerate(zip((2, 2, 18, 2), (4, 8, 16, 32), strict=True)):
        c = 128 * 2**stage
        for index in range(depth):
            block = f"features.{2 * stage}.{index}"
            add(f"{block}.norm1", c, bias=c)
            shapes[f"{block}.attn.relative_position_bias_table"] = (15 * 13 * 13, heads)
            shapes[f"{block}.attn.relative_position_index"] = (392, 392)
            add(f"{block}.attn.qkv", 3 * c, c, bias=3 * c)
            add(f"{block}.attn.proj", c, c, bias=c)
            add(f"{block}.norm2", c, bias=c)
            add(f"{block}.mlp.0", 4 * c, c, bias=4 * c)
            add(f"{block}.mlp.3", c, 4 * c, bias=c)
        if stage < 3:
            add(f"features.{2 * stage + 1}.norm", 4 * c, bias=4 * c)
            add(f"features.{2 * stage + 1}.reduction", 2 * c, 4 * c)
    add("norm", 1024, bias=1024)
    add("head", 400, 1024, bias=400)
    return shapes


def test_keys_are_torchvisions() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in swin(400).state_dict().items()}
    assert own == {name: shape for name, shape in torchvisions_shapes().items() if not name.endswith("index")}


def test_torchvisions_file_is_taken_as_it_is(tiny: Swin3D) -> None:
    """Its index of positions is neither missed nor left over."""
    theirs = tiny.state_dict()
    tables = [name for name in theirs if name.endswith("table")]
    theirs |= {name.replace("bias_table", "index"): torch.zeros(32, 32, dtype=torch.long) for name in tables}
    network = swin(tiny=True)
    adopted = adopt(network, theirs, "swin3d_b.pth")
    assert adopted.new == adopted.left == []
    assert all(torch.equal(value, theirs[name]) for name, value in network.state_dict().items())


# Blocks against attention over the whole volume.


def groups(size: int, window: int, shifted: bool) -> tuple[Tensor, Tensor]:
    """The window that each position of a padded axis is in, unrolled, and where in it."""
    if size <= window:
        return torch.zeros(size, dtype=torch.long), torch.arange(size)
    shift = window // 2 if shifted else 0
    unrolled = torch.arange(-(-size // window) * window) - shift
    return unrolled // window, unrolled % window


def as_in_a_whole_window(local: Tensor, sizes: list[int], window: tuple[int, int, int]) -> Tensor:
    """Positions [n, 3] of a window that the clip may have cut, as torchvision numbers them in the table: in a row, the
    first of those of the whole window.
    """
    _, height, width = (min(pair) for pair in zip(sizes, window, strict=True))
    number = (local[:, 0] * height + local[:, 1]) * width + local[:, 2]
    return torch.stack(torch.unravel_index(number, window), 1)


def attention(x: Tensor, block: SwinBlock, window: tuple[int, int, int], shifted: bool) -> Tensor:
    """[B, T, H, W, C] -> the same: each position with all of the volume, but for a mask."""
    sizes, channels, heads = x.shape[1:4], x.shape[4], block.attn.heads
    axes = [groups(size, limit, shifted) for size, limit in zip(sizes, window, strict=True)]
    padded = [len(member) for member, _ in axes]
    volume = x.new_zeros(x.shape[0], *padded, channels)
    volume[:, : sizes[0], : sizes[1], : sizes[2]] = x
    place = torch.tensor(list(product(*map(range, padded))))
    member = torch.stack([axes[axis][0][place[:, axis]] for axis in range(3)], 1)
    together = (member[:, None] == member[None]).all(-1)
    local = torch.stack([axes[axis][1][place[:, axis]] for axis in range(3)], 1)
    local = as_in_a_whole_window(local, list(sizes), window)
    distance = local[:, None] - local[None]
    (wt, wh, ww), table = window, block.attn.relative_position_bias_table
    row = ((distance[..., 0] + wt - 1) * (2 * wh - 1) + distance[..., 1] + wh - 1) * (2 * ww - 1)
    row = (row + distance[..., 2] + ww - 1).masked_fill(~together, 0)
    query, key, value = block.attn.qkv(volume.flatten(1, 3)).chunk(3, -1)
    outputs = []
    for head in range(heads):
        part = slice(head * channels // heads, (head + 1) * channels // heads)
        scores = query[..., part] @ key[..., part].transpose(1, 2) * (channels // heads) ** -0.5 + table[row, head]
        outputs.append(scores.masked_fill(~together, -torch.inf).softmax(-1) @ value[..., part])
    joined = block.attn.proj(torch.cat(outputs, -1)).reshape(volume.shape)
    return joined[:, : sizes[0], : sizes[1], : sizes[2]]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("window", "sizes"),
    [
        ((2, 4, 4), (4, 8, 12)),
        ((2, 4, 4), (5, 6, 9)),  # every axis is padded
        ((2, 3, 5), (3, 7, 5)),  # odd windows, one as long as its axis
        ((4, 4, 4), (2, 9, 3)),  # smaller than the window in time and width
        ((8, 7, 7), (4, 2, 2)),  # everything is in one window
        ((2, 4, 4), (1, 1, 1)),
        ((1, 2, 1), (3, 5, 2)),
    ],
)
@torch.no_grad()
def test_a_block_attends_inside_its_windows(
    window: tuple[int, int, int], sizes: tuple[int, ...], shifted: bool
) -> None:
    block = SwinBlock(12, 3, Window(*window), shifted=shifted, drop_path=0.5).eval()
    randomise(block)
    x = torch.randn(2, *sizes, 12)
    middle = x + attention(block.norm1(x), block, window, shifted)
    expected = middle + block.mlp[-1](F.gelu(block.mlp[0](block.norm2(middle))))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)
    with torch.enable_grad():  # in training, attention is written out
        torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("windows", [None, 6])
def test_both_forms_of_attention_are_equal(windows: int | None) -> None:
    """Whatever the memory order: query, key and value are parts of one product."""
    query, key, value = torch.randn(2, 6, 98, 3, 4, 32).permute(3, 0, 1, 4, 2, 5).unbind()
    bias = torch.randn(*([windows] if windows else []), 4, 98, 98)
    expected = written(query, key, value, bias)
    torch.testing.assert_close(fused(query, key, value, bias), expected, rtol=0, atol=2e-6)
    with torch.no_grad():
        assert torch.equal(attend(query, key, value, bias), fused(query, key, value, bias))
    assert torch.equal(attend(query, key, value, bias), expected)


def test_every_second_block_shifts(tiny: Swin3D) -> None:
    """Beyond a window the first block of a stage sees nothing, and the second does."""
    x = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(5))
    changed = x.clone()
    changed[:, :2, :4, :4, 0] += 1
    for block, reach in zip(tiny.features[0], ((2, 4, 4), (3, 6, 6)), strict=True):
        moved = (block(x) - block(changed)).abs().amax((0, 4)) > 1e-6
        assert moved.nonzero().amax(0).tolist() == [size - 1 for size in reach]


@torch.no_grad()
def test_merging_takes_the_left_column_first(tiny: Swin3D) -> None:
    merging = tiny.features[1]
    x = torch.randn(2, 3, 5, 7, 16)
    even = F.pad(x, (0, 0, 0, 1, 0, 1))
    four = [even[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    torch.testing.assert_close(merging(x), F.linear(merging.norm(torch.cat(four, -1)), merging.reduction.weight))


# The whole network.


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 33, 47), (3, 56, 72), (7, 64, 60), (8, 112, 112)])
@torch.no_grad()
def test_any_clip_is_filled_up_with_zeros(tiny: Swin3D, shape: tuple[int, int, int]) -> None:
    clip = torch.randn(1, 3, *shape)
    frames, height, width = (-size % patch for size, patch in zip(shape, (2, 4, 4), strict=True))
    features = tiny.forward_features(clip)
    assert torch.equal(features, tiny.forward_features(F.pad(clip, (0, width, 0, height, 0, frames))))
    assert features.shape == (1, 128, -(-shape[0] // 2), -(-shape[1] // 32), -(-shape[2] // 32))
    assert tiny(clip).shape == (1, 6)


@torch.no_grad()
def test_logits_are_those_of_the_mean_feature(tiny: Swin3D, clip: Tensor) -> None:
    features = tiny.forward_features(clip)
    assert features.shape == (3, 128, 4, 2, 2)
    torch.testing.assert_close(tiny(clip), tiny.head(features.mean((2, 3, 4))))
    normal = (features.movedim(1, -1) - tiny.norm.bias) / tiny.norm.weight
    torch.testing.assert_close(normal.mean(-1), torch.zeros(3, 4, 2, 2), rtol=0, atol=1e-4)


def test_clips_of_a_batch_do_not_mix(tiny: Swin3D, clip: Tensor) -> None:
    together = logits(tiny, clip)
    assert torch.equal(together, logits(tiny, clip))
    assert (together[0] - together[1]).abs().max() > 1e-2
    torch.testing.assert_close(logits(tiny, clip.flip(0)), together.flip(0))
    for index in range(3):
        torch.testing.assert_close(logits(tiny, clip[index : index + 1])[0], together[index])
    assert (logits(tiny, clip.flip(2)) - together).abs().max() > 1e-2


def test_gradients_reach_every_parameter(clip: Tensor) -> None:
    network = swin(tiny=True)
    network.losses(clip, torch.tensor([0, 1, 2]))["total"].backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_drop_path_skips_branches_of_single_samples() -> None:
    path = DropPath(0.25)
    kept = path(torch.ones(2000, 2, 1, 1, 3))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(kept.amin((1, 2, 3, 4)), kept.amax((1, 2, 3, 4)))
    assert kept.mean() == pytest.approx(1, abs=0.1)
    assert (path.eval()(torch.ones(2000, 2)) == 1).all()

    block = SwinBlock(12, 3, Window(2, 4, 4), shifted=True, drop_path=0.999999)
    x = torch.randn(4, 2, 4, 4, 12)
    assert torch.equal(block(x), x)
    assert not torch.equal(block.eval()(x), x)


def test_drop_path_rises_linearly_over_all_blocks() -> None:
    for given, last in (({}, 0.3), ({"drop_path": 0.4}, 0.4)):
        with torch.device("meta"):
            network = swin(**given)
        rates = [module.drop_path.rate for module in network.modules() if isinstance(module, SwinBlock)]
        assert rates == pytest.approx([last * index / 23 for index in range(24)])


def test_tables_and_norms_do_not_decay() -> None:
    with torch.device("meta"):
        network = swin()
    by_name = {name: (g.lr_multiplier, g.weight_decay) for g in network.parameter_groups() for name in g.names}
    grouped = [name for group in network.parameter_groups() for name in group.names]
    assert sorted(grouped) == sorted(name for name, _ in network.named_parameters())
    decaying = {name for name, (_, decays) in by_name.items() if decays}
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv3d)]
    weighted = {id(parameter) for layer in layers for parameter in layer.parameters()}
    assert decaying == {name for name, parameter in network.named_parameters() if id(parameter) in weighted}
    assert by_name["features.4.7.attn.relative_position_bias_table"] == by_name["norm.weight"] == (1, False)
    assert (by_name["head.weight"], by_name["head.bias"]) == ((1, True), (1, True))


def test_first_weights_are_the_papers() -> None:
    for name, parameter in swin(tiny=True).named_parameters():
        if name.endswith("table") or (parameter.dim() == 2 and name.endswith("weight")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.25)
        elif name.endswith("bias") and not name.startswith("patch_embed.proj"):
            assert not parameter.any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": (7, 7)}, "window must be three sizes of at least 1, along time, height and width, not "),
        ({"window": [8, 0, 7]}, r"window must be .*, not \(8, 0, 7\)"),
        ({"window": 7}, "window must be a list, each item a whole number, not 7"),
        ({"drop_path": 1.0}, "drop_path must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, not -0.1"),
        ({"windows": 7}, "did you mean 'window'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        parse(Swin3DOptions, "swin3d_b", options)


# Tables of another window.


def linear_table(window: tuple[int, int, int]) -> Tensor:
    """A table, [rows, 2], linear in the distance along each axis, which is measured in windows."""
    axes = [torch.linspace(-1, 1, 2 * size - 1) for size in window]
    t, h, w = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([t + h, 2 * h - 3 * w], -1).flatten(0, 2)


def test_a_table_is_stretched_along_time() -> None:
    table = torch.randn(15 * 13 * 13, 4)
    assert torch.equal(resize_table(table, KINETICS, KINETICS), table)
    stretched = resize_table(table, KINETICS, SOMETHING)
    assert stretched.shape == (31 * 13 * 13, 4)
    before, after = table.view(15, 169, 4), stretched.view(31, 169, 4)
    for old, new in ((0, 0), (7, 15), (14, 30)):
        torch.testing.assert_close(after[new], before[old], rtol=1e-5, atol=1e-5)
    between = before[0] + (before[1] - before[0]) * 14 / 30
    torch.testing.assert_close(after[1], between, rtol=1e-5, atol=1e-5)
    for window in ((5, 9, 7), (12, 4, 10)):
        resized = resize_table(linear_table(KINETICS), KINETICS, window)
        torch.testing.assert_close(resized, linear_table(window), rtol=1e-5, atol=1e-5)


def test_a_stretched_table_fits_the_network() -> None:
    small, large = swin(tiny=True), swin(tiny=True, window=(4, 4, 4))
    state = small.state_dict()
    for name in state:
        if name.endswith("table"):
            state[name] = resize_table(state[name], (2, 4, 4), (4, 4, 4))
    large.load_state_dict(state)
    assert large.eval()(torch.randn(1, 3, 8, 64, 64)).isfinite().all()
