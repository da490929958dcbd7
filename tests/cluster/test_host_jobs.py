"""Three hosts, of which one serves MLflow with PostgreSQL: a training on one, jobs over all, and a lost host."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import host_jobs
import long_training
import pytest
from host_jobs import Job, Site
from mlflow import MlflowClient
from playwright.sync_api import expect, sync_playwright
from small_dataset import write_dataset

from pipelines.tracking.run_list import page_of

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1200)]

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
EPOCHS = 6
OFTEN_S = 0.3
SMALL = {"model": {"name": "tsn", "options": {"tiny": True}}, "input": {"segments": 2, "size": 32}}
TRIALS = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return three hosts with an MLflow."""
    with host_jobs.site(tmp_path_factory.mktemp("driver")) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(site):
    """Return the same hosts as one cluster."""
    site.start_ray()
    return site


@pytest.fixture
def mlflow(site, monkeypatch):
    """Return the address of the server, with the login set for MLflow's client."""
    for name, value in site.login.items():
        monkeypatch.setenv(name, value)
    with site.mlflow() as url:
        yield url


@pytest.fixture
def page(site):
    """Return a page of a browser on this machine that knows the login."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    name, password = site.login.values()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser.new_page(http_credentials={"username": name, "password": password})
        browser.close()


@pytest.fixture(scope="module")
def dataset(site):
    """Return a dataset that all hosts see."""
    return write_dataset(site.network.folder / "data", videos=20, flow=False, shard_videos=10)


def test_a_training_on_one_host_is_looked_at_on_the_server_of_another(site, mlflow, page, dataset):
    recipe = {
        "name": "lone",
        "data": {"dataset": dataset, "split": "first"},
        **SMALL,
        "train": {"epochs": 2, "batch_size": 4},
    }
    with site.given("train", recipe, on=3) as job:
        job.end()
    run = host_jobs.runs(mlflow)["lone"]
    assert site.rows("SELECT status FROM runs WHERE name = 'lone'") == [("FINISHED",)]
    assert len(MlflowClient(tracking_uri=mlflow).get_metric_history(run.info.run_id, "val/loss")) == 2
    experiment = MlflowClient(tracking_uri=mlflow).get_experiment(run.info.experiment_id)
    page.goto(mlflow + page_of(experiment.experiment_id, experiment.tags))
    expect(page.get_by_role("link", name="lone").first).to_be_visible(timeout=60_000)


def worked(cluster: Site, job: Job, kinds: dict[str, str]) -> set[tuple[str, int]]:
    """Return which kinds of processes each host has had by the end of a job."""
    seen = set()
    while job.process.poll() is None:
        for host in cluster.network.hosts:
            seen.update((kind, host.number) for kind, words in kinds.items() if host.runs(words))
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(OFTEN_S)
    return seen


@pytest.mark.long
def test_a_submitted_run_prepares_and_trains_on_all_hosts(cluster, mlflow):
    folder = cluster.network.folder
    recipe = {
        "name": "whole",
        "data": {"source": str(host_jobs.write_videos(folder / "videos", 24)), "dataset": str(folder / "dataset")},
        "prepare": {"short_side": 32, "shard_videos": 4},
        **SMALL,
        "train": {"epochs": EPOCHS, "batch_size": 6, "micro_batches": 3},
        "evaluate": {"clips": 1, "crops": 1},
        "compute": {"workers": 3},
    }
    kinds = {"preparing": "tasks.video.decoder_child", "training": "RayTrainWorker"}
    with cluster.submitted("run", recipe) as job:
        seen = worked(cluster, job, kinds)
        said = job.end()
    assert seen == {(kind, number) for kind in kinds for number in (1, 2, 3)}
    assert "48 of 48 ok" in said
    run = host_jobs.runs(mlflow)["whole"]
    assert run.info.status == "FINISHED"
    client = MlflowClient(tracking_uri=mlflow)
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == sorted(set(steps))
    assert len(client.get_metric_history(run.info.run_id, "val/loss")) == EPOCHS
    assert [version.run_id for version in client.search_model_versions("name = 'whole'")] == [run.info.run_id]
    assert list((cluster.work / "mlflow-server" / "artifacts").rglob("curves.png"))


@pytest.mark.long
def test_a_submitted_sweep_ends_with_all_its_trials_though_a_host_is_lost(cluster, mlflow, dataset):
    """The last test: two hosts are left."""
    lost = cluster.network.hosts[2]
    recipe = {
        "name": "search",
        "data": {"dataset": dataset, "split": "first"},
        **SMALL,
        "input": {"segments": 8, "size": 40},
        "train": {"epochs": 30, "batch_size": 4, "checkpoint_steps": 10},
        "search": {
            "trials": TRIALS,
            "sampler": "random",
            "scheduler": "none",
            "space": {"train.lr": {"log_uniform": [0.001, 0.1]}},
        },
    }
    with cluster.submitted("tune", recipe) as job:
        job.until(
            lambda: f"trial 4/{TRIALS} " in job.said() and lost.runs("ray::ImplicitFunc.train") > 0, host_jobs.LIMIT_S
        )
        finished = long_training.finished_trials(cluster.work, "search")
        lost.unplug()
        said = job.end()
    assert "goes on later: it was lost" in said
    assert "marked dead" not in said, "a line of Ray's own"
    assert finished.items() <= long_training.finished_trials(cluster.work, "search").items()
    assert f"best of {TRIALS} trials (0 failed)" in said
    runs = host_jobs.runs(mlflow)
    children = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == runs["search"].info.run_id]
    assert [run.info.status for run in (runs["search"], *children)] == ["FINISHED"] * (TRIALS + 1)
