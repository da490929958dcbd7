"""Public weights: what is loaded, what is new, what is left over."""

import pytest
import torch
from network_helpers import IN_A_RESNET, logits, ready

import models
from models.common.errors import ModelError
from models.common.weights import adopt, unwrap

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    """Names of torchvision's and timm's files of a ResNet-50, with our values."""
    return ready("tsn", 1000).state_dict()


@pytest.mark.parametrize("name", IN_A_RESNET)
def test_an_image_network_starts_every_2d_network(name: str, imagenet: dict[str, torch.Tensor]) -> None:
    network = models.build(name, 7)
    adopted = adopt(network, imagenet, "resnet50.pth")
    state = network.state_dict()
    assert adopted.left == ["fc.bias", "fc.weight"]
    assert {"fc.weight", "fc.bias"} <= set(adopted.new)
    assert len(adopted.loaded) == 318
    assert {*adopted.loaded, *adopted.new} == {
        key for key in state if key in adopted.loaded or not key.endswith("num_batches_tracked")
    }
    assert not any(key in imagenet and not key.startswith("fc.") for key in adopted.new)
    for key in adopted.loaded:
        if key != "conv1.weight":
            assert torch.equal(state[key], imagenet[key])
    if network.stream == "flow":
        mean = imagenet["conv1.weight"].mean(1)
        assert state["conv1.weight"].shape[1] == 10
        for channel in range(10):
            torch.testing.assert_close(state["conv1.weight"][:, channel], mean)


def test_the_same_number_of_classes_brings_the_classifier() -> None:
    ours, theirs = models.build("tsn", 6, tiny=True, dropout=0.0).eval(), ready("tsn", 6, tiny=True)
    adopted = adopt(ours, theirs.state_dict(), "run")
    assert adopted.new == adopted.left == []
    clip = torch.randn(1, 3, 2, 48, 48)
    assert torch.equal(logits(ours, clip), logits(theirs, clip))


def test_a_network_of_ours_starts_one_of_other_classes() -> None:
    theirs = ready("stm", 6, tiny=True)
    ours = models.build("stm", 4, tiny=True)
    adopted = adopt(ours, theirs.state_dict(), "run")
    assert sorted(adopted.new) == sorted(adopted.left) == ["fc.bias", "fc.weight"]
    assert str(adopted).endswith("new: fc.weight, fc.bias; left over: fc.bias, fc.weight")


def test_more_than_the_network_has_is_left_over() -> None:
    stm = ready("stm", 6, tiny=True).state_dict()
    adopted = adopt(models.build("tsn", 6, tiny=True), stm, "run")
    assert adopted.new == []
    assert set(adopted.left) == {key for key in stm if ".cstm." in key or ".cmm." in key}
    assert "more" in str(adopted)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
def test_files_of_training_scripts_are_unwrapped(wrapper: str | None) -> None:
    state = {f"module.{key}": value for key, value in ready("tsn", 6, tiny=True).state_dict().items()}
    content = {"epoch": 3, wrapper: state} if wrapper else state
    adopted = adopt(models.build("tsn", 6, tiny=True), unwrap(content, "file"), "file")
    assert adopted.new == adopted.left == []


def test_files_of_other_networks_are_refused() -> None:
    tiny, full = models.build("tsn", 6, tiny=True), models.build("tsn", 6)
    with pytest.raises(
        ModelError, match=r"file is of another network: conv1\.weight is \[64, 3, 7, 7\] there and \[16"
    ):
        adopt(tiny, full.state_dict(), "file")
    with pytest.raises(ModelError, match="none of its 1 tensors has a place"):
        adopt(tiny, {"blocks.0.attn.qkv.weight": torch.zeros(3, 3)}, "file")
    for content in ({}, {"epoch": 3}, torch.zeros(3), [1]):
        with pytest.raises(ModelError, match="file holds no weights"):
            unwrap(content, "file")


def test_a_file_of_which_little_has_a_place_is_refused(imagenet: dict[str, torch.Tensor]) -> None:
    """The stem alone is alike in MTConv's ResNet."""
    network = models.build("mtconv_r50", 7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError) as told:
        adopt(network, imagenet, "resnet50.pth")
    assert str(told.value) == (
        "resnet50.pth is of another network: fewer than a quarter of its tensors, 6 of 320, have a place in this one: "
        "conv1.weight, bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var and 1 more"
    )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_group_norm_is_not_taken_for_batch_norm(imagenet: dict[str, torch.Tensor]) -> None:
    """Its weights and biases have the same names and shapes, and there are no statistics."""
    group_norm = {name: value for name, value in imagenet.items() if not name.endswith(("mean", "var", "tracked"))}
    with pytest.raises(ModelError, match="bn1 has no running mean and variance there, so it is not batch norm"):
        adopt(models.build("tsn", 7), group_norm, "resnet50_gn.pth")


def test_a_file_that_holds_itself_ends() -> None:
    content: dict[str, object] = {}
    content["model"] = content
    with pytest.raises(ModelError, match="holds no weights"):
        unwrap(content, "ring.pth")


@pytest.mark.parametrize("value", [torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex64)])
def test_tensors_that_no_network_has_are_refused(value: torch.Tensor) -> None:
    with pytest.raises(ModelError, match=r"fc\.weight is sparse or complex"):
        unwrap({"fc.weight": value}, "odd.pth")
