"""Sha256 of the weights of trainings on any number of workers: `make weights`.

    python tests/results/same_weights.py [--networks stm x3d_s dsts_tpn] [--workers 1 2 3 4]

Each network is trained by `marey train` on a cluster of four nodes of one CPU each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import local_nodes
import long_training

from cluster import local

MOST = 4
TRAIN = {"batch_size": 16, "micro_batches": MOST, "checkpoint_steps": 2, "keep_checkpoints": 1}
EPOCHS = {"stm": 2, "x3d_s": 3, "dsts_tpn": 1}
"""Of 13 steps."""
TITLES = {"stm": "STM (2-D)", "x3d_s": "X3D-S (3-D)", "dsts_tpn": "DSTS on TPN, with UDL"}


def recipe(folder: Path, network: str, workers: int) -> Path:
    """Write the recipe of a training."""
    return long_training.write(
        folder,
        epochs=EPOCHS[network],
        name=f"{network}-{workers}",
        model={"name": network, "options": {"tiny": True, "dropout": 0.5}},
        train=TRAIN,
        workers=workers,
    )


def train(folder: Path, made: local.LocalCluster, network: str, workers: int) -> str:
    """Train with a number of workers; return the sha256 of the weights."""
    path = recipe(folder, network, workers)
    with local_nodes.training(folder / "work", made, path) as training:
        return training.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--workers", nargs="*", type=int, choices=range(1, MOST + 1), default=range(1, MOST + 1))
    chosen = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    begun, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="marey-weights-") as name:
        folder = Path(name)
        (folder / "work").mkdir()
        made = local.up(folder / "work", nodes=MOST, cpus_per_node=1)
        try:
            for workers in chosen.workers:
                rows.append([])
                for network in chosen.networks:
                    rows[-1].append(train(folder, made, network, workers))
                    print(f"{network}, {workers}: {rows[-1][-1]}", file=sys.stderr, flush=True)
        finally:
            local.down(folder / "work")
    print(f"commit {commit}, {date.today()}, {(time.monotonic() - begun) / 60:.0f} min\n")
    print(f"| workers | {' | '.join(TITLES[network] for network in chosen.networks)} |")
    print(f"|---|{'---|' * len(chosen.networks)}")
    for workers, found in zip(chosen.workers, rows, strict=True):
        print(f"| {workers} | {' | '.join(f'`{sha256[:16]}`' for sha256 in found)} |")
    return int(any(len(set(column)) > 1 for column in zip(*rows, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
