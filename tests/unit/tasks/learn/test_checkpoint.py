import dataclasses
import hashlib
import json
import stat

import pytest
import torch
from learn_toys import IDENTITY, Table, Toy
from safetensors.torch import load_file, save_file
from torn import DAMAGES, cut

from tasks.errors import UserError
from tasks.learn import checkpoint
from tasks.learn.checkpoint import Position, State
from tasks.learn.conditions import conditions, tell_changed
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick


def trained(settings, position=Position(0, 1), amp="off"):  # noqa: B008 - frozen
    """The state of a training after one step."""
    network = Toy()
    optimizer = build_optimizer(network, settings)
    batch = next(Table().batches(0, 1))
    network.losses(batch.clip, batch.labels)["total"].backward()
    optimizer.step()
    return State(network, optimizer, grad_scaler(torch.device("cpu"), amp), position)


def fresh(settings, amp="off"):
    network = Toy()
    return State(network, build_optimizer(network, settings), grad_scaler(torch.device("cpu"), amp), Position())


def saved(folder, state, metrics=None):
    return state.snapshot(IDENTITY, metrics or {}).write(folder)


def metrics_of(folder):
    return checkpoint.read_metrics(folder, (folder / "checkpoint.json").read_bytes())


def tensors_of(state):
    values = state.optimizer.state_dict()["state"]
    return [
        *state.network.state_dict().values(),
        *(entry[key] for _, entry in sorted(values.items()) for key in sorted(entry) if entry[key] is not None),
    ]


def equal(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


EVERY = pytest.mark.parametrize(
    "settings",
    [TrainSettings(), TrainSettings(momentum=0.0), TrainSettings(optimizer="adamw")],
    ids=["momentum", "plain", "adamw"],
)


@EVERY
def test_everything_comes_back_bit_for_bit(tmp_path, settings):
    state = trained(settings, Position(2, 37), "fp16")
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 1024.0})
    folder = saved(tmp_path / "c", state, {"val/loss": 0.5})
    other = fresh(settings, "fp16")
    assert checkpoint.resume(folder, other, IDENTITY) == Position(2, 37)
    assert other.scaler.state_dict() == state.scaler.state_dict()
    assert equal(tensors_of(state), tensors_of(other))
    assert metrics_of(folder) == {"val/loss": 0.5}


def test_the_optimisers_state_goes_by_the_names_of_the_parameters(tmp_path):
    """A network that registers its parameters in another order goes on with the values of each."""

    class Reordered(Toy):
        def parameter_groups(self):
            groups = super().parameter_groups()
            return [dataclasses.replace(group, names=group.names[::-1]) for group in groups]

    settings = TrainSettings(optimizer="adamw")
    state = trained(settings)
    folder = saved(tmp_path / "c", state)
    assert {name.rpartition(".")[0] for name in load_file(folder / "optimizer.safetensors")} == {
        name for name, _ in state.network.named_parameters()
    }
    network = Reordered()
    other = State(network, build_optimizer(network, settings), state.scaler, Position())
    checkpoint.resume(folder, other, IDENTITY)
    for name, parameter in state.network.named_parameters():
        before, after = state.optimizer.state[parameter], other.optimizer.state[network.get_parameter(name)]
        assert torch.equal(before["exp_avg"], after["exp_avg"]), name


def test_a_snapshot_stays_as_it_was_while_training_goes_on(tmp_path):
    state = trained(TrainSettings())
    before = [value.clone() for value in tensors_of(state)]
    snapshot = state.snapshot(IDENTITY, {})
    state.optimizer.step()
    other = fresh(TrainSettings())
    checkpoint.resume(snapshot.write(tmp_path / "c"), other, IDENTITY)
    assert equal(before, tensors_of(other))
    assert not equal(before, tensors_of(state))


def test_a_checkpoint_records_what_it_was_computed_with(tmp_path):
    now = conditions(torch.device("cpu"))
    assert now["processor"] == torch.backends.cpu.get_cpu_capability()
    assert {"threads", "torch", "numpy", "opencv-contrib-python"} < now.keys()
    before = checkpoint.read_conditions(saved(tmp_path / "c", trained(TrainSettings())))
    assert before == now
    assert tell_changed(before, now) is None
    assert tell_changed({}, now) is None  # of a checkpoint that does not say
    assert tell_changed(before | {"processor": "NEON", "gpu": "H200"}, now) == (
        "the checkpoint was computed with gpu H200, processor NEON, and this worker has gpu none, processor "
        f"{now['processor']}: equal to rounding from here"
    )


def test_a_rank_that_does_not_write_copies_nothing():
    assert trained(TrainSettings()).snapshot(IDENTITY, {}, writes=False) is None


