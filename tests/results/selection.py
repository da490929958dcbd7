"""Which of 16 frames MTNet keeps behind its stem, by the padding in time and by what is compared.

    PYTHONPATH=.:tests/helpers python tests/results/selection.py [mtnet=DATASET] [mtnet_gestures=DATASET]

Of four fresh tiny networks in training mode, the percentage of clips in which each frame is kept. Datasets are those
that `make results` prepares for these studies: MAREY_WORK/results/figures/dataset and gestures/dataset.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from stem_frames import kept, moving, noise
from studies import STUDIES
from torch import Tensor

import models
from pipelines.recipe import clip_settings
from tasks.clips import ClipLoader
from tasks.data import open_dataset

NETWORKS = 4
CLIPS = 64


def clips_of(study: str, dataset: str) -> Tensor:
    """Return training clips of a study, [at most 64, 3, 16, H, W]."""
    cell = next(STUDIES[study].cells(Path(dataset), 1, {"train.batch_size": CLIPS, "train.micro_batches": 1}))
    recipe = cell.recipe
    data = open_dataset(dataset, split=recipe.data.split, fold=recipe.data.fold)
    loader = ClipLoader(data, "train", clip_settings(recipe, data.classes), recipe.train)
    portion = next(loader.batches(0, 0, 1))
    return torch.cat([share.to(torch.device("cpu")).clip for share in portion.shares])


def main() -> None:
    sets = {"white noise": noise(CLIPS), "moving in frames 5 to 10": moving(CLIPS, 5)}
    for study, dataset in (argument.split("=", 1) for argument in sys.argv[1:]):
        sets[study] = clips_of(study, dataset)
    print(f"| clips | `ends` | `compare` | {' | '.join(map(str, range(16)))} |\n|---|---|---|{'---|' * 16}")
    for name, clips in sets.items():
        for ends in ("zeros", "repeat"):
            for compare in ("after", "before"):
                shares = []
                for seed in range(NETWORKS):
                    torch.manual_seed(seed)
                    network = models.build("mtnet_m", 20, tiny=True, ends=ends, compare=compare)
                    shares.append(kept(network.train(), clips).float().mean(0))
                figures = " | ".join(f"{100 * value:.0f}" for value in torch.stack(shares).mean(0).tolist())
                print(f"| {name} | {ends} | {compare} | {figures} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
