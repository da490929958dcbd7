"""MLflow's pages of real runs in a real browser, and the names of the metrics there."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import CHROMIUM, chromium
from mlflow_pages import faults, without_unit

from cluster.mlflow import serve
from pipelines import recipe as recipes
from pipelines.evaluate import evaluate
from pipelines.tracking import tracking_uri
from pipelines.tracking.tracker import client
from pipelines.train import train
from pipelines.tune import tune

SPACE = {
    "train.lr": {"log_uniform": [1e-4, 0.1]},
    "train.optimizer": {"choice": ["sgd", "adamw"]},
    "train.momentum": {"uniform": [0.5, 0.95], "when": {"train.optimizer": "sgd"}},
}


def test_every_metric_of_a_training_has_a_unit(trained):
    metrics = client(tracking_uri(trained.work)).get_run(trained.run_id).data.metrics
    assert without_unit(metrics) == []
    assert without_unit({"val/top1", "train/total", "val/loss", "train/loss_main", "system/disk_usage_megabytes"}) == [
        "metric train/total has no unit",
        "metric val/top1 has no unit",
    ]


@pytest.mark.browser
@pytest.mark.campaign
def test_nothing_is_cut_or_empty_on_the_pages_of_a_sweep_and_its_best(ray, recipe, tmp_path: Path, monkeypatch):
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    values = {"name": "looked-at", "train.epochs": 2, "search.trials": 5, "search.space": SPACE}
    best = train(str(tune(recipes.replaced(recipe, values)).best), progress=False)
    evaluate(best.run_name, workers=2, progress=False)
    with serve(tracking_uri(tmp_path), 0, tmp_path) as server, chromium() as browser:
        assert faults(browser, server.url, server.url) == []
