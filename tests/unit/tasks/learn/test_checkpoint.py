import dataclasses
import json

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy

from tasks.errors import UserError
from tasks.learn import checkpoint
from tasks.learn.checkpoint import Position
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick


def trained(settings):
    network = Toy()
    optimizer = build_optimizer(network, settings)
    batch = next(Table().batches(0, 1))
    network.losses(batch.clip, batch.labels)["total"].backward()
    optimizer.step()
    return network, optimizer


@pytest.mark.parametrize(
    "settings",
    [TrainSettings(), TrainSettings(momentum=0.0), TrainSettings(optimizer="adamw")],
    ids=["momentum", "plain", "adamw"],
)
def test_everything_comes_back_bit_for_bit(tmp_path, settings):
    network, optimizer = trained(settings)
    scaler = grad_scaler(torch.device("cpu"), "fp16")
    scaler.load_state_dict(scaler.state_dict() | {"scale": 1024.0})
    folder = checkpoint.save(tmp_path / "c", network, optimizer, scaler, IDENTITY, Position(2, 37))

    other = Toy()
    other_optimizer = build_optimizer(other, settings)
    other_scaler = grad_scaler(torch.device("cpu"), "fp16")
    position = checkpoint.resume(folder, other, other_optimizer, other_scaler, IDENTITY)
    assert position == Position(2, 37)
    assert other_scaler.state_dict() == scaler.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(*map(state_of, (network, other)), strict=True))
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    for index, entry in before.items():
        for key, value in entry.items():
            if value is not None:
                assert torch.equal(value, after[index][key])


def state_of(network):
    return list(network.state_dict().values())


def test_a_checkpoint_holds_safetensors_and_json_alone(tmp_path):
    network, optimizer = trained(TrainSettings())
    network.to(memory_format=torch.channels_last)
    scaler = grad_scaler(torch.device("cpu"), "off")
    for step in (1, 2):  # the second replaces the first
        checkpoint.save(tmp_path / "c", network, optimizer, scaler, IDENTITY, Position(0, step))
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "checkpoint.json",
        "optimizer.safetensors",
        "weights.safetensors",
    ]
    assert json.loads((tmp_path / "c" / "checkpoint.json").read_text())["position"]["step"] == 2
    assert checkpoint.read_identity(tmp_path / "c") == IDENTITY
    other = Toy()
    checkpoint.load_weights(tmp_path / "c", other)
    assert all(torch.equal(a, b) for a, b in zip(*map(state_of, (network, other)), strict=True))


def test_mistakes_are_sentences(tmp_path):
    network, optimizer = trained(TrainSettings())
    scaler = grad_scaler(torch.device("cpu"), "off")
    folder = checkpoint.save(tmp_path / "c", network, optimizer, scaler, IDENTITY, Position())
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint.read_identity(tmp_path)
    wider = Toy()
    wider.fc = torch.nn.Linear(144, 5)
    with pytest.raises(UserError, match=r"not of this network: fc\.weight, fc\.bias differ"):
        checkpoint.load_weights(folder, wider)
    for change, words in [({"classes": ["a", "b", "c"]}, "classes"), ({"dataset_digest": "1"}, "dataset digest")]:
        with pytest.raises(UserError, match=f"another {words} than this training"):
            checkpoint.resume(folder, network, optimizer, scaler, dataclasses.replace(IDENTITY, **change))
    document = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(document | {"format": 9}))
    with pytest.raises(UserError, match="has format 9 and this version reads format 1"):
        checkpoint.read_identity(folder)
