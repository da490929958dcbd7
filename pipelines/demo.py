"""`marey demo`: the whole workflow on videos that marey draws itself."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cluster.attach import attach
from pipelines import recipe as recipes
from pipelines.compute import Progress, bounded, capacity
from pipelines.run import RunResult, run
from pipelines.tracking import open_store, workspace
from pipelines.tracking.machines import refuse_unshared
from tasks.data import folders, storage
from tasks.stickfigures import FigureSettings
from tasks.stickfigures import videos as figures
from tasks.words import counted

log = logging.getLogger(__name__)

RECIPES = ("demo_tsn", "demo_stm")
"""The network that is blind to time first, then the one that is not."""
CHUNK = 16
"""Videos that a Ray task draws."""


@dataclass(frozen=True)
class Row:
    """One network's line of the closing table, in percent of the test videos."""

    network: str
    top1: float
    """1-view top-1 over all classes."""
    top1_views: float
    """N-view top-1."""
    within: float
    """Direction accuracy within a time-reversed pair, given that the video shows one of the two (chance: 50)."""
    between: float
    """Accuracy of the pair, whatever the direction."""


@dataclass(frozen=True)
class DemoResult:
    """The closing table, and where everything lies."""

    rows: list[Row]
    folder: str
    """Path or address of the folder that holds the videos and the prepared dataset."""


def demo(settings: FigureSettings, overrides: Sequence[str] = (), *, address: str | None = None) -> DemoResult:
    """Draw the videos and run both recipes on them.

    Args:
        settings: how many videos, of whom, and how they look.
        overrides: `field=value`, for both recipes.
        address: head of a Ray cluster, host:port; None takes RAY_ADDRESS, else this machine alone.
    """
    folder = storage.join(workspace(), "demo")
    source = storage.join(folder, "videos")
    places = [f"data.source={source}", f"data.dataset={storage.join(folder, 'dataset')}"]
    loaded = [recipes.load(name, [*places, *overrides]) for name in RECIPES]
    uri = open_store(workspace())
    attach(address)
    refuse_unshared(uri)
    draw(settings, source)
    rows = [_row(name, run(recipe, address=address)) for name, recipe in zip(RECIPES, loaded, strict=True)]
    return DemoResult(rows, folder)


def draw(settings: FigureSettings, root: str) -> None:
    """Write the built-in videos to a folder or address, by Ray tasks; those of the same settings stay as they are."""
    import ray

    done = storage.join(root.rpartition("/")[0], "videos.json")
    wanted = asdict(settings)
    if storage.exists(done) and json.loads(storage.read_bytes(done)) == wanted:
        log.info("the videos have been drawn before")
        return
    videos = figures.list_videos(settings)
    actions = len({video.label for video in videos})
    log.info("drawing %s of %s", counted(len(videos), "video"), counted(actions, "action"))
    calls = ((videos[first : first + CHUNK], settings, root) for first in range(0, len(videos), CHUNK))
    with Progress(len(videos), "video") as progress:
        for _, drawn in bounded(ray.remote(_draw), calls, 2 * capacity.max_cpus(), progress.tick):
            progress.update(drawn)
    storage.publish(done, json.dumps(wanted).encode())


def _draw(videos: list[figures.FigureVideo], settings: FigureSettings, root: str) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(root if storage.is_local(root) else scratch)
        for video in videos:
            figures.write(video, settings, here)
        if not storage.is_local(root):
            folders.upload(here, root)
    return len(videos)


def _row(name: str, result: RunResult) -> Row:
    evaluation = result.evaluation
    scores = np.load(evaluation.scores)
    within, between = pairs(scores["scores_1view"], scores["labels"], evaluation.classes)
    one, many = next(iter(evaluation.results.values())), evaluation.results[evaluation.protocol]
    return Row(evaluation.model, one.top1_percent, many.top1_percent, within, between)


def pairs(scores: np.ndarray, labels: np.ndarray, classes: list[str]) -> tuple[float, float]:
    """Separate what a network knows of order from what it knows of appearance.

    Args:
        scores: [N, K].
        labels: int [N].
        classes: K names, those of the built-in videos.

    Returns:
        Of the videos of time-reversed pairs, in percent: those whose own class scores above its reverse, and those
        whose best class is one of the pair.
    """
    partner = {action.name: action.partner for action in figures.actions() if action.partner}
    reverse = np.array([classes.index(partner[name]) if name in partner else -1 for name in classes])[labels]
    rows = np.flatnonzero(reverse >= 0)
    own, other = labels[rows], reverse[rows]
    best = scores[rows].argmax(1)
    within = scores[rows, own] > scores[rows, other]
    return 100 * float(within.mean()), 100 * float(((best == own) | (best == other)).mean())


def to_text(result: DemoResult) -> str:
    """Return the closing table as text."""
    head = "network   top-1 %   N-view top-1 %   right pair %   direction accuracy within a pair, % (chance: 50)"
    lines = [
        f"{row.network:<7}{row.top1:10.1f}{row.top1_views:17.1f}{row.between:15.1f}{row.within:37.1f}"
        for row in result.rows
    ]
    return "\n".join([head, *lines])
