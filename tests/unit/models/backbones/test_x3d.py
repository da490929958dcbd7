"""X3D against its public weights' names and shapes, and a slow block (docs/papers/backbones.md, section 4)."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from network_helpers import clip_for, logits, randomise
from torch import Tensor, nn

from models.backbones.x3d import SE, X3D, X3DL, Conv, X3DBlock
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.options import parse
from models.common.weights import adopt, unwrap

both = pytest.mark.parametrize("network_class", [X3D, X3DL])


def build(network_class: type[X3D] = X3D, classes: int = 6, **options: object) -> X3D:
    torch.manual_seed(3)
    return network_class(classes, stream="rgb", options=parse(network_class.Options, "x3d", options))


def ready(network_class: type[X3D] = X3D, **options: object) -> X3D:
    network = build(network_class, tiny=True, **options)
    randomise(network)
    for module in network.modules():
        if isinstance(module, Conv) and module.groups > 1:  # they start too small for their place and time to show
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
    return network.eval()


# Names, shapes, counts.


def public(depths: tuple[int, ...], classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the public file with its shape."""

    def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (width,)
        yield f"{name}.num_batches_tracked", ()

    yield "blocks.0.conv.conv_t.weight", (24, 3, 1, 3, 3)
    yield "blocks.0.conv.conv_xy.weight", (24, 1, 5, 1, 1)
    yield from norm("blocks.0.norm", 24)
    inputs = 24
    stages = zip((24, 48, 96, 192), (54, 108, 216, 432), (8, 8, 16, 32), depths, strict=True)
    for stage, (outputs, width, squeezed, depth) in enumerate(stages, 1):
        for index in range(depth):
            block = f"blocks.{stage}.res_blocks.{index}"
            if index == 0:
                yield f"{block}.branch1_conv.weight", (outputs, inputs, 1, 1, 1)
            if index == 0 and stage > 1:
                yield from norm(f"{block}.branch1_norm", outputs)
            yield f"{block}.branch2.conv_a.weight", (width, inputs, 1, 1, 1)
            yield from norm(f"{block}.branch2.norm_a", width)
            yield f"{block}.branch2.conv_b.weight", (width, 1, 3, 3, 3)
            yield from norm(f"{block}.branch2.norm_b.0", width)
            if index % 2 == 0:
                yield f"{block}.branch2.norm_b.1.block.0.weight", (squeezed, width, 1, 1, 1)
                yield f"{block}.branch2.norm_b.1.block.0.bias", (squeezed,)
                yield f"{block}.branch2.norm_b.1.block.2.weight", (width, squeezed, 1, 1, 1)
                yield f"{block}.branch2.norm_b.1.block.2.bias", (width,)
            yield f"{block}.branch2.conv_c.weight", (outputs, width, 1, 1, 1)
            yield from norm(f"{block}.branch2.norm_c", outputs)
            inputs = outputs
    yield "blocks.5.pool.pre_conv.weight", (432, 192, 1, 1, 1)
    yield from norm("blocks.5.pool.pre_norm", 432)
    yield "blocks.5.pool.post_conv.weight", (2048, 432, 1, 1, 1)
    yield "blocks.5.proj.weight", (classes, 2048)
    yield "blocks.5.proj.bias", (classes,)


