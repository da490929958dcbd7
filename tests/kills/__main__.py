"""The long form of the kill tests: `make kills`, or `python tests/kills --preparations 0 --trainings 40 --sweeps 0`."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import preparations
import sweeps
import trainings
from preparations import Preparations
from sweeps import Sweeps
from trainings import Trainings

A_ROUND = 3
"""Kills per round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preparations", type=int, default=36, help="kills while videos are prepared")
    parser.add_argument("--trainings", type=int, default=24, help="kills while a network is trained")
    parser.add_argument("--sweeps", type=int, default=20, help="kills while trials are searched")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nor does that leave a cluster behind
    with tempfile.TemporaryDirectory(prefix="marey-kills-") as folder:
        if chosen.preparations:
            prepare(Path(folder) / "preparations", chosen.seed, chosen.preparations)
        if chosen.trainings:
            train(Path(folder) / "trainings", chosen.seed, chosen.trainings)
        if chosen.sweeps:
            search(Path(folder) / "sweeps", chosen.seed, chosen.sweeps)
    return 0


def prepare(folder: Path, seed: int, kills: int) -> None:
    """Prepare videos while processes are killed."""
    begun = time.monotonic()
    folder.mkdir()
    campaign = Preparations(folder, seed, say)
    kinds = shuffled(preparations.TARGETS, kills, campaign.random)
    for first in range(0, len(kinds), A_ROUND):
        campaign.round(kinds[first : first + A_ROUND])
        print(f"round {campaign.tally.rounds}: shards are as undisturbed", flush=True)
    print(f"{campaign.tally}, {(time.monotonic() - begun) / 60:.0f} min", flush=True)


def train(folder: Path, seed: int, kills: int) -> None:
    """Train a network while processes are killed."""
    folder.mkdir()
    run(Trainings(folder, seed, say), trainings.TARGETS, kills, "weights are as undisturbed")


def search(folder: Path, seed: int, kills: int) -> None:
    """Search hyper-parameters while processes are killed."""
    folder.mkdir()
    run(Sweeps(folder, seed, say), sweeps.TARGETS, kills, "the table is as undisturbed")


def run(campaign: Trainings | Sweeps, targets: Sequence[str], kills: int, outcome: str) -> None:
    """Go through rounds until there have been so many kills."""
    begun = time.monotonic()
    kinds = shuffled(targets, kills, campaign.random)
    try:
        with campaign:
            while kinds:
                kinds = campaign.round(kinds[:A_ROUND]) + kinds[A_ROUND:]
                print(f"round {campaign.tally.rounds}: {outcome}", flush=True)
    finally:
        print(f"{campaign.tally}, {(time.monotonic() - begun) / 60:.0f} min", flush=True)


def shuffled(targets: Sequence[str], kills: int, random: random.Random) -> list[str]:
    """Return so many targets, each kind as often as the others."""
    kinds = list(itertools.islice(itertools.cycle(targets), kills))
    random.shuffle(kinds)
    return kinds


def say(text: str) -> None:
    """Print what has been done to a round."""
    print(" ", text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
