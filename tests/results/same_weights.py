"""Sha256 of the weights of trainings on any number of workers, and under kills: `make weights`.

    python tests/results/same_weights.py [--networks stm x3d_s dsts_tpn] [--rows 1 2 3 4 kills]

Each network is trained by `marey train` on a cluster of nodes of one CPU each: by 1, 2, 3 and 4 workers, and once with
`workers: [1, 2]`, while a node is killed (2 -> 1), another joins (1 -> 2), and a worker is killed.
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
import psutil

from cluster import local

MOST = 4
TRAIN = {"batch_size": 16, "micro_batches": MOST, "checkpoint_steps": 2, "keep_checkpoints": 1}
EPOCHS = {"stm": 2, "x3d_s": 3, "dsts_tpn": 1}
"""Of 13 steps: each long enough for a node to join meanwhile."""
TITLES = {"stm": "STM (2-D)", "x3d_s": "X3D-S (3-D)", "dsts_tpn": "DSTS on TPN, with UDL"}
ROWS = [*map(str, range(1, MOST + 1)), "kills"]
WORKER = "RayTrainWorker"
KILLS = "2 -> 1 -> 2, under kills"


def recipe(folder: Path, network: str, name: str, workers: int | list[int]) -> Path:
    """Write the recipe of a training."""
    return long_training.write(
        folder,
        epochs=EPOCHS[network],
        name=f"{network}-{name}",
        model={"name": network, "options": {"tiny": True, "dropout": 0.5}},
        train=TRAIN,
        workers=workers,
        resize_every_s=1,
    )


def undisturbed(folder: Path, made: local.LocalCluster, network: str, workers: int) -> str:
    """Train with a number of workers; return the sha256 of the weights."""
    path = recipe(folder, network, f"{workers}", workers)
    with local_nodes.training(folder / "work", made, path) as training:
        return training.end()


def disturbed(folder: Path, made: local.LocalCluster, network: str) -> str:
    """Train on two nodes, of which one is killed and replaced, and then a worker; return the sha256 of the weights."""
    path = recipe(folder, network, "kills", [1, 2])
    with local_nodes.training(folder / "work", made, path) as training:
        training.reach(4)
        local_nodes.kill(made.processes()[-1])
        training.go_on_with(1)
        worker = max(local_nodes.named(made, WORKER), key=psutil.Process.create_time)
        worker.suspend()  # or it would be at the end before there is a node for another
        local_nodes.join(folder / "work", made)
        worker.resume()
        training.go_on_with(2)
        local_nodes.kill(local_nodes.named(made, WORKER)[0])
        found = training.end()
        assert training.going_on()[-3:] == [1, 2, 2], training.said()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=ROWS)
    chosen = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    begun, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="marey-weights-") as name:
        folder = Path(name)
        (folder / "work").mkdir()
        for nodes, labels in ((MOST, ROWS[:-1]), (2, ROWS[-1:])):
            if not (labels := [label for label in labels if label in chosen.rows]):
                continue
            made = local.up(folder / "work", nodes=nodes, cpus_per_node=1)
            try:
                for label in labels:
                    found = []
                    for network in chosen.networks:
                        found.append(row(folder, made, network, label))
                        print(f"{network}, {label}: {found[-1]}", file=sys.stderr, flush=True)
                    rows.append((label, found))
            finally:
                local.down(folder / "work")
    print(f"commit {commit}, {date.today()}, {(time.monotonic() - begun) / 60:.0f} min\n")
    print(f"| workers | {' | '.join(TITLES[network] for network in chosen.networks)} |")
    print(f"|---|{'---|' * len(chosen.networks)}")
    for label, found in rows:
        print(f"| {KILLS if label == 'kills' else label} | {' | '.join(f'`{sha256[:16]}`' for sha256 in found)} |")
    return int(any(len(set(column)) > 1 for column in zip(*(found for _, found in rows), strict=True)))


def row(folder: Path, made: local.LocalCluster, network: str, label: str) -> str:
    """Train one network for one row of the table; return the sha256 of its weights."""
    return disturbed(folder, made, network) if label == "kills" else undisturbed(folder, made, network, int(label))


if __name__ == "__main__":
    sys.exit(main())