@pytest.mark.parametrize(("network_class", "depths"), [(X3D, (3, 5, 11, 7)), (X3DL, (5, 10, 25, 15))])
def test_names_and_shapes_are_the_public_ones(network_class: type[X3D], depths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = build(network_class, 400).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == dict(public(depths, 400))


def test_the_public_file_is_taken_as_it_is() -> None:
    generator = torch.Generator().manual_seed(4)
    state = {name: torch.rand(shape, generator=generator) for name, shape in public((3, 5, 11, 7), 400)}
    network = build(classes=400)
    adopted = adopt(network, unwrap({"model_state": state}, "X3D_M.pyth"), "X3D_M.pyth")
    assert not adopted.new
    assert not adopted.left
    assert all(torch.equal(value, state[name]) for name, value in network.named_parameters())


@pytest.mark.parametrize(
    ("network_class", "expected", "frames", "size", "gmacs", "with_bn"),
    [
        (X3D, 3_794_274, 13, 160, 1.963, 2.031),
        (X3D, 3_794_274, 13, 182, 2.722, 2.814),
        (X3D, 3_794_274, 16, 224, 4.732, 4.896),
        (X3D, 3_794_274, 16, 256, 6.181, 6.395),
        (X3DL, 6_153_384, 16, 312, 18.368, 18.928),
        (X3DL, 6_153_384, 16, 356, 24.764, 25.508),
    ],
)
def test_size_and_cost(
    network_class: type[X3D], expected: int, frames: int, size: int, gmacs: float, with_bn: float
) -> None:
    with torch.device("meta"):
        network = build(network_class, 400)
        assert parameters(network) == expected
        found = cost(network, torch.empty(1, 3, frames, size, size))
    assert found.macs / 1e9 == pytest.approx(gmacs, rel=1e-3)
    assert (found.macs + found.batch_norm) / 1e9 == pytest.approx(with_bn, rel=1e-3)


@both
def test_tiny_is_small_and_has_every_kind_of_block(network_class: type[X3D]) -> None:
    network = build(network_class, tiny=True)
    assert 100_000 < parameters(network) < 300_000
    kinds = set()
    for block in network.modules():
        if isinstance(block, X3DBlock):
            shortcut = (block.branch1_conv, block.branch1_norm)
            with_se = isinstance(block.branch2.norm_b[1], SE)
            kinds.add((*(not isinstance(layer, nn.Identity) for layer in shortcut), with_se))
    assert kinds == {(True, False, True), (True, True, True), (False, False, False), (False, False, True)}
    assert network.head.dropout.p == 0
    assert build(network_class, tiny=True, dropout=0.3).head.dropout.p == 0.3
    assert build(network_class).head.dropout.p == 0.5


# What its layers compute.


@pytest.mark.parametrize("size", [(4, 2, 3), (6, 3, 3)])
def test_its_head_scores_windows_as_pytorchvideos(size: tuple[int, int, int]) -> None:
    """Mean over each window, the last two layers and softmax; then the mean of the windows' probabilities."""
    head = ready(head_window=[4, 2, 3]).head
    x = torch.randn(2, head.pool["pre_conv"].out_channels, *size)
    windows = F.avg_pool3d(x, (4, 2, 3), stride=1)
    features = F.relu(head.pool["post_conv"](windows)).movedim(1, -1)
    probabilities = head.proj(features).softmax(-1).mean((1, 2, 3))
    torch.testing.assert_close(head(x).softmax(1), probabilities, rtol=1e-5, atol=1e-6)
    whole = ready().head(x).softmax(1)
    if size == (4, 2, 3):
        torch.testing.assert_close(whole, probabilities, rtol=1e-5, atol=1e-6)
    else:
        assert (whole - probabilities).abs().max() > 1e-4


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups"),
    [((1, 1, 1), 1, 1), ((1, 1, 1), 2, 1), ((1, 3, 3), 2, 1), ((5, 1, 1), 1, 6), ((3, 3, 3), 1, 6), ((3, 3, 3), 2, 6)],
)
def test_a_convolution_is_that_of_pytorch(kernel: tuple[int, int, int], stride: int, groups: int, frames: int) -> None:
    """Values, and gradients of input and weight."""
    torch.manual_seed(0)
    layer = Conv(6, 6, kernel, stride, groups=groups).double()
    x = torch.randn(2, 6, frames, 7, 10, dtype=torch.float64, requires_grad=True)
    expected = nn.Conv3d.forward(layer, x)
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, layer.weight), direction)
    for memory in (torch.contiguous_format, torch.channels_last_3d):
        y = layer(x.contiguous(memory_format=memory))
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(torch.autograd.grad(y, (x, layer.weight), direction), wanted)
        with torch.no_grad():
            torch.testing.assert_close(layer(x.contiguous(memory_format=memory)), expected)


