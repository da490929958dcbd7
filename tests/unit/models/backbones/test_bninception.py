"""BN-Inception against its public weights: names, shapes and input (docs/papers/backbones.md, section 6)."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from network_helpers import logits
from torch import Tensor, nn

import models
from models.common.errors import ModelError
from models.common.weights import adopt

pytestmark = pytest.mark.quick

# The page's table: in, 1x1, (reduce, 3x3), (reduce, 3x3, 3x3), pool and projection.
TABLE = {
    "3a": (192, 64, (64, 64), (64, 96, 96), ("avg", 32)),
    "3b": (256, 64, (64, 96), (64, 96, 96), ("avg", 64)),
    "3c": (320, 0, (128, 160), (64, 96, 96), ("pass", 0)),
    "4a": (576, 224, (64, 96), (96, 128, 128), ("avg", 128)),
    "4b": (576, 192, (96, 128), (96, 128, 128), ("avg", 128)),
    "4c": (576, 160, (128, 160), (128, 160, 160), ("avg", 128)),
    "4d": (608, 96, (128, 192), (160, 192, 192), ("avg", 128)),
    "4e": (608, 0, (128, 192), (192, 256, 256), ("pass", 0)),
    "5a": (1056, 352, (192, 320), (160, 224, 224), ("avg", 128)),
    "5b": (1024, 352, (192, 320), (192, 224, 224), ("max", 128)),
}
STEM = {"conv1_7x7_s2": (64, 3, 7, 7), "conv2_3x3_reduce": (64, 64, 1, 1), "conv2_3x3": (192, 64, 3, 3)}


def convolutions() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every convolution of the public file with the shape of its weight."""
    yield from STEM.items()
    for name, (inputs, single, (reduce, double), (reduce3, first, second), (_, projected)) in TABLE.items():
        module = f"inception_{name}"
        if single:
            yield f"{module}_1x1", (single, inputs, 1, 1)
        yield f"{module}_3x3_reduce", (reduce, inputs, 1, 1)
        yield f"{module}_3x3", (double, reduce, 3, 3)
        yield f"{module}_double_3x3_reduce", (reduce3, inputs, 1, 1)
        yield f"{module}_double_3x3_1", (first, reduce3, 3, 3)
        yield f"{module}_double_3x3_2", (second, first, 3, 3)
        if projected:
            yield f"{module}_pool_proj", (projected, inputs, 1, 1)


@pytest.fixture(scope="module")
def public() -> dict[str, Tensor]:
    """A state dict as the public file's: batch norm's tensors are [1, C], the classifier is `last_linear`."""
    generator = torch.Generator().manual_seed(4)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state: dict[str, Tensor] = {}
    for name, shape in convolutions():
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"{name}.weight"] = random(*shape) * (2 / fan_in) ** 0.5
        state[f"{name}.bias"] = 0.1 * random(shape[0])
        state[f"{name}_bn.weight"] = 1 + 0.1 * random(1, shape[0])
        state[f"{name}_bn.bias"] = 0.1 * random(1, shape[0])
        state[f"{name}_bn.running_mean"] = 0.1 * random(1, shape[0])
        state[f"{name}_bn.running_var"] = random(1, shape[0]).exp()
    return state | {"last_linear.weight": random(1000, 1024), "last_linear.bias": random(1000)}


