"""The long form of the fuzz test: thousands of damaged videos, for each of which all promises must hold.

    python tests/fuzz [COUNT] [--first N] [--keep FOLDER]
    python tests/fuzz --case N

A case that breaks a promise is printed with its number, and its file stays in FOLDER.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from damage import case
from promises import Outcome, Promises


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=2000, help="damaged videos (2000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--case", type=int, help="only the damaged video of this number")
    parser.add_argument("--keep", type=Path, help="folder for files that broke a promise (a temporary one)")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="marey-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(options.first, options.first + options.count) if options.case is None else [options.case]
    outcomes: dict[int, Outcome] = {}
    broken = 0
    begin = time.monotonic()
    with Promises(folder) as promises:
        for number in numbers:
            try:
                outcomes[number] = promises.hold(case(number))
            except Exception as error:  # noqa: BLE001 - the next case is another matter
                broken += 1
                print(f"case {number} ({case(number).name}): {type(error).__name__}: {error}")
                print(f"  again: {sys.executable} tests/fuzz --case {number}; its file: {folder / case(number).name}")
    _print_table(outcomes)
    pids = len({outcome.pid for outcome in outcomes.values() if outcome.pid})
    seconds = [outcome.seconds for outcome in outcomes.values()] or [0.0]
    print(f"{len(numbers)} damaged videos in {time.monotonic() - begin:.0f} s, the slowest {max(seconds):.1f} s")
    print(f"{pids} decoding processes, of at most {max((o.memory for o in outcomes.values()), default=0) / 1e6:.0f} MB")
    print(f"{broken} broken promises")
    if not broken and not options.keep:
        folder.rmdir()
    return 1 if broken else 0


def _print_table(outcomes: dict[int, Outcome]) -> None:
    table: dict[str, Counter[str]] = {}
    for number, outcome in outcomes.items():
        column = f"ok ({outcome.decoder})" if outcome.kind == "ok" else outcome.kind
        table.setdefault(case(number).whole.name, Counter())[column] += 1
    columns = sorted({column for counts in table.values() for column in counts})
    total = sum(table.values(), Counter[str]())
    print(f"{'':<14}" + "".join(f"{column:>13}" for column in columns))
    for name, counts in [*table.items(), ("all", total)]:
        print(f"{name:<14}" + "".join(f"{counts[column] or '-':>13}" for column in columns))


if __name__ == "__main__":
    sys.exit(main())
