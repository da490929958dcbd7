import time

import pytest

from pipelines.errors import UserError
from pipelines.tracking import Tracker
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


def test_a_restarted_worker_does_not_double_a_step(work):
    driver = start(work)
    first = Tracker.attach(driver.uri, driver.run_id)
    for step in (10, 20, 30):
        first.log_metrics({"train/loss": float(step)}, step)
    first.log_metrics({"val/loss": 1.0}, 30)
    again = Tracker.attach(driver.uri, driver.run_id)
    for step in (20, 30, 40):
        again.log_metrics({"train/loss": -1.0}, step)
    again.log_metrics({"val/loss": 2.0}, 30)
    history = driver.read_history()
    assert history == {"train/loss": [(10, 10.0), (20, 20.0), (30, 30.0), (40, -1.0)], "val/loss": [(30, 1.0)]}
    driver.end("KILLED")
    resumed = start(work, run_id=driver.run_id)
    assert client(driver.uri).get_run(resumed.run_id).info.status == "RUNNING"


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


def test_a_trial_is_a_child_of_its_sweep(work):
    parent = start(work)
    child = start(work, parent_run_id=parent.run_id)
    assert client(parent.uri).get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_system_metrics_go_on_after_a_restart(work, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    driver = start(work)
    for lines in (1, 2):
        worker = Tracker.attach(driver.uri, driver.run_id, system_metrics=True)
        key = "system/cpu_utilization_percentage"
        store = client(driver.uri)
        deadline = time.monotonic() + 120
        while len(store.get_metric_history(driver.run_id, key)) < lines:
            assert time.monotonic() < deadline
            worker._monitor._shutdown_event.wait(0.1)
        worker.detach()
    steps = [point.step for point in store.get_metric_history(driver.run_id, key)]
    assert steps == sorted(set(steps))


def test_the_network_is_logged_without_pickle_and_registered(work, monkeypatch):
    import mlflow.pytorch
    import torch

    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4)).eval()
    tracker = start(work)
    clip = torch.rand(2, 3, 4, 8, 8)
    assert tracker.log_model(network, clip, "tiny", "best") == "1"
    assert tracker.log_model(network, clip, "tiny", "best") == "2"
    assert client(tracker.uri).get_model_version_by_alias("tiny", "best").run_id == tracker.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    loaded = mlflow.pytorch.load_model("models:/tiny@best")
    more = torch.rand(5, 3, 4, 8, 8)
    assert torch.allclose(loaded(more), network(more))
    names = [path.name for path in (work / "mlartifacts").glob("**/data/*")]
    assert set(names) == {"model.pt2"}


def test_a_server_takes_metrics_artifacts_and_the_network(work, monkeypatch, tmp_path):
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
        tracker.log_model(network, torch.rand(2, 3, 4, 8, 8), "far", "best")
        tracker.end("FINISHED")
        for name in ("far", "models:/far@best"):
            found = resolve(name)
            assert found.run_id == tracker.run_id
            assert found.checkpoint.is_relative_to(tmp_path / "downloads")
            assert (found.checkpoint / "weights.safetensors").read_text() == "weights"
    assert not list(tmp_path.glob("*.db"))
