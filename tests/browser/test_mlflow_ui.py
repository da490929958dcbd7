"""What a user sees of a run in the MLflow UI, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from cluster.login import Login
from cluster.mlflow import serve
from pipelines.tracking import Tracker
from pipelines.tracking.plots import curves
from pipelines.tracking.tracker import runs_page

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
PATIENCE_MS = 60_000
LOGIN = Login("marey", "a-password-of-a-test", new=True)


@pytest.fixture
def page():
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--disable-component-update"])
        credentials = {"username": LOGIN.name, "password": LOGIN.password}
        yield browser.new_page(viewport={"width": 1600, "height": 1100}, http_credentials=credentials)
        browser.close()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run as a training leaves it, and its server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    picture = tmp_path / "curves.png"
    with Tracker.start(tmp_path, "waving-stm", params={"train": {"lr": 0.01}}, tags={"model": "stm"}) as tracker:
        for step in range(1, 6):
            tracker.log_metrics({"train/loss": 1 / step, "val/top1_percent": 10.0 * step}, step)
        curves(tracker.read_history(), "waving-stm", picture)
        tracker.log_artifact(picture)
        tracker.set_note("**stm** on waves")
    with serve(tracker.uri, 0, tmp_path, LOGIN) as server:
        yield server.url, tracker.uri, tracker.run_id


def test_a_run_its_curves_and_its_picture(page: Page, run):
    url, database, run_id = run
    expect.set_options(timeout=PATIENCE_MS)

    page.goto(url + runs_page(database))
    expect(page.get_by_role("link", name="waving-stm").first).to_be_visible()
    expect(page.get_by_text("Judges")).to_have_count(0)  # the pages about language models stay away

    page.goto(f"{url}/#/experiments/1/runs/{run_id}")
    expect(page.get_by_text("on waves")).to_be_visible()
    expect(page.get_by_text("Finished")).to_be_visible()
    expect(page.get_by_text("train.lr")).to_be_visible()

    page.goto(f"{url}/#/experiments/1/runs/{run_id}/model-metrics")
    expect(page.get_by_text("top1_percent").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()

    page.goto(f"{url}/#/experiments/1/runs/{run_id}/artifacts")
    page.get_by_text("curves.png").first.click()
    expect(page.locator("img[src^='blob:'], img[src*='curves']").first).to_be_visible()