def test_a_checkpoint_holds_safetensors_and_json_alone(tmp_path):
    state = trained(TrainSettings())
    state.network.to(memory_format=torch.channels_last)
    for step in (1, 2):  # the second replaces the first
        saved(tmp_path / "c", dataclasses.replace(state, position=Position(0, step)))
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    files = sorted((tmp_path / "c").iterdir())
    assert [p.name for p in files] == ["checkpoint.json", "optimizer.safetensors", "weights.safetensors"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    document = json.loads((tmp_path / "c" / "checkpoint.json").read_text())
    assert document["position"]["step"] == 2
    assert document["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files[1:]}
    assert checkpoint.read_identity(tmp_path / "c") == IDENTITY
    other = Toy()
    checkpoint.load_weights(tmp_path / "c", other)
    assert equal(list(state.network.state_dict().values()), list(other.state_dict().values()))


def test_mistakes_are_sentences(tmp_path):
    state = trained(TrainSettings())
    folder = saved(tmp_path / "c", state)
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint.read_identity(tmp_path)
    wider = Toy()
    wider.fc = torch.nn.Linear(144, 5)
    with pytest.raises(UserError, match=r"not of this network: fc\.weight, fc\.bias differ"):
        checkpoint.load_weights(folder, wider)
    for change, words in [({"classes": ["a", "b", "c"]}, "classes"), ({"dataset_digest": "1"}, "dataset digest")]:
        with pytest.raises(UserError, match=f"another {words} than this training"):
            checkpoint.resume(folder, state, dataclasses.replace(IDENTITY, **change))
    two, four = ({"recipe": {"train": {"micro_batches": number}}} for number in (2, 4))
    shared = state.snapshot(dataclasses.replace(IDENTITY, **two), {}).write(tmp_path / "shared")
    checkpoint.resume(shared, state, dataclasses.replace(IDENTITY, **two))
    with pytest.raises(UserError, match=r"is of a training with train\.micro_batches=2, not 4: .*set it back"):
        checkpoint.resume(shared, state, dataclasses.replace(IDENTITY, **four))
    document = json.loads((folder / "checkpoint.json").read_text())
    del document["sha256"]
    (folder / "checkpoint.json").write_text(json.dumps(document | {"format": 9}))
    with pytest.raises(UserError, match="has format 9 and this version reads formats 1 and 2"):
        checkpoint.read_identity(folder)


def test_what_a_disk_refuses_is_a_sentence_and_the_checkpoint_before_stays(tmp_path):
    state = trained(TrainSettings())
    folder = saved(tmp_path / "c", state)
    (tmp_path / ".c.partial").write_text("in the way: neither a folder nor removed as one")
    with pytest.raises(UserError, match=r"/c cannot be written \(File exists\): mend that, and the same command"):
        saved(folder, state)
    checkpoint.verify(folder)


def format_1(folder, state):
    """Write a checkpoint as the first version did."""
    saved(folder, state)
    document = json.loads((folder / "checkpoint.json").read_text())
    old = {key: document[key] for key in ("identity", "position", "scaler")}
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, **old}))
    entries = state.optimizer.state_dict()["state"].items()
    values = {f"{place}.{key}": value for place, entry in entries for key, value in entry.items() if value is not None}
    save_file(values, folder / "optimizer.safetensors")
    return folder


@EVERY
def test_checkpoints_of_format_1_are_gone_on_from(tmp_path, settings):
    state = trained(settings, Position(1, 6))
    folder = format_1(tmp_path / "c", state)
    checkpoint.verify(folder)
    other = fresh(settings)
    assert checkpoint.resume(folder, other, IDENTITY) == Position(1, 6)
    assert equal(tensors_of(state), tensors_of(other))
    assert metrics_of(folder) == {}


def test_a_cut_checkpoint_of_format_1_is_not_gone_on_from(tmp_path):
    older, newer = (format_1(tmp_path / name, trained(TrainSettings())) for name in ("1", "2"))
    cut(newer / "weights.safetensors")
    assert checkpoint.newest_whole([newer, older], print) == older


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_torn_checkpoint_is_passed_over_with_one_line(tmp_path, damage):
    folders = [saved(tmp_path / f"checkpoint-{step}", trained(TrainSettings())) for step in (3, 2, 1)]
    told = []
    assert checkpoint.newest_whole(folders, told.append) == folders[0]
    assert told == []
    damage(folders[0])
    assert checkpoint.newest_whole(folders, told.append) == folders[1]
    assert len(told) == 1
    assert str(folders[0]) in told[0]
    assert told[0].endswith(": checkpoint-2 is taken instead")
    assert "\n" not in told[0]
    for folder in folders[1:]:
        damage(folder)
    with pytest.raises(UserError, match=r"no checkpoint of the run is left .*-3.*-2.*-1.* start anew under another"):
        checkpoint.newest_whole(folders, told.append)
    assert len(told) == 1


def test_where_there_are_no_checkpoints_there_is_nothing_to_pass_over():
    assert checkpoint.newest_whole([], print) is None
