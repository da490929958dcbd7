"""MLflow's pages of our runs in a real browser: `faults` looks at all of them, on whatever server they are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import LAPTOP, PATIENCE_MS, cut_names, empty_columns, has_blank_border
from mlflow.entities import Run
from paths import ROOT
from playwright.sync_api import Browser, Frame, Locator, Page

from cluster.login import Login
from pipelines.tracking.run_list import WIDTHS
from pipelines.tracking.store import experiment_name
from pipelines.tracking.tracker import client, runs_page

VISITED = (
    "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
    "localStorage.setItem('mlflow.workflowType_v1', '\"machine_learning\"');"
)
"""What a browser keeps of a first visit: the assistant's panel was closed, and "Model training" chosen."""
MUST = 5
"""Columns that every list of runs has: the name, when, what, on what, and how long."""


class Pages:
    """The pages of one server."""

    def __init__(self, page: Page, url: str, tracking_uri: str) -> None:
        self.page = page
        self.url = url
        self.uri = tracking_uri
        self.store = client(tracking_uri)
        page.set_default_timeout(PATIENCE_MS)

    def runs(self, experiment: str) -> list[Run]:
        return list(self.store.search_runs([experiment]))

    def open(self, path: str) -> Page:
        self.page.goto("about:blank")  # a change behind the # alone would leave parts of the page before
        self.page.goto(self.url + path)
        return self.page

    def run_list(self) -> Page:
        self.open(runs_page(self.uri))
        self.page.locator(".ag-center-cols-container .ag-row").first.wait_for()
        self.page.locator("[col-id='tags.`what`']").first.wait_for()
        return self.page

    def expand(self, name: str) -> None:
        """Show the trials of a sweep in the list."""
        row = self.page.locator(".ag-pinned-left-cols-container .ag-row").filter(has_text=name).first
        row.locator("button").first.click()
        self.page.locator(".ag-row").filter(has_text=f"{name}.").first.wait_for()

    def run(self, run: Run) -> Page:
        self.open(f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
        self.page.get_by_text("Description", exact=True).first.wait_for()
        self.page.get_by_text(run.info.run_id).first.wait_for()
        return self.page

    def whole_description(self) -> None:
        for more in self.page.get_by_text("Show more", exact=True).all()[:1]:
            more.click()

    def curves(self, run: Run) -> Page:
        self.open(f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
        self.page.locator(".js-plotly-plot").first.wait_for()
        return self.page

    def artifact(self, run: Run, path: str) -> Locator:
        """Open the run's artifacts at one of them, and return what shows it: a picture or a frame."""
        self.open(f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{path}")
        kind = "iframe" if path.endswith(".html") else "img[src^='blob:'], img[src*='artifact']"
        shown = self.page.locator(kind).first
        shown.wait_for()
        return shown

    def models(self) -> Page:
        self.open("/#/models")
        self.page.locator("a[href*='/models/']").first.wait_for()
        for promotion in self.page.get_by_role("button", name="Try it now").all():
            promotion.click()
        return self.page

    def model(self, name: str) -> Page:
        self.open(f"/#/models/{name}")
        self.page.get_by_text("@ candidate").first.wait_for()
        return self.page


@contextmanager
def laptop(browser: Browser, login: Login | None = None, **viewport: int) -> Iterator[Page]:
    """A page as a user sees it who has been here before."""
    credentials = {"username": login.name, "password": login.password} if login else None
    context = browser.new_context(viewport={**LAPTOP, **viewport}, http_credentials=credentials)
    context.add_init_script(VISITED)
    yield context.new_page()
    context.close()


def faults(browser: Browser, url: str, tracking_uri: str, login: Login | None = None) -> list[str]:
    """Look at every page of the runs on a server; return what is wrong, a line each.

    Args:
        url: address of the server's pages.
        tracking_uri: what MLFLOW_TRACKING_URI would be; its credentials are those of the environment.
        login: name and password, where the pages ask for them.
    """
    with laptop(browser, login) as page:
        pages = Pages(page, url, tracking_uri)
        experiment = pages.store.get_experiment_by_name(experiment_name())
        runs = pages.runs(experiment.experiment_id)
        found = [f"list of runs: {fault}" for fault in _of_list(pages)]
        trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        for run in [run for run in runs if run not in trials] + trials[:1]:  # a trial's page is like all others'
            found += [f"run {run.info.run_name}: {fault}" for fault in _of_run(pages, run)]
        for model in pages.store.search_registered_models():
            found += [f"model {model.name}: {fault}" for fault in _of_model(pages, model.name)]
        return found + without_unit({key for run in runs for key in run.data.metrics})


def without_unit(names: Iterable[str]) -> list[str]:
    """Say which metrics neither end in a unit nor are among those that docs/tracking.md explains."""
    section = (ROOT / "docs" / "tracking.md").read_text().partition("## Names of metrics\n")[2].partition("\n## ")[0]
    units, table = section.split("\n\n", 1)
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    plain = [name.replace("*", ".*") for row in rows for name in re.findall(r"`([\w*]+)`", row)]
    known = re.compile(f".*({'|'.join(re.findall(r'`(_[a-z_]+)`', units))})|{'|'.join(plain)}")
    return [f"metric {name} has no unit" for name in sorted(names) if not known.fullmatch(name.rpartition("/")[2])]


def _of_list(pages: Pages) -> Iterator[str]:
    page = pages.run_list()
    heads = page.locator(".ag-header-cell")
    shown = heads.evaluate_all(
        """heads => heads.sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)
                         .map(head => head.getAttribute("col-id"))"""
    )
    there = [column for column in WIDTHS if column in shown]
    if shown[-len(there) :] != there or len(there) < MUST:
        yield f"its columns are {shown}"
    yield from (f"{name} is cut" for name in cut_names(page, ".ag-header"))
    for column in shown[1:]:
        cells = [cell.strip() for cell in page.locator(f".ag-cell[col-id='{column}']").all_inner_texts()]
        if not any(cell not in ("", "-") for cell in cells):
            yield f"column {column} is empty"
    names = page.locator(".ag-pinned-left-cols-container .ag-cell a")
    yield from (f"{name} is cut" for name in names.evaluate_all(OVERFLOWING))


def _of_run(pages: Pages, run: Run) -> Iterator[str]:
    page = pages.run(run)
    if not run.data.tags.get("mlflow.note.content"):
        yield "it has no description"
    pages.whole_description()
    tables = page.locator("pre, pre code")
    yield from (f"its table is cut: {text.splitlines()[0]}" for text in tables.evaluate_all(OVERFLOWING))
    if any(not key.startswith("system/") for key in run.data.metrics):
        page = pages.curves(run)
        titles = page.locator("[data-testid='experiment-view-compare-runs-card-header-text'], h4, h5")
        yield from (f"the title {title} is cut" for title in titles.evaluate_all(OVERFLOWING))
    for path in _artifacts(pages, run):
        yield from (f"{path}: {fault}" for fault in _of_artifact(pages, run, path))


def _artifacts(pages: Pages, run: Run, folder: str | None = None) -> Iterator[str]:
    for file in pages.store.list_artifacts(run.info.run_id, folder):
        if file.is_dir:
            yield from _artifacts(pages, run, file.path)
        elif file.path.endswith((".png", ".html")):
            yield file.path


def _of_artifact(pages: Pages, run: Run, path: str) -> Iterator[str]:
    shown = pages.artifact(run, path)
    if path.endswith(".html"):
        frame = shown.element_handle().content_frame()
        frame.wait_for_load_state()
        yield from of_own_page(frame)
    else:
        shown.evaluate("image => image.decode()")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(pages.store.download_artifacts(run.info.run_id, path, scratch))
            if not has_blank_border(file.read_bytes()):
                yield "something touches its border"


def of_own_page(page: Page | Frame) -> Iterator[str]:
    """Look at a page that marey has written."""
    if page.locator(".plotly-graph-div").count():
        page.locator(".main-svg").first.wait_for()
    yield from (f"{text} is cut" for text in cut_names(page))
    yield from (f"column {name} is empty" for name in empty_columns(page))
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        yield "it is wider than the window"


def _of_model(pages: Pages, name: str) -> Iterator[str]:
    page = pages.models()
    if not page.get_by_role("link", name=name, exact=True).count():
        yield "it is not listed"
    page = pages.model(name)
    if not pages.store.get_registered_model(name).description:
        yield "it has no description"
    for version in pages.store.search_model_versions(f"name = '{name}'"):
        if not version.description:
            yield f"version {version.version} has no description"


OVERFLOWING = """elements => elements.filter(one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth)
                                   .map(one => one.textContent)"""
