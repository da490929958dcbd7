"""One cell in a process of its own: trains a recipe's network by the loop itself, without Ray, and scores it.

    python tests/results/cell.py JOB.json    # {"recipe": {...}, "out": "cells/<key>", "start": null, "weights": null}

Starts from the weights in `start`, and leaves those it ends with in `weights`, where these are files. Writes <out>.npz
(scores by one view of every test video) and then, as the cell's commit, <out>.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from neurons import living, spread
from safetensors.torch import load_file, save_file

from models import build, describe
from models.common.cost import parameters
from models.common.weights import adopt
from models.dsts.network import Specialized
from pipelines import recipe as recipes
from pipelines.recipe import Recipe, clip_settings, view_settings
from tasks.clips import ClipLoader, ViewLoader, views
from tasks.data import open_dataset
from tasks.files import replacing
from tasks.learn import Identity, Report, fit, host, measure
from tasks.learn.optim import smallest_share
from tasks.learn.score import Scores, score
from tasks.seeds import seed


def train(
    recipe: Recipe, start: str | None, weights: str | None
) -> tuple[Scores, list[str], dict[str, float], dict[str, np.ndarray]]:
    """Train to the end, without choosing a checkpoint.

    Returns the scores of the test part, classes, last metrics, and of a specialised network what its neurons do.
    """
    data = open_dataset(recipe.data.dataset, split=recipe.data.split, fold=recipe.data.fold)
    settings, model = recipe.train, recipe.model
    clip = clip_settings(recipe, data.classes)
    torch.manual_seed(seed(settings.seed, "weights"))
    network = build(model.name, len(data.classes), stream=model.stream, **model.options)
    if start is not None:
        print(adopt(network, load_file(start), start), flush=True)
    training = ClipLoader(data, "train", clip, replace(settings, loader_threads=1), smallest_share(network))
    last: dict[str, float] = {"parameters": parameters(network)}
    identity = Identity(
        model=model.name,
        stream=model.stream,
        options=model.options,
        classes=data.classes,
        recipe={},
        dataset_digest=data.digest,
        clip=asdict(clip),
    )

    def show(report: Report) -> None:
        last.update(report.metrics)
        if report.kind == "epoch":
            print(f"epoch {report.epoch} {report.metrics}", flush=True)

    fit(network, training, None, settings, show, identity=identity, checkpoints=False)
    if weights is not None:
        with replacing(weights) as aside:
            save_file(network.state_dict(), aside)
    about = describe(model.name, model.options)
    loader = ViewLoader(data, "test", view_settings(clip, about), views(1, 1), recipe.evaluate.batch_size, 1)
    scores = score(network.deploy(), loader.batches(0, 1), space=about.score_space)
    kept = spread(network, loader) if isinstance(network, Specialized) else {}
    return scores, data.classes, last, kept


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    host.tune_allocator(threads=1)
    start, cpu = time.time(), time.process_time()
    recipe = recipes.parse(job["recipe"])
    scores, classes, last, kept = train(recipe, job["start"], job["weights"])
    space = describe(recipe.model.name, recipe.model.options).score_space
    out = job["out"]  # a name with dots in it, so nothing for with_suffix
    order = sorted(scores)
    np.savez(
        f"{out}.npz",
        video_ids=order,
        labels=[scores[video][0] for video in order],
        scores=[scores[video][1] for video in order],
        classes=classes,
        **kept,
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    told = {
        "top1_percent": measure(scores, space).top1_percent,
        "train_top1_percent": last["train/top1_percent"],
        "train_loss": last["train/loss"],
        "parameters": int(last["parameters"]),
        "living_neurons": living(kept) if kept else [],
        "space": space,
        "minutes": (time.time() - start) / 60,
        "cpu_minutes": (time.process_time() - cpu) / 60,
        "commit": commit.stdout.strip(),
        "date": str(date.today()),
        "recipe": {section: job["recipe"][section] for section in ("model", "input", "train")},
    }
    with replacing(f"{out}.json") as aside:
        Path(aside).write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
