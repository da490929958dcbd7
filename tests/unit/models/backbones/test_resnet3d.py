"""3-D ResNets: docs/papers/backbones.md, section 2, docs/papers/mtnet.md, section 5."""

import pytest
import torch
import torch.nn.functional as F
from network_helpers import assert_clips_apart_and_directed, ready
from torch import Tensor

import models
from models.backbones.resnet3d import Bottleneck3D
from models.common.cost import cost, parameters
from models.common.errors import ModelError
from models.common.weights import adopt

pytestmark = pytest.mark.quick
NAMES = ["slowonly", "r3d50"]
both = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(("name", "classes", "expected"), [("slowonly", 400, 32_454_096), ("r3d50", 400, 36_724_688)])
def test_parameters_are_those_of_the_page(name: str, classes: int, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(models.build(name, classes)) == expected


@pytest.mark.parametrize(
    ("name", "frames", "size", "first_rule", "second_rule"),
    [
        ("slowonly", 8, 224, 41.741, None),
        ("slowonly", 8, 256, 54.518, 54.751),
        ("slowonly", 4, 256, 27.260, None),
        ("r3d50", 16, 224, 26.467, 26.544),
    ],
)
def test_cost_is_the_pages(name: str, frames: int, size: int, first_rule: float, second_rule: float | None) -> None:
    with torch.device("meta"):
        macs, batch_norm = cost(models.build(name, 400), torch.empty(1, 3, frames, size, size))
    assert macs / 1e9 == pytest.approx(first_rule, rel=1e-3)
    if second_rule is not None:
        assert (macs + batch_norm) / 1e9 == pytest.approx(second_rule, rel=1e-3)


@pytest.mark.parametrize("size", [(1, 64, 64), (4, 65, 97), (13, 64, 80)])
def test_slowonly_keeps_time_and_r3d50_strides_it(size: tuple[int, int, int]) -> None:
    clip = torch.randn(1, 3, *size)
    frames, height, width = size
    halves = [-(-height // 32), -(-width // 32)]
    assert list(ready("slowonly", tiny=True).forward_features(clip).shape) == [1, 128, frames, *halves]
    assert list(ready("r3d50", tiny=True).forward_features(clip).shape) == [1, 32, -(-frames // 16), *halves]


@both
def test_clips_do_not_mix_and_time_has_a_direction(name: str) -> None:
    network = ready(name, tiny=True)
    assert_clips_apart_and_directed(network)


def test_only_the_last_stages_of_slowonly_see_neighbours() -> None:
    network = models.build("slowonly", 4, tiny=True)
    kernels = {
        stage: {block.conv1.kernel_size for block in network.get_submodule(f"layer{stage}")} for stage in range(1, 5)
    }
    assert kernels == {1: {(1, 1, 1)}, 2: {(1, 1, 1)}, 3: {(3, 1, 1)}, 4: {(3, 1, 1)}}


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """As torchvision names a ResNet-50's tensors."""
    return ready("tsn", 1000).state_dict()


def test_image_weights_inflate_and_see_a_still_clip_as_its_frame(imagenet: dict[str, Tensor]) -> None:
    """In the middle of a clip, where no kernel reaches beyond its ends."""
    slow, tsn = models.build("slowonly", 1000, dropout=0.0).eval(), models.build("tsn", 1000, dropout=0.0).eval()
    adopted = adopt(slow, imagenet, "resnet50.pth")
    assert adopted.new == adopted.left == []
    tsn.load_state_dict(imagenet)
    frame = torch.randn(1, 3, 1, 64, 64)
    still = frame.expand(-1, -1, 19, -1, -1)  # nine blocks see one frame more to each side
    with torch.no_grad():
        torch.testing.assert_close(
            slow.forward_features(still)[:, :, 9], tsn.forward_features(frame)[:, :, 0], rtol=1e-3, atol=1e-4
        )


def test_image_weights_of_the_same_width_start_r3d50(imagenet: dict[str, Tensor]) -> None:
    """Stem and 3x3 convolutions, repeated along time; the pointwise ones of expansion 4 are left over."""
    network = models.build("r3d50", 7)
    adopted = adopt(network, imagenet, "resnet50.pth")
    own = network.state_dict()
    taken = {name for name, _ in network.named_parameters() if name in adopted.loaded}
    blocks = [f"layer{stage}.{index}" for stage, count in enumerate((3, 4, 6, 3), 1) for index in range(count)]
    of_block = {f"{block}.{name}" for block in blocks for name in ("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias")}
    of_block |= {f"{block}.conv2.weight" for block in blocks}
    assert taken == {"conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight"} | of_block
    assert set(adopted.left) == {name for name in imagenet if name not in adopted.loaded}
    for name in ("conv1.weight", "layer1.0.conv2.weight", "layer4.2.conv2.weight"):
        torch.testing.assert_close(own[name].sum(2), imagenet[name])
    share = sum(value.numel() for name, value in network.named_parameters() if name in adopted.loaded)
    assert share / parameters(models.build("r3d50", 400)) == pytest.approx(0.92, abs=0.01)


@pytest.mark.parametrize("size", [(8, 7, 7), (8, 8, 8), (10, 7, 9), (4, 2, 2)])
def test_slowonlys_head_scores_windows_as_pytorchvideos(size: tuple[int, int, int]) -> None:
    """Mean over each window of 8 x 7 x 7 positions, linear layer, mean of the scores; smaller maps are one window."""
    network = ready("slowonly", tiny=True, dropout=0.0)
    features = torch.randn(2, 128, *size)
    window = [min(pair) for pair in zip(size, (8, 7, 7), strict=True)]
    windows = F.avg_pool3d(features, window, stride=1).movedim(1, -1)
    torch.testing.assert_close(network.classify(features), network.fc(windows).mean((1, 2, 3)), rtol=1e-5, atol=1e-5)
    whole = ready("slowonly", tiny=True, dropout=0.0, head_window=[])
    torch.testing.assert_close(whole.classify(features), whole.fc(features.mean((2, 3, 4))))
    if window == list(size):
        torch.testing.assert_close(network.classify(features), whole.classify(features), rtol=1e-5, atol=1e-5)
    else:
        assert (network.classify(features) - whole.classify(features)).abs().max() > 1e-3


def test_pytorchvideos_names_are_known() -> None:
    """`slow_r50` as its file names it, in full."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = {"blocks.0.conv.weight", *(f"blocks.0.norm.{part}" for part in norm)}
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for index in range(blocks):
            block = f"blocks.{stage}.res_blocks.{index}"
            for letter in "abc":
                names.add(f"{block}.branch2.conv_{letter}.weight")
                names |= {f"{block}.branch2.norm_{letter}.{part}" for part in norm}
            if index == 0:
                names.add(f"{block}.branch1_conv.weight")
                names |= {f"{block}.branch1_norm.{part}" for part in norm}
    names |= {"blocks.5.proj.weight", "blocks.5.proj.bias"}
    network = models.build("slowonly", 400)
    own = network.state_dict()
    ours = {name: network.adapted(name, torch.zeros(1))[0] for name in names}
    assert set(ours.values()) == set(own)
    state = {name: torch.full_like(own[ours[name]], 2) for name in names}
    adopted = adopt(network, state, "SLOW_8x8_R50.pyth")
    assert adopted.new == adopted.left == []
    assert all((value == 2).all() for value in network.state_dict().values())


def test_a_block_is_three_convolutions_and_a_shortcut() -> None:
    block = Bottleneck3D(8, 4, (2, 2, 2), expansion=1, kernels=((1, 1, 1), (3, 3, 3), (1, 1, 1))).eval()
    x = torch.randn(2, 8, 4, 6, 6)
    y = block.conv3((block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))).relu())
    expected = (block.bn3(y) + block.downsample[1](block.downsample[0](x))).relu()
    torch.testing.assert_close(block(x), expected)
    assert isinstance(
        Bottleneck3D(4, 4, (1, 1, 1), expansion=1, kernels=((1, 1, 1),) * 3).downsample, torch.nn.Identity
    )


@both
def test_wrong_options_are_one_sentence(name: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=r"dropout must be at least 0 and below 1, not 1\.0"):
        models.build(name, 4, dropout=1.0)
    with pytest.raises(ModelError, match="unknown stream 'flow' of"):
        models.build(name, 4, stream="flow")


@pytest.mark.parametrize("window", [[7, 7], [8, 0, 7]])
@pytest.mark.parametrize("name", ["slowonly", "x3d_s"])
def test_a_wrong_window_is_one_sentence(name: str, window: list[int]) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match="head_window must be three sizes of at least 1"):
        models.build(name, 4, head_window=window)
