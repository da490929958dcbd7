"""Pages and pictures that marey writes for MLflow: nothing is cut and no column is empty, however long the names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import cut_names, empty_columns, has_blank_border
from evaluated import result_of
from mlflow_pages import laptop, of_own_page
from playwright.sync_api import Browser
from small_dataset import write_dataset

from pipelines.evaluate.errors_page import FILE, write_errors
from pipelines.tracking.plots import confusion
from pipelines.tune import pages, pictures
from pipelines.tune.figures import axes, history, importances
from pipelines.tune.outcome import TrialOutcome
from pipelines.tune.space import Dimension
from tasks.data import open_dataset

pytestmark = pytest.mark.browser
LONG = "opening_a_drawer_of_a_cupboard_in_the_kitchen_while_somebody_else_is_watching_from_the_door"
"""A class of 90 letters without a space."""
SPACE = {
    "train.optimizer": Dimension("choice", ["sgd", "adamw"]),
    "model.options.a_rather_long_name_of_an_option": Dimension("log_uniform", [1e-6, 1e-1]),
    "train.label_smoothing": Dimension("uniform", [0.0, 0.3], {"train.optimizer": ["sgd"]}),
    "model.name": Dimension("choice", ["tsn", "stin_temporal"]),
}
METRIC = "val/mean_class_percent"


@pytest.fixture(scope="module")
def sweep() -> list[TrialOutcome]:
    rng = np.random.default_rng(0)
    outcomes = []
    for number in range(12):
        optimizer = ("sgd", "adamw")[number % 2]
        values = {
            "train.optimizer": optimizer,
            "model.options.a_rather_long_name_of_an_option": float(10 ** rng.uniform(-6, -1)),
            **({"train.label_smoothing": float(rng.uniform(0, 0.3))} if optimizer == "sgd" else {}),
            "model.name": ("tsn", "stin_temporal")[number // 2 % 2],
        }
        score = float(rng.uniform(5, 95))
        outcomes.append(TrialOutcome(f"sweep.{number:08x}", values, "finished", score, 4, None, float(number)))
    return outcomes


def test_the_figures_of_a_sweep(browser: Browser, sweep, tmp_path):
    title, scores = "a-sweep: 12 trials", [float(one.score or 0) for one in sweep]
    lanes, line, parts = axes(sweep, SPACE), history(sweep, "max"), importances(sweep, SPACE, 0)
    pages.write_history(line, title, METRIC, tmp_path / "history.html")
    pages.write_parallel(lanes, scores, "max", title, METRIC, tmp_path / "parallel.html")
    pages.write_importances(parts, title, tmp_path / "importances.html")
    with laptop(browser, width=960, height=640) as page:  # what MLflow leaves to it on a laptop
        for name in ("history", "parallel", "importances"):
            page.goto((tmp_path / f"{name}.html").as_uri())
            assert list(of_own_page(page)) == [], name
    pictures.draw_history(line, title, METRIC, tmp_path / "history.png")
    pictures.draw_parallel(lanes, scores, "max", title, METRIC, tmp_path / "parallel.png")
    pictures.draw_importances(parts, title, tmp_path / "importances.png")
    for picture in tmp_path.glob("*.png"):
        assert has_blank_border(picture.read_bytes()), picture.name


def test_worst_errors_and_confusions_of_long_names(browser: Browser, tmp_path):
    data = open_dataset(write_dataset(tmp_path / "data", videos=6, classes=(LONG, "run")), split="second")
    videos = data.samples("train").first_pieces
    labels = zip(videos.video_ids, videos.label_ids.tolist(), strict=True)
    scores = {video: (label, np.array([0.3, 0.7]) if label == 0 else np.array([0.8, 0.2])) for video, label in labels}
    result = result_of(data, scores, f"trained-on-{LONG}"[:120], tmp_path)
    write_errors(result, scores, data)
    for width in (390, 960, 1440):
        with laptop(browser, width=width) as page:
            page.goto((tmp_path / FILE).as_uri())
            assert page.locator("li").count() == len(scores)
            assert list(of_own_page(page)) == [], width
    confusion(result.confusion, result.classes, f"{result.run_name}\n1 clip", tmp_path / "confusion.png")
    assert has_blank_border((tmp_path / "confusion.png").read_bytes())


def test_what_is_cut_or_empty_is_found(browser: Browser, tmp_path: Path):
    (tmp_path / "page.html").write_text(
        "<p style='width: 4em; overflow: hidden; white-space: nowrap'>a name that is cut</p><p>whole</p>"
        "<p style='white-space: nowrap'>" + 400 * "far " + "</p>"
        "<svg width='50' height='20'><text x='30' y='12'>outside</text></svg>"
        "<table><thead><tr><th>full</th><th>bare</th></tr></thead>"
        "<tbody><tr><td>1</td><td>-</td></tr><tr><td>2</td><td> </td></tr></tbody></table>"
        "<dl><dt>what</dt><dd></dd></dl>"
    )
    with laptop(browser) as page:
        page.goto((tmp_path / "page.html").as_uri())
        assert [text[:7] for text in cut_names(page)] == ["a name ", "far far", "outside"]
        assert empty_columns(page) == ["bare", "what"]
        assert "it is wider than the window" in of_own_page(page)
