"""Photograph the pages that users of marey see, of real runs, for these docs: MLflow's, Ray's and our own.

make demo && PYTHONPATH=.:tests/helpers .venv/bin/python docs/pictures/pages.py marey-work docs/pictures
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from browser import chromium
from mlflow.entities import Run
from mlflow_pages import Pages, laptop
from PIL import Image
from playwright.sync_api import Browser, Page

from cluster.mlflow import serve
from pipelines import recipe as recipes
from pipelines.tracking import tracking_uri

SWEEP, JOB = "demo-sweep", "demo-job"
SPACE = {
    "train.lr": {"log_uniform": [1e-3, 3e-2]},
    "train.weight_decay": {"choice": [0.0, 0.05, 0.2]},
    "model.name": {"choice": ["tsn", "tsm", "stm"]},
}
SHORT = {"train.epochs": 6, "search.space": SPACE, "search.trials": 12, "search.grace_epochs": 3, "compute.workers": 1}
COLOURS = 128
WIDTH, HEIGHT = 1280, 800
WIDE, TALL = 1440, 960
"""Window of the list of runs."""


def main(work: Path, out: Path) -> None:
    """Make what is missing of a sweep and a job, and write the PNGs."""
    work = work.resolve()
    os.environ["MAREY_WORK"] = str(work)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    uri = tracking_uri(work)
    _marey("tune", _recipe(work, SWEEP, SHORT))
    preview = work / "preview.html"
    _marey("preview", str(work / "demo" / "dataset"), str(preview))
    with chromium() as browser:
        _ray(browser, work, out)
        with serve(uri, 0, work) as server:
            _mlflow(browser, server.url, uri, out)
        with laptop(browser, width=WIDTH, height=HEIGHT) as page:
            page.goto(preview.as_uri())
            _shoot(page, out / "preview.png")


def _recipe(work: Path, name: str, values: dict) -> str:
    """Write the demo's recipe under another name with other values; return its path."""
    places = {"data.dataset": str(work / "demo" / "dataset"), "data.source": None}
    path = work / f"{name}.yaml"
    path.write_text(recipes.dump(recipes.load("demo_stm", {**places, **values, "name": name})))
    return str(path)


def _marey(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pipelines", *words], check=True)


def _mlflow(browser: Browser, url: str, uri: str, out: Path) -> None:
    with laptop(browser, width=WIDE, height=TALL) as page:
        pages = Pages(page, url, uri)
        pages.run_list()
        pages.expand(SWEEP)
        _shoot(page, out / "mlflow-runs.png")
    with laptop(browser, width=WIDTH, height=HEIGHT) as page:
        pages = Pages(page, url, uri)
        runs: dict[str, Run] = {run.info.run_name: run for run in pages.runs("1")}
        stm, sweep = runs["demo-stm"], runs[SWEEP]
        pages.run(stm)
        pages.whole_description()
        _shoot(page, out / "mlflow-run.png")
        pages.curves(stm)
        page.get_by_text("val", exact=True).first.evaluate("title => title.scrollIntoView()")
        _shoot(page, out / "mlflow-curves.png")
        for path in ("confusion.png", "errors.html"):
            pages.artifact(stm, f"evaluate/dataset-given-test/{path}")
            _shoot(page, out / f"mlflow-{Path(path).stem}.png")
        pages.run(sweep)
        pages.whole_description()
        _shoot(page, out / "mlflow-sweep.png")
        for name in ("best_so_far", "parallel_coordinates", "importances"):
            frame = pages.artifact(sweep, f"{name}.html").element_handle().content_frame()
            frame.locator(".main-svg").first.wait_for()
            _shoot(page, out / f"mlflow-{name.replace('_', '-')}.png")
        pages.model("demo-stm")
        _shoot(page, out / "mlflow-model.png")


def _ray(browser: Browser, work: Path, out: Path) -> None:
    """Submit a training to a local cluster, and photograph what its dashboard shows of it."""
    _marey("cluster", "up", "--local", "2", "--cpus-per-node", "1")
    try:
        _marey("submit", "--", "train", _recipe(work, JOB, {"train.epochs": 2, "compute.workers": 2}))
        cluster = json.loads((work / "cluster.json").read_text())
        with laptop(browser, width=WIDTH, height=HEIGHT) as page:
            page.goto(cluster["dashboard"])
            page.locator("input[type=password]").fill(Path(cluster["temp"], "token").read_text().strip())
            page.get_by_role("button", name="Submit").click()
            page.get_by_role("dialog").wait_for(state="hidden")
            page.goto(f"{cluster['dashboard']}/#/jobs")
            page.get_by_text("SUCCEEDED").first.wait_for()
            _shoot(page, out / "ray-jobs.png")
            page.get_by_role("link", name="Log", exact=True).first.click()
            page.get_by_text("epoch 2/2").or_(page.get_by_text("Running", exact=True)).first.wait_for()
            page.get_by_text("DRIVER").first.scroll_into_view_if_needed()
            _shoot(page, out / "ray-job.png")
    finally:
        _marey("cluster", "down")


def _shoot(page: Page, path: Path) -> None:
    """Write what is seen once nothing moves, with few colours, which pages have anyway."""
    before, seen = b"", page.screenshot()
    while seen != before:
        page.wait_for_timeout(700)
        before, seen = seen, page.screenshot()
    image = Image.open(io.BytesIO(seen)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
