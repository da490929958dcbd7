"""What the folder of a run or a sweep tells a later start, and its processes one another."""

import json

import pytest

from pipelines.errors import UserError
from pipelines.recipe import parse, to_dict
from pipelines.tracking import RunFolder
from pipelines.tracking.run_folder import AverageFolder, SweepFolder
from pipelines.tracking.state import Result, State

pytestmark = pytest.mark.quick


def recipe(**train):
    train = {"lr": 0.1, **train}
    return to_dict(parse({"name": "r", "data": {"dataset": "/d"}, "model": {"name": "tsn"}, "train": train}))


def test_a_run_knows_its_recipe_again(tmp_path):
    folder = RunFolder(tmp_path / "r")
    assert folder.matching_state(recipe(), "d", ("train",)) is None
    folder.write_state(State("1", "d", recipe()))
    assert folder.matching_state(recipe(log_every=1), "d", ("train",)).run_id == "1"
    with pytest.raises(UserError, match=r"run r was started with another recipe: train\.lr \(0\.1, now 0\.2\)"):
        folder.matching_state(recipe(lr=0.2), "d", ("train",))
    with pytest.raises(UserError, match="the videos of the dataset"):
        folder.matching_state(recipe(), "e", ("train",))


def test_a_sweep_is_no_run(tmp_path):
    folder = SweepFolder(tmp_path / "r")
    folder.write_state(State("1", "d", recipe()))
    assert RunFolder(tmp_path / "r").read_state() is None
    with pytest.raises(UserError, match=r"^sweep r was started with another recipe: train\.lr .* or delete .*/r$"):
        folder.matching_state(recipe(lr=0.2), "d", ("train",))


def test_a_state_from_before_a_field_existed_is_known_again(tmp_path):
    folder, before = RunFolder(tmp_path), recipe()
    del before["input"]["stride"]
    folder.write_state(State("1", "d", before))
    assert folder.matching_state(recipe(), "d", ("input", "train")).run_id == "1"


def test_the_result_is_part_of_the_state_once_there_is_one(tmp_path):
    folder, state = RunFolder(tmp_path), State("1", "d", recipe())
    folder.write_state(state)
    assert "result" not in json.loads((tmp_path / "run.json").read_text())
    assert folder.read_state() == state
    finished = state.with_result(Result("checkpoint-00000003", {"epoch": 1.0}, "last"))
    folder.write_state(finished)
    assert RunFolder(tmp_path).read_state() == finished
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_processes_of_a_training_tell_one_another(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_controller() is None
    folder.write_controller("c")
    assert folder.read_controller() == "c"
    assert not folder.is_asked_to_stop()
    folder.ask_to_stop()
    assert folder.is_asked_to_stop()
    folder.clear_stop()
    assert not folder.is_asked_to_stop()


def test_progress_is_read_from_now_on_and_line_by_line(tmp_path):
    folder = RunFolder(tmp_path)
    early = folder.follow_progress()
    assert list(early.new_reports()) == []
    writer = folder.write_progress()
    writer.add({"step": 1})
    late = folder.follow_progress()
    writer.add({"step": 2})
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"step"')
        file.flush()
        assert list(late.new_reports()) == [{"step": 2}]
        file.write(": 3}\n")
    assert list(late.new_reports()) == [{"step": 3}]
    assert list(early.new_reports()) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_an_average_keeps_its_run(tmp_path):
    folder = AverageFolder(tmp_path / "a+b-all")
    assert folder.read_run_id() is None
    file = folder.write_means({"divisions": ["1"]}, "7")
    assert json.loads(file.read_text()) == {"divisions": ["1"], "run_id": "7"}
    assert folder.read_run_id() == "7"
