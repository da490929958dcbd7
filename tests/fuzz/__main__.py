"""The long form of the fuzz test: thousands of damaged files of each kind, which must all keep their promises.

    python tests/fuzz [COUNT] [--only KIND] [--first N] [--keep FOLDER]
    python tests/fuzz --only KIND --case N

A case that breaks a promise is printed with its number, and its file stays in FOLDER.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import damaged_recipes
from damage import case
from lists import Sources
from promises import Outcome, Promises


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=2000, help="damaged files of each kind (2000)")
    parser.add_argument("--only", choices=KINDS, help="one kind of file (all)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--case", type=int, help="only the damaged file of this number")
    parser.add_argument("--keep", type=Path, help="folder for files that broke a promise (a temporary one)")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="marey-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(options.first, options.first + options.count) if options.case is None else [options.case]
    broken = sum(KINDS[kind](folder, numbers) for kind in ([options.only] if options.only else KINDS))
    print(f"{broken} broken promises")
    if not broken and not options.keep:
        shutil.rmtree(folder)
    return 1 if broken else 0


def _videos(folder: Path, numbers: Sequence[int]) -> int:
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
                print(f"  {_again('videos', number)}; its file: {folder / case(number).name}")
    _print_table(outcomes)
    pids = len({outcome.pid for outcome in outcomes.values() if outcome.pid})
    seconds = [outcome.seconds for outcome in outcomes.values()] or [0.0]
    print(f"{len(numbers)} damaged videos in {time.monotonic() - begin:.0f} s, the slowest {max(seconds):.1f} s")
    print(f"{pids} decoding processes, of at most {max((o.memory for o in outcomes.values()), default=0) / 1e6:.0f} MB")
    return broken


def _lists(folder: Path, numbers: Sequence[int]) -> int:
    sources = Sources(folder / "lists")
    broken = read = 0
    begin = time.monotonic()
    for number in numbers:
        try:
            read += sources.hold(number)
        except Exception as error:  # noqa: BLE001 - the next case is another matter
            broken += 1
            print(f"list {number}: {type(error).__name__}: {error}\n  {_again('lists', number)}")
    print(f"{len(numbers)} damaged lists in {time.monotonic() - begin:.0f} s, {read} of them still readable")
    return broken


def _recipes(folder: Path, numbers: Sequence[int]) -> int:
    ends: Counter[str] = Counter()
    broken = 0
    begin = time.monotonic()
    for number in numbers:
        try:
            ends[damaged_recipes.hold(number, folder)] += 1
        except Exception as error:  # noqa: BLE001 - the next case is another matter
            broken += 1
            print(f"recipe {number}, word {damaged_recipes.word(number)!r}: {type(error).__name__}: {error}")
            print(f"  {_again('recipes', number)}")
    print(f"{len(numbers)} damaged recipes and words of --set in {time.monotonic() - begin:.0f} s: " + _counted(ends))
    return broken


def _counted(ends: Counter[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))


KINDS = {"videos": _videos, "lists": _lists, "recipes": _recipes}
"""Kind of file -> what damages and checks those of some numbers, and returns how many promises are broken."""


def _again(kind: str, number: int) -> str:
    return f"again: {sys.executable} tests/fuzz --only {kind} --case {number}"


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
