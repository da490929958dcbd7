import pytest

from pipelines.errors import UserError
from pipelines.tracking import Tracker
from pipelines.tracking.run_list import VIEW_TAG, first_tags
from pipelines.tracking.tracker import client


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def start(work, **options):
    return Tracker.start(work, "run", params={"train": {"lr": 0.1}}, tags={"stream": "rgb"}, **options)


def test_a_run_holds_parameters_tags_dataset_and_metrics(work):
    tracker = start(work)
    tracker.log_dataset("/data/prepared/arms", "ab" * 32)
    tracker.log_metrics({"train/loss": 2.0, "train/lr": 0.1}, step=10)
    tracker.set_note("a **note**")
    tracker.end("FINISHED")
    run = client(tracker.uri).get_run(tracker.run_id)
    assert tracker.uri == f"sqlite:///{work}/mlflow.db"
    assert run.data.params == {"train.lr": "0.1"}
    assert run.data.tags["dataset.digest"] == "ab" * 32
    assert run.data.tags["stream"] == "rgb"
    assert run.inputs.dataset_inputs[0].dataset.digest == "ab" * 16
    assert run.inputs.dataset_inputs[0].dataset.name == "arms"
    assert run.data.metrics == {"train/loss": 2.0, "train/lr": 0.1}
    assert run.info.status == "FINISHED"


def test_an_experiment_gets_the_columns_of_its_list_once_more(work):
    tracker = start(work)
    store = client(tracker.uri)
    made = store.get_experiment_by_name("marey")
    assert made.tags == first_tags()
    store.set_experiment_tag(made.experiment_id, VIEW_TAG, "{}")  # as an earlier marey has left it
    store.set_experiment_tag(made.experiment_id, "mlflow.note.content", "ours")
    start(work)
    assert store.get_experiment_by_name("marey").tags == {**first_tags(), "mlflow.note.content": "ours"}


def test_a_resumed_run_is_running_again_without_its_error(work):
    driver = start(work)
    driver.set_tags({"error": "boom"})
    driver.end("FAILED")
    resumed = start(work, run_id=driver.run_id)
    run = client(driver.uri).get_run(resumed.run_id)
    assert run.info.status == "RUNNING"
    assert "error" not in run.data.tags


def test_a_trial_that_is_marked_again_took_no_longer(work):
    stopped = start(work)
    stopped.set_tags({"error": "boom"})
    stopped.end("KILLED")
    stopped.mark_finished()
    ended = client(stopped.uri).get_run(stopped.run_id)
    stopped.mark_finished()
    again = client(stopped.uri).get_run(stopped.run_id)
    assert (ended.info.status, "error" in ended.data.tags) == ("FINISHED", False)
    assert again.info.end_time == ended.info.end_time


def test_a_run_that_an_interrupted_start_made_is_taken_up(work):
    """Its id was lost with the process that got it; here it had half of its parameters."""
    first = start(work, key="ab12")
    first.end("KILLED")
    again = Tracker.start(work, "run", params={"train": {"lr": 0.2, "epochs": 3}}, tags={}, key="ab12")
    run = client(first.uri).get_run(again.run_id)
    assert again.run_id == first.run_id != start(work, key="cd34").run_id
    assert run.info.status == "RUNNING"
    assert run.data.params == {"train.lr": "0.1", "train.epochs": "3"}