def reference(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The map before the last pool, by the page: [N, 3, H, W] -> [N, 1024, H/32, W/32]."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, state[f"{name}.bias"], stride, weight.shape[2] // 2)
        norm = (state[f"{name}_bn.{part}"][0] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, *norm))

    x = F.max_pool2d(unit("conv1_7x7_s2", images, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(unit("conv2_3x3", unit("conv2_3x3_reduce", x)), 3, 2, ceil_mode=True)
    for name, (_, single, _, _, (pool, _)) in TABLE.items():
        module, stride = f"inception_{name}", 2 if pool == "pass" else 1
        branches = [unit(f"{module}_1x1", x)] if single else []
        branches.append(unit(f"{module}_3x3", unit(f"{module}_3x3_reduce", x), stride))
        double = unit(f"{module}_double_3x3_1", unit(f"{module}_double_3x3_reduce", x))
        branches.append(unit(f"{module}_double_3x3_2", double, stride))
        if pool == "pass":
            branches.append(F.max_pool2d(x, 3, 2, ceil_mode=True))
        else:
            pooled = F.avg_pool2d(x, 3, 1, 1) if pool == "avg" else F.max_pool2d(x, 3, 1, 1)
            branches.append(unit(f"{module}_pool_proj", pooled))
        x = torch.cat(branches, 1)
    return x


def trunk(stream: str, classes: int = 5) -> nn.Module:
    name = {"rgb": "stin_spatial", "flow": "stin_temporal"}[stream]
    off = {"rgb": {"lambda_s": 0.0}, "flow": {"lambda_t": 0.0, "attention": False}}[stream]
    return models.build(name, classes, backbone="bninception", **off).eval()


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_the_public_file_is_taken_as_it_is(stream: str, public: dict[str, Tensor]) -> None:
    network = trunk(stream)
    adopted = adopt(network, public, "bn_inception.pth")
    assert sorted(adopted.new) == ["fc.bias", "fc.weight"]
    assert adopted.left == ["last_linear.bias", "last_linear.weight"]
    state = network.state_dict()
    for name in adopted.loaded:
        expected = public[name]
        if name == "conv1_7x7_s2.weight" and stream == "flow":
            expected = expected.mean(1, keepdim=True).expand(-1, 10, -1, -1)
        torch.testing.assert_close(state[name], expected.reshape(state[name].shape))


def test_a_classifier_of_other_scripts_is_left_over_too(public: dict[str, Tensor]) -> None:
    trunk_alone = {name: value for name, value in public.items() if not name.startswith("last_linear")}
    for classifier in ("fc", "fc_action"):
        theirs = {f"{classifier}.weight": torch.zeros(1000, 1024), f"{classifier}.bias": torch.zeros(1000)}
        adopted = adopt(trunk("rgb"), trunk_alone | theirs, "file")
        assert adopted.left == sorted(theirs)


def test_a_file_of_another_trunk_is_refused(public: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError, match="none of its"):
        adopt(models.build("tsn", 5, tiny=True), public, "bn_inception.pth")
    with pytest.raises(ModelError, match=r"conv1_7x7_s2_bn\.weight is \[2, 64\] there and \[64\] here"):
        adopt(trunk("rgb"), public | {"conv1_7x7_s2_bn.weight": torch.zeros(2, 64)}, "file")


def test_with_the_public_weights_it_computes_what_the_page_says(public: dict[str, Tensor]) -> None:
    """Clips come red first; the public network reads blue first."""
    network = trunk("rgb")
    adopt(network, public, "bn_inception.pth")
    clip = 50 * torch.randn(2, 3, 2, 96, 64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = network.forward_features(clip)
        for frame in range(2):
            blue_first = clip[:, [2, 1, 0], frame]
            expected = reference(public, blue_first)
            largest = expected.max().item()
            torch.testing.assert_close(found[:, :, frame], expected, rtol=1e-4, atol=1e-5 * largest)
            red_first = reference(public, clip[:, :, frame])
            assert (found[:, :, frame] - red_first).abs().max() > 1e-2 * largest


def test_any_size_from_32_pixels_on() -> None:
    network = trunk("rgb")
    for height, width in ((32, 32), (33, 47), (72, 90), (112, 100)):
        features = network.forward_features(torch.randn(1, 3, 1, height, width))
        assert features.shape[:3] == (1, 1024, 1)
        assert features.shape[3] in (height // 32, -(-height // 32))


def test_flow_is_read_in_its_own_order(public: dict[str, Tensor]) -> None:
    network = trunk("flow")
    nn.init.normal_(network.conv1_7x7_s2.weight)
    clip = torch.randn(1, 10, 1, 64, 64)
    first = network.conv1_7x7_s2(clip[:, :, 0])
    seen = []
    network.conv1_7x7_s2.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logits(network, clip)
    torch.testing.assert_close(seen[0], first)


def test_partial_bn_and_groups_start_at_the_first_convolution() -> None:
    with torch.device("meta"):
        network = models.build("stin_temporal", 5, backbone="bninception", partial_bn=True, lambda_t=0.0)
    training = {key for key, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d) and layer.training}
    assert training == {"conv1_7x7_s2_bn", "attention.bn"}
    groups = {name: group for group in network.parameter_groups() for name in group.names}
    assert (groups["conv1_7x7_s2.weight"].lr_multiplier, groups["conv1_7x7_s2.weight"].weight_decay) == (5, True)
    assert (groups["conv1_7x7_s2.bias"].lr_multiplier, groups["conv1_7x7_s2.bias"].weight_decay) == (10, False)
    assert (groups["conv2_3x3.bias"].lr_multiplier, groups["conv2_3x3.weight"].lr_multiplier) == (2, 1)


@pytest.mark.parametrize("name", ["stin_spatial", "stin_temporal", "stin"])
def test_its_description_asks_for_what_the_weights_expect(name: str) -> None:
    """Red, green and blue less 128, 117 and 104; flow less 128; all in 0..255."""
    about = models.describe(name, {"backbone": "bninception"})
    for stream, expected in (("rgb", [128, 117, 104]), ("flow", [128])):
        assert [255 * value for value in about.stream_clip[stream]["mean"]] == pytest.approx(expected)
        assert about.stream_clip[stream]["std"] == (1 / 255,) * len(expected)
    assert models.describe(name, {"backbone": "resnet18"}) == models.describe(name)
