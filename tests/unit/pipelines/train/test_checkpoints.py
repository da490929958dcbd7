"""Which checkpoints of a run are kept, gone on from and chosen."""

import sys
import time
from pathlib import Path

import pytest
import torch
from disks import disk_of, fill
from learn_toys import IDENTITY, Toy
from processes import started
from torn import DAMAGES, flip

from pipelines.errors import UserError
from pipelines.tracking import RunFolder
from pipelines.train.checkpoints import SCORE, best, early_end, newest, remove_old, store
from tasks.learn.checkpoint import Position, State
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler
from tasks.learn.settings import TrainSettings

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def state():
    network = Toy()
    optimizer = build_optimizer(network, TrainSettings())
    return State(network, optimizer, grad_scaler(torch.device("cpu"), "off"), Position())


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def write(folder, state, step, score=None):
    metrics = {"epoch": step / 4} if score is None else {"epoch": step / 4, SCORE: score}
    state.snapshot(IDENTITY, metrics).write(folder.checkpoint(folder.checkpoint_name(step)))


def steps(folder):
    return [folder.checkpoint_step(name) for name in folder.checkpoint_names()]


@pytest.mark.parametrize(
    ("keep", "scores", "kept"),
    [
        (2, [50, 80, 60, 70, 40, 30], [6, 5, 2]),  # the best and the two newest, whatever they score
        (2, [50, 60, 70, 80, 90, 95], [6, 5]),
        (1, [90, 80, 70], [3, 1]),
        (1, [80, 80, 70], [3, 2]),  # the later one of two that are equal
        (3, [None, None, None, None, None], [5, 4, 3]),  # without a val part
        (2, [None, 50, None, None, 40, None], [6, 5, 2]),  # those within an epoch are not validated
    ],
)
def test_the_best_and_the_newest_are_kept(folder, state, keep, scores, kept):
    for step, score in enumerate(scores, 1):
        write(folder, state, step, score)
        remove_old(folder, step, keep)
        assert len(steps(folder)) <= keep + 1
    assert steps(folder) == kept
    assert sorted(one.name for one in Path(folder.address).iterdir()) == sorted(folder.checkpoint_names())


def test_a_damaged_one_is_neither_gone_on_from_nor_counted_until_it_is_replaced(folder, state):
    for step in (4, 8, 12):
        write(folder, state, step)
    flip(folder.checkpoint("checkpoint-00000012") / "weights.safetensors")
    told = []
    assert newest(folder, told.append) == "checkpoint-00000008"
    assert len(told) == 1
    write(folder, state, 10)
    remove_old(folder, 10, 2)
    assert steps(folder) == [12, 10, 8]
    write(folder, state, 12)
    remove_old(folder, 12, 2)
    assert newest(folder, told.append) == "checkpoint-00000012"
    assert steps(folder) == [12, 10]
    assert len(told) == 1


def test_an_early_end_is_said(folder, state):
    write(folder, state, 12)  # epoch 3
    assert early_end(folder, 8) == "; stopped early, after epoch 3 of 8"
    assert early_end(folder, 3) == ""


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_not_chosen(folder, state, damage):
    write(folder, state, 4, 70.0)
    write(folder, state, 8, 90.0)
    write(folder, state, 12, 80.0)
    told = []
    chosen, metrics = best(folder, told.append)
    assert (chosen, told) == ("checkpoint-00000008", [])
    assert metrics == {"epoch": 2.0, "step": 8.0, SCORE: 90.0}
    damage(folder.checkpoint("checkpoint-00000008"))
    assert best(folder, told.append)[0] == "checkpoint-00000012"
    assert len(told) == 1


def test_half_a_checkpoint_is_none_and_is_removed_at_the_next_start(folder, state):
    write(folder, state, 4)
    half = Path(folder.address, ".checkpoint-00000008.partial")
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    assert newest(folder, print) == "checkpoint-00000004"
    folder.clear_remains()
    assert [one.name for one in Path(folder.address).iterdir()] == ["checkpoint-00000004"]


def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(state):
    with disk_of("1m") as disk:
        folder = RunFolder(disk / "run")
        write(folder, state, 4)
        filler = fill(disk)
        with pytest.raises(UserError) as raised:
            store(folder, state.snapshot(IDENTITY, {}), "checkpoint-00000008")
        assert str(raised.value) == (
            f"checkpoint {disk}/run/checkpoint-00000008 cannot be written (No space left on device): mend that, and "
            "the same command goes on from the checkpoint before"
        )
        with folder.write_progress() as progress:
            progress.add({"kind": "note", "text": 9999 * "x"})  # is left out whole
        filler.unlink()
        with folder.write_progress() as progress:
            progress.add({"kind": "note", "text": "room"})
        assert (disk / "run" / "progress.jsonl").read_text() == '{"kind": "note", "text": "room"}\n'
        assert newest(folder, pytest.fail) == "checkpoint-00000004"
        store(folder, state.snapshot(IDENTITY, {}), "checkpoint-00000008")
        assert newest(folder, pytest.fail) == "checkpoint-00000008"


WRITING = """
import sys
import torch
from learn_toys import IDENTITY, Toy
from pipelines.tracking import RunFolder
from pipelines.train.checkpoints import store
from tasks.learn.checkpoint import Position, State
from tasks.learn.optim import build_optimizer
from tasks.learn.precision import grad_scaler
from tasks.learn.settings import TrainSettings

network = Toy()
state = State(network, build_optimizer(network, TrainSettings()), grad_scaler(torch.device("cpu"), "off"), Position())
for step, megabytes in ((4, 1), (8, 300)):
    network.register_buffer("large", torch.zeros(megabytes, 2**18))
    store(RunFolder(sys.argv[1]), state.snapshot(IDENTITY, {}), f"checkpoint-{step:08d}")
"""


def test_a_process_that_is_killed_while_it_writes_leaves_the_checkpoint_before(folder):
    half = Path(folder.address, ".checkpoint-00000008.partial", "weights.safetensors")
    with started([sys.executable, "-c", WRITING, folder.address], cwd=Path(__file__).parents[3] / "helpers") as process:
        while not half.exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.wait()
    assert half.exists()  # otherwise it came too late
    assert newest(folder, pytest.fail) == "checkpoint-00000004"
    folder.clear_remains()
    assert [one.name for one in Path(folder.address).iterdir()] == ["checkpoint-00000004"]


def test_a_new_run_has_none(folder):
    assert newest(folder, print) is None


def test_where_none_is_left_the_run_is_refused(folder, state):
    write(folder, state, 4)
    flip(folder.checkpoint("checkpoint-00000004") / "optimizer.safetensors")
    with pytest.raises(UserError, match=r"no checkpoint of the run is left to go on from: .*00000004/optimizer"):
        newest(folder, print)
