"""The long form of the kill test: `make kills`, or `python tests/kills --kills 40 --seed 7`."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

from preparations import TARGETS, Campaign

A_ROUND = 3
"""Kills per round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=36)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="marey-kills-") as folder:
        campaign = Campaign(Path(folder), arguments.seed, lambda text: print(" ", text, flush=True))
        kinds = list(itertools.islice(itertools.cycle(TARGETS), arguments.kills))
        campaign.random.shuffle(kinds)
        for first in range(0, len(kinds), A_ROUND):
            campaign.round(kinds[first : first + A_ROUND])
            print(f"round {campaign.tally.rounds}: shards are as undisturbed", flush=True)
    tally = campaign.tally
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kills.items()))
    print(
        f"{tally.kills.total()} kills ({counts}), {tally.commands} commands, {(time.monotonic() - begun) / 60:.0f} min"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
