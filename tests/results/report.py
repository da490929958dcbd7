"""Tables of a study's cells: mean and spread over seeds, and the minutes that they took."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, Configuration, Fusion, Study

from pipelines.demo import pairs
from pipelines.evaluate.fusion import SCORE_WEIGHTS
from tasks.stickfigures.videos import actions


def tables(study: Study, cells: list[Cell], folder: Path) -> str:
    """Return the study's tables in Markdown; configurations without a finished cell are left out."""
    done = [cell for cell in cells if (folder / f"{cell.key}.json").exists()]
    told = {cell.key: json.loads((folder / f"{cell.key}.json").read_text()) for cell in done}
    scores = {cell.key: dict(np.load(folder / f"{cell.key}.npz")) for cell in done}
    figures = study.drawn is not None
    columns = ["configuration", "top-1 %"] + ["direction %", "tempo %"] * figures
    columns += [f"beside {study.beside}"] * (study.beside is not None)
    lives = any(one.get("living_neurons") for one in told.values())
    columns += ["living neurons by layer"] * lives + ["train top-1 %", "parameters", "seeds", "minutes"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    rows = {one.name: _measured(one, done, scores, figures) for one in study.configurations}
    rows |= {one.name: _fused(one, done, told, scores, figures) for one in study.fusions}
    for name, values in rows.items():
        if not values:
            continue
        cost = [_difference(values, rows[study.beside])] if study.beside is not None else []
        own = [told[cell.key] for cell in done if cell.configuration == name]
        living = [counts for one in own if (counts := one.get("living_neurons"))]
        cost += [", ".join(f"{np.mean(layer):.1f}" for layer in zip(*living, strict=True))] * lives
        training, size, minutes = "", "", ""
        if own:  # not so of a fusion
            training = f"{np.mean([one['train_top1_percent'] for one in own]):.1f}"
            size, minutes = f"{own[0]['parameters']:,}", f"{sum(one['minutes'] for one in own):.1f}"
        lines.append(_line(name, list(values.values()), [*cost, training, size, str(len(values)), minutes]))
    commits = sorted({told[cell.key]["commit"] for cell in done})
    days = sorted({told[cell.key]["date"] for cell in done})
    total = sum(told[cell.key]["minutes"] for cell in done)
    lines += ["", f"{len(done)} cells, {total:.0f} minutes in all; commits {', '.join(commits)}; {', '.join(days)}."]
    return "\n".join(lines)


def _measured(one: Configuration, done: list[Cell], scores: dict[str, Any], figures: bool) -> dict[int, list[float]]:
    """Measures of a configuration by seed."""
    folds: dict[int, list[dict[str, Any]]] = {}
    for cell in done:
        if cell.configuration == one.name:
            folds.setdefault(cell.seed, []).append(scores[cell.key])
    return {seed: _measures(group, figures) for seed, group in folds.items()}


def _measures(folds: list[dict[str, Any]], figures: bool) -> list[float]:
    """Of one seed, all folds together: top-1; of the built-in videos also accuracy inside the pairs."""
    labels = np.concatenate([fold["labels"] for fold in folds])
    scores = np.concatenate([fold["scores"] for fold in folds])
    top1 = 100 * float((scores.argmax(1) == labels).mean())
    if not figures:
        return [top1]
    classes = [str(name) for name in folds[0]["classes"]]
    return [top1, pairs(scores, labels, classes)[0], _tempo(scores, labels, classes)]


def _difference(ours: dict[int, list[float]], theirs: dict[int, list[float]]) -> str:
    """Mean and sample standard deviation, over the seeds of both, of the differences in top-1."""
    differences = np.array([ours[seed][0] - theirs[seed][0] for seed in ours.keys() & theirs.keys()])
    if ours is theirs or not len(differences):
        return ""
    return f"{differences.mean():+.1f}" + (f" ± {differences.std(ddof=1):.1f}" if len(differences) > 1 else "")


def _tempo(scores: np.ndarray, labels: np.ndarray, classes: list[str]) -> float:
    """Of the pairs that differ in tempo alone: whose own class scores above its twin, in percent (chance: 50)."""
    twin = {action.name: action.twin for action in actions() if not action.reverses}
    other = np.array([classes.index(twin[name]) if name in twin else -1 for name in classes])[labels]
    rows = np.flatnonzero(other >= 0)
    return 100 * float((scores[rows, labels[rows]] > scores[rows, other[rows]]).mean())


def _fused(
    fusion: Fusion, done: list[Cell], told: dict[str, Any], scores: dict[str, Any], figures: bool
) -> dict[int, list[float]]:
    """Measures, by seed, of the sums of two configurations' scores."""
    streams = [
        {(cell.seed, cell.fold): cell for cell in done if cell.configuration == name}
        for name in (fusion.rgb, fusion.flow)
    ]
    sums: dict[int, list[dict[str, Any]]] = {}
    for place, rgb in streams[0].items():
        flow = streams[1].get(place)
        if flow is None:
            continue
        assert told[rgb.key]["space"] == told[flow.key]["space"]
        assert (scores[rgb.key]["video_ids"] == scores[flow.key]["video_ids"]).all()
        total = SCORE_WEIGHTS["rgb"] * scores[rgb.key]["scores"] + SCORE_WEIGHTS["flow"] * scores[flow.key]["scores"]
        sums.setdefault(place[0], []).append({**scores[rgb.key], "scores": total})
    return {seed: _measures(folds, figures) for seed, folds in sums.items()}


def _line(name: str, values: list[list[float]], cost: list[str]) -> str:
    """Mean and sample standard deviation over seeds."""
    columns = np.array(values).T
    means = [f"{column.mean():.1f}" + (f" ± {column.std(ddof=1):.1f}" if len(column) > 1 else "") for column in columns]
    return "| " + " | ".join([name, *means, *cost]) + " |"


def replace(file: Path, study: str, text: str) -> None:
    """Put the tables between the file's marks of this study."""
    begin, end = f"<!-- {study}: begin -->", f"<!-- {study}: end -->"
    before = file.read_text()
    if begin not in before or end not in before:
        raise SystemExit(f"{file} has no lines {begin} and {end} to put the tables between")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    file.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", before))
