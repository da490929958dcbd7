"""The page of an evaluation's worst errors: the videos that the network was surest to be something else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from pipelines.evaluate.result import EvaluateResult
from pipelines.pages import data_uri, render, thumbnail
from tasks.data import storage
from tasks.data.reader import Sample, piece_with

if TYPE_CHECKING:
    from tasks.data import Dataset
    from tasks.learn.score import Scores

FILE = "errors.html"
SHOWN = 24
"""Videos on the page, at most."""
MOMENTS = (1 / 6, 1 / 2, 5 / 6)
"""Where in a video its pictures are taken."""
GUESSES = 3
"""Classes named beside a video."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Error:
    """A video, and what the network took it for."""

    video_id: str
    label: str
    percent: float
    """Probability of its own class."""
    guesses: list[tuple[str, float]]
    """The most probable classes with their probability in percent."""
    pictures: list[Markup]


def write_errors(result: EvaluateResult, scores: Scores, data: Dataset) -> None:
    """Write the page of the result's folder; `scores` are those of the protocol with the most views."""
    chosen = _worst(result, scores)
    pictures = _pictures(data, result.part, [video for video, _ in chosen])
    errors = []
    for video, row in chosen:
        best = np.argsort(-row, kind="stable")[:GUESSES].tolist()
        label = scores[video][0]
        guesses = [(result.classes[place], 100 * float(row[place])) for place in best]
        errors.append(_Error(video, result.classes[label], 100 * float(row[label]), guesses, pictures[video]))
    metrics = result.results[result.protocol]
    page = render(
        _TEMPLATES,
        "errors.html.j2",
        run=result.run_name,
        place=f"The {result.part} part of {result.dataset}, split {result.division}",
        protocol=result.protocol,
        videos=result.videos,
        wrong=result.videos - int(metrics.confusion.trace()),
        errors=errors,
    )
    (result.folder / FILE).write_text(page, encoding="utf-8")


def _worst(result: EvaluateResult, scores: Scores) -> list[tuple[str, np.ndarray]]:
    """Return the wrong videos whose own class is least probable, with the probabilities of all classes [K]."""
    from tasks.learn.score import probabilities

    videos = sorted(scores)
    labels = np.array([scores[video][0] for video in videos])
    table = np.stack([scores[video][1] for video in videos])
    wrong = np.flatnonzero(np.argmax(table, 1) != labels)
    rows = probabilities(table, result.score_space)
    order = wrong[np.argsort(rows[wrong, labels[wrong]], kind="stable")][:SHOWN]
    return [(videos[place], rows[place]) for place in order]


def _pictures(data: Dataset, part: str, videos: Iterable[str]) -> dict[str, list[Markup]]:
    """Return pictures of some videos of a part."""
    wanted, samples = set(videos), data.samples(part)
    pieces: defaultdict[str, list[Sample]] = defaultdict(list)
    for place, video in enumerate(samples.video_ids if wanted else ()):
        if video in wanted:
            pieces[video].append(samples[place])
    threads = 1 if storage.is_local(data.uri) else storage.READERS
    with ThreadPoolExecutor(threads, thread_name_prefix="marey-errors") as pool:
        found = pool.map(lambda own: _taken(data, sorted(own, key=lambda piece: piece.piece_index)), pieces.values())
        return dict(zip(pieces, found, strict=True))


def _taken(data: Dataset, pieces: list[Sample]) -> list[Markup]:
    frames = sum(piece.frames for piece in pieces)
    images = []
    for moment in MOMENTS:
        piece, index = piece_with(pieces, int(moment * frames))
        images.append(data_uri(thumbnail(data.rgb(piece, [index])[0]), "jpeg"))
    return images