def test_a_run_that_is_gone_from_mlflow_is_one_sentence(work):
    tracker = start(work)
    client(tracker.uri).delete_run(tracker.run_id)
    for gone in (tracker.run_id, "0" * 32):
        with pytest.raises(UserError, match="no longer holds"):
            start(work, run_id=gone)


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("boom"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_ends_with_its_true_status(work, error, status):
    tracker = start(work)

    def body():
        with tracker:
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(type(error)):
            body()
    run = client(tracker.uri).get_run(tracker.run_id)
    assert run.info.status == status
    assert run.data.tags.get("error") == ("ValueError: boom" if status == "FAILED" else None)


def test_a_run_that_was_marked_finished_stays_so_when_its_process_is_ended(work):
    """As a sweep does it: it marks the run of a trial that is stopped early, then ends its process."""
    tracker = start(work)

    def trial():
        with tracker:
            start(work, run_id=tracker.run_id).mark_finished()
            raise SystemExit

    with pytest.raises(SystemExit):
        trial()
    assert client(tracker.uri).get_run(tracker.run_id).info.status == "FINISHED"


def test_a_trial_is_a_child_of_its_sweep(work):
    parent = start(work)
    child = start(work, parent_run_id=parent.run_id)
    assert client(parent.uri).get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_run_holds_the_command_that_made_it(work, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/marey", "train", "my recipe.yaml", "--set", "train.lr=0.1"])
    tracker = start(work)
    tags = client(tracker.uri).get_run(tracker.run_id).data.tags
    assert tags["command"] == "marey train 'my recipe.yaml' --set train.lr=0.1"


def test_the_network_is_logged_without_pickle_and_registered(work, monkeypatch):
    import mlflow.pytorch
    import torch

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4)).eval()
    tracker = start(work)
    clip = torch.rand(2, 3, 4, 8, 8)
    assert tracker.log_model(network, clip, "tiny") == "1"
    assert tracker.log_model(network, clip, "tiny") == "1"
    assert start(work).log_model(network, clip, "tiny") == "2"
    store = client(tracker.uri)
    assert store.get_registered_model("tiny").aliases == {"candidate": 2}
    experiment = store.get_run(tracker.run_id).info.experiment_id
    assert len(store.search_logged_models([experiment])) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    loaded = mlflow.pytorch.load_model("models:/tiny@candidate")
    more = torch.rand(5, 3, 4, 8, 8)
    assert torch.allclose(loaded(more), network(more))
    names = [path.name for path in (work / "mlartifacts").glob("**/data/*")]
    assert set(names) == {"model.pt2"}


def test_a_server_takes_metrics_artifacts_and_the_network(work, monkeypatch, tmp_path, capsys):
    import torch

    from cluster.mlflow import serve
    from pipelines.tracking import resolve

    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")  # whose artifacts go through the server
    start(work).end("FINISHED")
    with serve(f"sqlite:///{work}/mlflow.db", 0, work) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "remote")
        tracker = Tracker.start(tmp_path, "far", params={"train": {"lr": 0.1}}, tags={})
        tracker.log_metrics({"train/loss": 1.0}, 5)
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "weights.safetensors").write_text("weights")
        tracker.log_artifact(tmp_path / "checkpoint", "checkpoint")
        network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()).eval()
        tracker.log_model(network, torch.rand(2, 3, 4, 8, 8), "far")
        capsys.readouterr()
        tracker.end("FINISHED")
        assert capsys.readouterr().out == "", "MLflow prints into what belongs to the verb"
        for name in ("far", "models:/far@candidate"):
            found = resolve(name)
            assert found.run_id == tracker.run_id
            assert found.checkpoint.is_relative_to(tmp_path / "downloads")
            assert (found.checkpoint / "weights.safetensors").read_text() == "weights"
    assert not list(tmp_path.glob("*.db"))


def test_the_champion_changes_only_for_a_better_one_on_the_same_videos(work):
    """By name: the value on a dataset, and who is champion then."""
    import torch

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()).eval()
    for value, digest, champion in (
        (60.0, "a", "1"),
        (55.0, "a", "1"),
        (90.0, "b", "1"),
        (60.0, "a", "1"),
        (61.0, "a", "5"),
    ):
        tracker = start(work)
        version = tracker.log_model(network, torch.rand(2, 3, 4, 8, 8), "ring")
        store = client(tracker.uri)
        for _ in range(2):
            assert tracker.crown("ring", "val/top1_percent", value, digest) == (version == champion)
        assert {name: str(number) for name, number in store.get_registered_model("ring").aliases.items()} == {
            "candidate": version,
            "champion": champion,
        }
    store.delete_model_version("ring", "5")
    with pytest.raises(UserError, match="the model ring has no version of run"):
        tracker.describe_version("ring", "")
