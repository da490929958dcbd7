"""Draw README's picture from what `make demo` left behind: frames, their flow, and both confusion matrices.

make demo && .venv/bin/python docs/pictures/demo.py marey-work docs/pictures/demo.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasks.data import open_dataset
from tasks.stickfigures.videos import actions
from tasks.video import dequantize
from tasks.video.colours import flow_colours

SHOWN = ("open_door", "close_door", "throw_ball", "catch_ball", "sit_down", "stand_up")
"""Three pairs of actions: each is the other played backwards."""
NETWORKS = {
    "demo-tsn": "TSN averages over frames: it finds the pair",
    "demo-stm": "STM sees motion: it finds the action",
}
SCALE = 2.5
"""Pixels per frame of a fully saturated colour."""


def main(work: Path, out: Path) -> None:
    """Write the PNG."""
    figure = Figure(figsize=(12, 7.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 3.1))
    _samples(above, work / "demo" / "dataset")
    axes = below.subplots(1, 2)
    for place, (run, title) in zip(axes, NETWORKS.items(), strict=True):
        _confusion(place, work / "evaluations" / run / "dataset-given-test" / "scores.npz", title)
    figure.savefig(out)


def _samples(figure: Figure, uri: Path) -> None:
    dataset = open_dataset(str(uri))
    first = {sample.label: sample for sample in reversed(dataset.samples("test"))}
    figure.suptitle("frames, and the optical flow between them (hue is direction, saturation is speed)", fontsize=11)
    for place, label in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
        sample = first[label]
        flow = dequantize(dataset.flow(sample, [sample.flows // 2])[0])
        frame = dataset.rgb(sample, [sample.frames // 2])[0]
        place.imshow(np.concatenate([frame, flow_colours(flow, SCALE)], 1))
        place.set_title(label, fontsize=9)
        place.axis("off")


def _confusion(place, path: Path, title: str) -> None:
    scores = np.load(path)
    labels, predicted = scores["labels"], scores["scores_1view"].argmax(1)
    classes = [str(name) for name in scores["classes"]]
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predicted), 1)
    partner = {action.name: action.partner or action.name for action in actions()}
    order = sorted(range(len(classes)), key=lambda i: (min(classes[i], partner[classes[i]]), classes[i]))
    counts, classes = counts[np.ix_(order, order)], [classes[i] for i in order]
    place.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    place.set_title(f"{title}\n{100 * (labels == predicted).mean():.1f} % top-1 on unseen people", fontsize=11)
    place.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
    place.set_yticks(range(len(classes)), classes, fontsize=7)
    place.set_xlabel("predicted", fontsize=9)
    place.set_ylabel("true", fontsize=9)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
