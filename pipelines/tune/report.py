"""What MLflow gets of a sweep: the table of its trials, and the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipelines.recipe import Recipe
from pipelines.text import columns, write_csv
from pipelines.tracking import Tracker
from pipelines.tune.figures import axes, history, importances, scored
from pipelines.tune.outcome import TrialOutcome, short_names, table
from pipelines.tune.space import Space
from tasks.words import counted

HISTORY, PARALLEL, IMPORTANCES = "best_so_far", "parallel_coordinates", "importances"
"""Names of the figures, as .png and .html."""
NOTE = 6000
"""Most characters of the table in the run's description, of which MLflow keeps 8,000; trials.csv holds all."""


def report(tracker: Tracker, recipe: Recipe, space: Space, outcomes: Sequence[TrialOutcome]) -> None:
    """Store the table and the figures of a sweep with its run.

    Args:
        tracker: the parent run.
        recipe: the sweep's.
        space: what was varied.
        outcomes: all trials, the best first.
    """
    metric, best = recipe.search.metric, outcomes[0]
    assert best.score is not None  # not all have failed
    failed = sum(one.status == "failed" for one in outcomes)
    tracker.log_metrics({"trials": len(outcomes), "failed_trials": failed, metric: best.score}, len(outcomes))
    if all(point.step != len(outcomes) for point in tracker.read_points([f"best/{metric}"])[f"best/{metric}"]):
        tracker.log_metrics({f"best/{metric}": best.score}, len(outcomes))  # the last to end has failed
    tracker.set_tags({"best_run": best.name})
    with tempfile.TemporaryDirectory() as scratch:
        _write_table(Path(scratch, "trials.csv"), metric, list(space), outcomes)
        _draw(Path(scratch), recipe, space, outcomes)
        for file in sorted(Path(scratch).iterdir()):
            tracker.log_artifact(file)
    tracker.set_note(_note(metric, list(space), outcomes))


def _write_table(path: Path, metric: str, fields: list[str], outcomes: Sequence[TrialOutcome]) -> None:
    rows: list[list[Any]] = [["trial", *fields, metric, "epochs", "status", "reason"]]
    for one in outcomes:
        values = [one.values.get(field, "") for field in fields]
        score = "" if one.score is None else one.score
        rows.append([one.name, *values, score, one.epochs, one.status, one.reason or ""])
    write_csv(path, rows)


def _draw(folder: Path, recipe: Recipe, space: Space, outcomes: Sequence[TrialOutcome]) -> None:
    """Write each figure as a picture and as a page."""
    from pipelines.tune import pages, pictures

    metric, mode = recipe.search.metric, recipe.search.mode
    line = history(outcomes, mode)
    if not line.scores:  # none that is finite
        return
    title = f"{recipe.name}: {counted(len(outcomes), 'trial')}"
    pictures.draw_history(line, title, metric, folder / f"{HISTORY}.png")
    pages.write_history(line, title, metric, folder / f"{HISTORY}.html")
    lanes, scores = axes(outcomes, space), [float(one.score or 0) for one in scored(outcomes)]
    pictures.draw_parallel(lanes, scores, mode, title, metric, folder / f"{PARALLEL}.png")
    pages.write_parallel(lanes, scores, mode, title, metric, folder / f"{PARALLEL}.html")
    if parts := importances(outcomes, space, recipe.search.seed):
        pictures.draw_importances(parts, title, folder / f"{IMPORTANCES}.png")
        pages.write_importances(parts, title, folder / f"{IMPORTANCES}.html")


def _note(metric: str, fields: list[str], outcomes: Sequence[TrialOutcome]) -> str:
    names = ", ".join(short_names(fields).values())
    sweep = outcomes[0].name.rpartition(".")[0]
    head = (
        f"Sweep of {counted(len(outcomes), 'trial')} over {names}; the best recipe is the artifact best.yaml, and "
        f"the run of a trial {sweep}.TRIAL."
    )
    # The whole names would push what is beside the table out of the page.
    rows = [[row[0].removeprefix(f"{sweep}."), *row[1:]] for row in table(outcomes, metric, fields)]
    lines = columns(rows, right=range(1, len(fields) + 3))
    shown = sum(end <= NOTE for end in accumulate(len(line) + 1 for line in lines))
    left = [f"{counted(len(lines) - shown, 'further trial')} in trials.csv."] if shown < len(lines) else []
    return "\n".join([head, "", "```", *lines[:shown], "```", *left])
