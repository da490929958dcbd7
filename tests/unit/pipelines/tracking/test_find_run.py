import pytest

from pipelines.errors import UserError
from pipelines.tracking import Tracker, resolve, tracking_uri
from pipelines.tracking.revision import git_tags
from pipelines.tracking.tracker import client, flatten, refuse_shared_sqlite

PARAMS = {"train": {"lr": 0.1, "lr_factors": {"layer1.*": 0.5}, "class_weights": {"jump": 2.0}}}
TRAINING = "run_name = 'finished' and tags.stream = 'rgb'"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A workspace with three runs; MLflow's database takes seconds to make, so the module shares it."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("finished", "twice", "twice", "failed"):
        tracker = Tracker.start(folder, name, params=PARAMS, tags={"stream": "rgb"})
        if name != "failed":
            checkpoint = folder / "checkpoint"
            checkpoint.mkdir(exist_ok=True)
            (checkpoint / "weights").write_text(name)
            tracker.log_artifact(checkpoint, "checkpoint")
            tracker.end("FINISHED")
        else:
            tracker.end("FAILED")
    # The sweep around a recipe has its name, and no checkpoint.
    Tracker.start(folder, "finished", params={}, tags={"sweep": "parent"}).end("FINISHED")
    store = client(tracking_uri(folder))
    (run,) = store.search_runs(["1"], TRAINING)
    store.create_registered_model("gestures")
    store.create_model_version("gestures", "file:///nowhere", run.info.run_id)
    store.set_registered_model_alias("gestures", "best", "1")
    return folder


@pytest.fixture(autouse=True)
def here(work, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(work))


@pytest.mark.parametrize("by", ["id", "finished", "models:/gestures@best", "models:/gestures/1"])
def test_a_run_is_found_by_id_name_alias_and_version(by, work):
    (run,) = client(tracking_uri(work)).search_runs(["1"], TRAINING)
    found = resolve(run.info.run_id if by == "id" else by)
    assert found.run_id == run.info.run_id
    assert found.name == "finished"
    assert (found.checkpoint / "weights").read_text() == "finished"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("finishd", "no run 'finishd' .*did you mean 'finished'"),
        ("twice", "2 runs are named 'twice'"),
        ("failed", "no checkpoint, its status is FAILED"),
        ("models:/gesture@best", "did you mean 'gestures'"),
        ("models:/gestures@bset", "no alias 'bset'; its aliases: best"),
        ("models:/gestures/9", "no version '9'"),
        ("models:/gestures", "models:/NAME@ALIAS"),
    ],
)
def test_an_unknown_or_ambiguous_run_is_one_sentence(name, says):
    with pytest.raises(UserError, match=says):
        resolve(name)


def test_an_empty_workspace_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    with pytest.raises(UserError, match="holds no runs yet"):
        resolve("anything")
    assert not list(tmp_path.iterdir())  # asking makes no database


def test_mlflow_has_every_parameter_also_one_whose_keys_it_would_refuse(work):
    (run,) = client(tracking_uri(work)).search_runs(["1"], TRAINING)
    assert run.data.params == {
        "train.lr": "0.1",
        "train.lr_factors": "{'layer1.*': 0.5}",
        "train.class_weights.jump": "2.0",
    }


@pytest.mark.quick
def test_recipes_are_flattened_within_the_limit_of_a_parameter():
    flat = flatten({"train": {"lr": 0.1, "milestones": (1, 2)}, "model": {"options": {}}, "long": "x" * 10_000})
    assert flat["train.lr"] == "0.1"
    assert flat["train.milestones"] == "(1, 2)"
    assert flat["model.options"] == "{}"
    assert len(flat["long"]) == 6000


@pytest.mark.quick
def test_sqlite_over_several_machines_is_refused():
    refuse_shared_sqlite("sqlite:////w/mlflow.db", 1)
    refuse_shared_sqlite("http://mlflow:5000", 3)
    with pytest.raises(UserError, match=r"3 machines, .*MLFLOW_TRACKING_URI"):
        refuse_shared_sqlite("sqlite:////w/mlflow.db", 3)


@pytest.mark.quick
def test_the_commit_of_a_checkout_is_a_tag():
    assert len(git_tags()["git.commit"]) == 40
    assert git_tags()["git.dirty"] in ("true", "false")
