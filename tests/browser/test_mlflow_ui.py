"""What a user sees of a run in the MLflow UI, in a real Chromium."""

from __future__ import annotations

import pytest
from mlflow_pages import Pages, laptop
from playwright.sync_api import Browser, expect

from cluster.login import Login
from cluster.mlflow import serve
from pipelines.tracking import Tracker
from pipelines.tracking.plots import curves
from pipelines.tracking.run_list import about

pytestmark = pytest.mark.browser
PATIENCE_MS = 60_000
LOGIN = Login("marey", "a-password-of-a-test", new=True)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run as a training leaves it, and its server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    picture = tmp_path / "curves.png"
    tags = about("stm rgb 8x56x56", "/data/waves", "split2")
    with Tracker.start(tmp_path, "waving-stm", params={"train": {"lr": 0.01}}, tags=tags) as tracker:
        for step in range(1, 6):
            tracker.log_metrics({"train/loss": 1 / step, "val/top1_percent": 10.0 * step}, step)
        tracker.log_constants({"gmacs": 0.25, "mparams": 1.5})
        tracker.log_constants({"gmacs": 0.5, "test/top1_percent": 48.5})
        curves(tracker.read_history(), "waving-stm", picture)
        tracker.log_artifact(picture)
        tracker.set_note("**stm** on waves")
        tracker.note_results({"val": {"loss": 0.2, "top1_percent": 50.0}})
    with serve(tracker.uri, 0, tmp_path, LOGIN) as server:
        yield server.url, tracker.uri


def test_a_run_its_row_its_curves_and_its_picture(browser: Browser, run):
    url, database = run
    expect.set_options(timeout=PATIENCE_MS)
    with laptop(browser, LOGIN) as page:
        pages = Pages(page, url, database)
        pages.run_list()
        expect(page.get_by_role("link", name="waving-stm").first).to_be_visible()
        expect(page.get_by_text("Judges")).to_have_count(0)  # the pages about language models stay away
        shown = page.locator(".ag-header-cell:visible").all()
        heads = sorted(((head.bounding_box() or {})["x"], head.inner_text()) for head in shown)
        columns = [
            "Run Name",
            "Created",
            "what",
            "dataset",
            "val/top1_percent",
            "test/top1_percent",
            "Duration",
            "gmacs",
        ]
        assert [text for _, text in heads if text][: len(columns)] == columns
        row = page.locator(".ag-center-cols-container .ag-row").first
        assert row.locator(".ag-cell").all_inner_texts()
        for text in ("stm rgb 8x56x56", "waves (split2)", "50", "48.5", "0.25"):
            expect(row.get_by_text(text, exact=True)).to_be_visible()

        (entity,) = pages.runs("1")
        pages.run(entity)
        expect(page.get_by_text("on waves")).to_be_visible()
        expect(page.get_by_text("measured on")).to_be_visible()
        expect(page.get_by_text("Finished")).to_be_visible()
        expect(page.get_by_text("train.lr")).to_be_visible()

        pages.curves(entity)
        expect(page.get_by_text("top1_percent").first).to_be_visible()
        expect(page.locator(".js-plotly-plot").first).to_be_visible()

        expect(pages.artifact(entity, "curves.png")).to_be_visible()
