"""Every verb that takes paths, as it is called from a folder below that of the data: `../videos`, `../data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.video.codecs import write_mp4

RECIPE = """
name: walked
data: {dataset: ../data}
model: {name: tsn, options: {tiny: true}}
prepare: {short_side: 32, flow: none}
input: {size: 32, segments: 2}
train: {epochs: 1, batch_size: 4, lr: 0.05, loader_threads: 1}
evaluate: {clips: 1, crops: 1}
search: {trials: 1}
"""
WALK: list[list[str]] = [
    ["prepare", "../videos", "../data", "--flow", "none", "--short-side", "32"],
    ["verify", "../here/../data"],
    ["preview", "../data", "../page.html"],
    ["train", "../recipe.yaml"],
    ["evaluate", "walked", "../data"],
    ["predict", "walked", "../videos/left/0.mp4", "--out", "../found.csv"],
    ["tune", "../recipe.yaml", "--set", "search.space.train.lr.choice=[0.05]", "--set", "data.dataset=../data"],
    ["run", "../recipe.yaml", "--set", "name=ran", "--set", "data.source=../videos", "--set", "model.weights=walked"],
]
MADE = {"data", "page.html", "found.csv", "here", "recipe.yaml", "videos"}
"""What lies in the folder after all of them, beside the workspace; below it there is nothing."""


def lay_out(folder: Path) -> Path:
    """Write the recipe, and two classes of ten small videos, to a folder; return one below, to call the verbs in."""
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / "videos" / label).mkdir(parents=True)
        for index in range(10):
            frames = random.integers(0, 255, (8, 48, 48, 3), dtype=np.uint8)
            write_mp4(folder / "videos" / label / f"{index}.mp4", frames, 25, crf=30, keyframe_every=8)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "here").mkdir()
    return folder / "here"
