"""Train the networks' ablations and write their tables: `make results`, which goes on where it was stopped.

    python tests/results [--study figures gestures] [--seeds 3] [--jobs 2] [--cells FOLDER] [--report docs/results.md]

A cell that is in FOLDER/<study> is not trained again: delete it where a default of a network has changed. The tables
hold every cell that is there. Videos, and the weights that others start from, are in MAREY_WORK/results.
MAREY_TEST_VIDEOS holds the gestures and the fights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import folds
import neurons
import report
from cells import Cell, Study
from studies import STUDIES

from pipelines import recipe as recipes
from pipelines.tracking import local_folder

HERE = Path(__file__).parent
MOST_SEEDS = 5
"""Of rows that lie close together."""
VIDEOS = Path(os.environ.get("MAREY_TEST_VIDEOS", HERE.parents[2] / "shared" / "videos"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", nargs="*", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at once, a thread each")
    parser.add_argument("--only", nargs="*", default=["*"], help="names of configurations, or patterns: 'tada2d*'")
    parser.add_argument("--set", action="append", default=[], help="a field of every recipe, such as train.epochs=1")
    parser.add_argument("--videos", default="{}", help="JSON: settings of the built-in videos to change")
    parser.add_argument("--cells", type=Path, help="folder of the measured cells; MAREY_WORK/results/cells by default")
    parser.add_argument("--report", type=Path, help="Markdown file whose section of results is replaced")
    arguments = parser.parse_args()
    root = local_folder() / "results"
    for name in arguments.study:
        study = STUDIES[name]
        dataset = prepare(study, root / (study.data_of or name), json.loads(arguments.videos))
        if dataset is None:
            print(f"{name}: no videos at {VIDEOS} (MAREY_TEST_VIDEOS), left out", flush=True)
            continue
        overrides = dict(recipes.assignment(text) for text in arguments.set)
        every = list(study.cells(dataset, max(arguments.seeds, MOST_SEEDS), overrides))
        chosen = [cell for cell in every if any(fnmatchcase(cell.configuration, name) for name in arguments.only)]
        cells = [cell for cell in chosen if cell.seed < arguments.seeds]
        folder = (arguments.cells or root / "cells").resolve() / name
        train(cells, folder, root / name / "weights", arguments.jobs)
        text = report.tables(study, every, folder)
        print(text, flush=True)
        if arguments.report:
            picture = arguments.report.with_name(f"{name}.png")
            pictured = [cell for cell in every if cell.configuration == study.pictured]
            if neurons.draw(pictured, folder, picture):
                text += f"\n\n![samples by neuron, and channels by kind]({picture.name})"
            report.replace(arguments.report, name, text)
    return 0


def prepare(study: Study, folder: Path, videos: dict[str, Any]) -> Path | None:
    """Make the study's dataset, or find it made."""
    import ray

    from cluster.attach import attach
    from pipelines.demo import draw
    from pipelines.prepare import prepare as prepared

    recipe = study.recipe()
    folder.mkdir(parents=True, exist_ok=True)
    if study.drawn is not None:
        attach()
        source = folder / "videos"
        draw(replace(study.drawn, **videos), str(source))
    else:
        source = VIDEOS / study.videos
        if not source.exists():
            return None
        if source.suffix == ".csv":
            folds.write(source, folder / "folds.csv", len(study.folds))
            source = folder / "folds.csv"
    result = prepared(
        str(source),
        str(folder / "dataset"),
        layout=recipe.data.layout,
        settings=recipe.prepare,
        group=recipe.data.group,
        max_failed=0,
    )
    assert not result.too_many_failed
    ray.shutdown()  # cells do without, and its processes take their share of the CPUs
    return folder / "dataset"


def train(cells: list[Cell], folder: Path, weights: Path, jobs: int) -> None:
    """Train the cells that are not there yet, `jobs` at once, each in a process of its own.

    Those come first that others start from, whose weights are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if not (folder / f"{cell.key}.json").exists()]
    starts = {cell.start.key: cell.start for cell in cells if cell.start}
    kept = {key: weights / f"{key}.safetensors" for key in starts}
    wanted = {cell.key for cell in missing} | {cell.start.key for cell in missing if cell.start}
    first = [start for key, start in starts.items() if key in wanted and not kept[key].exists()]
    later = [cell for cell in missing if cell not in first]
    progress = _Progress(len(first) + len(later))

    def one(cell: Cell) -> None:
        job, log = folder / f"{cell.key}.job", folder / f"{cell.key}.log"
        start = kept[cell.start.key] if cell.start else None
        told = {
            "recipe": recipes.to_dict(cell.recipe),
            "out": str(folder / cell.key),
            "start": start and str(start),
            "weights": str(kept[cell.key]) if cell.key in kept else None,
        }
        job.write_text(json.dumps(told))
        with log.open("w") as output:
            command = [sys.executable, str(HERE / "cell.py"), str(job)]
            code = subprocess.call(command, stdout=output, stderr=output, cwd=HERE)
        if code:
            raise SystemExit(f"{cell.key} failed with {code}: {log}")
        job.unlink()
        log.unlink()
        progress.say(cell, json.loads((folder / f"{cell.key}.json").read_text()))

    for group in (first, later):
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, group))


class _Progress:
    """Says how many of the cells to train are done."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = total, 0, threading.Lock()

    def say(self, cell: Cell, told: dict[str, Any]) -> None:
        """Say that a cell has been trained."""
        with self._lock:
            self._done += 1
            print(
                f"{self._done}/{self._total} {cell.configuration} seed {cell.seed} {cell.fold or ''}: top-1 "
                f"{told['top1_percent']:.1f} %, {told['minutes']:.1f} min",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