def slow_block(block: X3DBlock, x: Tensor, stride: int) -> Tensor:
    """A block as the paper's page describes it: the depthwise convolution is a sum over its 27 taps."""

    def pointwise(weight: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("oi,bithw->bothw", weight.flatten(1), x)

    def norm(layer: nn.Module, x: Tensor) -> Tensor:
        return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    branch = block.branch2
    u = norm(branch.norm_a, pointwise(branch.conv_a.weight, x)).relu()
    frames, height, width = u.shape[2:]
    padded, y = F.pad(u, (1,) * 6), 0
    for t in range(3):
        for i in range(3):
            for j in range(3):
                window = padded[:, :, t : t + frames, i : i + height : stride, j : j + width : stride]
                y = y + window * branch.conv_b.weight[:, :, t, i, j].view(1, -1, 1, 1, 1)
    y = norm(branch.norm_b[0], y)
    if isinstance(branch.norm_b[1], SE):
        first, second = branch.norm_b[1].block[0], branch.norm_b[1].block[2]
        squeezed = (y.mean((2, 3, 4)) @ first.weight.flatten(1).T + first.bias).relu()
        y = y * torch.sigmoid(squeezed @ second.weight.flatten(1).T + second.bias)[:, :, None, None, None]
    y = norm(branch.norm_c, pointwise(branch.conv_c.weight, y * torch.sigmoid(y)))
    if isinstance(block.branch1_conv, Conv):
        x = pointwise(block.branch1_conv.weight, x[:, :, :, ::stride, ::stride])
    if isinstance(block.branch1_norm, nn.BatchNorm3d):
        x = norm(block.branch1_norm, x)
    return (x + y).relu()


@pytest.mark.parametrize(("stage", "index", "stride"), [(1, 0, 2), (2, 0, 2), (2, 1, 1), (3, 2, 1)])
def test_a_block_is_what_the_page_says(stage: int, index: int, stride: int) -> None:
    block = ready().blocks[stage].res_blocks[index]
    for parameter in block.branch2.norm_b[1].parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, block.branch2.conv_a.in_channels, 3, 9, 6)
    torch.testing.assert_close(block(x), slow_block(block, x, stride), rtol=1e-4, atol=1e-5)


def test_the_head_averages_between_its_projections() -> None:
    network = ready()
    clip = torch.randn(2, 3, 3, 72, 40)
    head = network.head
    with torch.no_grad():
        pooled = network.forward_features(clip).mean((2, 3, 4))
        expected = head.proj((pooled @ head.pool["post_conv"].weight.flatten(1).T).relu())
    torch.testing.assert_close(logits(network, clip), expected)


def test_weights_start_as_published() -> None:
    network = build(classes=400)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            fan_out = module.out_channels * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.2), name
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm3d):
            assert (module.weight == (0 if name.endswith("norm_c") else 1)).all()
            assert not module.bias.any()
    assert network.head.proj.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not network.head.proj.bias.any()


# How it behaves.


@pytest.mark.parametrize(("frames", "size"), [(1, (32, 32)), (4, (33, 47)), (13, (56, 72)), (16, (64, 101))])
def test_any_frames_and_size_from_32_pixels_on(frames: int, size: tuple[int, int]) -> None:
    network = build(tiny=True).eval()
    clip = clip_for(network, 2, frames, *size)
    assert network.forward_features(clip).shape == (2, 108, frames, *(-(-side // 32) for side in size))
    assert logits(network, clip).shape == (2, 6)


@both
def test_clips_do_not_mix_and_order_matters(network_class: type[X3D]) -> None:
    network = ready(network_class)
    clip = torch.randn(3, 3, 4, 48, 48)
    found = logits(network, clip)
    torch.testing.assert_close(logits(network, clip[1:2]), found[1:2], rtol=1e-4, atol=1e-5)
    assert torch.equal(logits(network, clip), found)
    assert (logits(network, clip.flip(2)) - found).abs().max() > 1e-3


@both
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": "high"}, "x3d: dropout must be a number, not 'high'"),
        ({"widths": 2}, "unknown option 'widths' of x3d; known: dropout, head_window, tiny"),
    ],
)
def test_a_wrong_option_is_one_sentence(network_class: type[X3D], options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError) as error:
        build(network_class, **options)
    assert str(error.value) == sentence


@both
def test_gradients_reach_every_parameter_within_three_steps(network_class: type[X3D]) -> None:
    """The first step finds closed branches: their last batch norm starts at 0."""
    network = build(network_class, tiny=True)
    clip, labels = torch.randn(4, 3, 4, 48, 48), torch.tensor([0, 1, 2, 3])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    reached = set()
    for _ in range(3):
        optimiser.zero_grad()
        network.losses(clip, labels)["total"].backward()
        reached |= {name for name, parameter in network.named_parameters() if parameter.grad.any()}
        optimiser.step()
    assert reached == {name for name, _ in network.named_parameters()}
