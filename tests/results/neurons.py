"""How the samples of the test part spread over DSTS's neurons, and how their gates split: a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from cells import Cell
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.dsts.network import Specialized
from tasks.clips import ViewLoader


@torch.no_grad()
def spread(network: Specialized, loader: ViewLoader) -> dict[str, np.ndarray]:
    """What a cell keeps: each clip's video and neurons [L], and each neuron's share of temporal channels [L, N]."""
    network.eval()
    videos: list[str] = []
    chosen = []
    for batch in loader.batches(0, 1):
        videos += batch.video_ids
        chosen.append(network.routing(batch.to(torch.device("cpu")).clip).numpy())
    gates = [layer.neurons.temporal_channels(1)[0].mean(1).numpy() for layer in network.dsts.layers]
    return {"choice_video_ids": np.array(videos), "choices": np.concatenate(chosen), "temporal": np.stack(gates)}


def living(kept: dict[str, np.ndarray]) -> list[int]:
    """Count the neurons of each layer that process at least one clip of the test part."""
    return [len(np.unique(layer)) for layer in kept["choices"].T]


def draw(cells: list[Cell], folder: Path, path: Path) -> bool:
    """Draw the first of these cells that is there; False where none is."""
    cell = next((cell for cell in cells if (folder / f"{cell.key}.json").exists()), None)
    if cell is None:
        return False
    told = json.loads((folder / f"{cell.key}.json").read_text())
    kept = dict(np.load(folder / f"{cell.key}.npz"))
    labels = dict(zip(kept["video_ids"].tolist(), kept["labels"].tolist(), strict=True))
    classes = kept["classes"].tolist()
    temporal, choices = kept["temporal"], kept["choices"]
    of = np.array([labels[video] for video in kept["choice_video_ids"].tolist()])
    layers, neurons = temporal.shape
    figure = Figure(figsize=(3.2 * layers + 1.6, 0.26 * len(classes) + 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{cell.configuration}, seed {cell.seed}: {told['top1_percent']:.1f} % top-1", fontsize=11)
    grid = figure.subplots(2, layers, squeeze=False, height_ratios=[len(classes), 6])
    for layer in range(layers):
        counts = np.zeros((len(classes), neurons))
        np.add.at(counts, (of, choices[:, layer]), 1)
        shares = 100 * counts / counts.sum(1, keepdims=True)
        above, below = grid[:, layer]
        image = above.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
        above.set_title(f"layer {layer + 1}", fontsize=10)
        above.set_xticks(range(neurons))
        above.set_yticks(range(len(classes)), classes if layer == 0 else [""] * len(classes), fontsize=8)
        below.bar(range(neurons), 100 * temporal[layer], color="tab:orange", label="temporal")
        below.bar(
            range(neurons), 100 * (1 - temporal[layer]), bottom=100 * temporal[layer], color="tab:blue", label="spatial"
        )
        below.set_xticks(range(neurons))
        below.set_ylim(0, 100)
        below.set_xlabel("neuron")
    grid[1, 0].set_ylabel("% of channels")
    beside = grid[1, -1].legend(fontsize=8, frameon=False, handlelength=1, loc="upper left", bbox_to_anchor=(1.0, 1))
    beside.set_in_layout(False)  # it stands below the colour bar, which makes the room
    figure.colorbar(image, ax=grid[0, -1], label="% of the class")
    figure.savefig(path)
    return True
