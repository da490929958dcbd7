"""Every verb that takes paths, as it is called from a folder below that of the data: `../videos`, `../data`."""

from __future__ import annotations

from pathlib import Path

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


def lay_out(folder: Path, videos: Path) -> Path:
    """Put the videos and the recipe into a folder; return the one below, in which the verbs are called."""
    (folder / "videos").symlink_to(videos)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "here").mkdir()
    return folder / "here"
