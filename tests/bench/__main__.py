"""Every benchmark in turn: `make bench`, or `python tests/bench NAME...` for some of them.

Each prints a table in Markdown, ratio first, to be copied into docs/results.md with command, commit and date.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path


def main() -> int:
    here = Path(__file__).parent
    files = {file.stem.removeprefix("bench_"): file for file in sorted(here.glob("bench_*.py"))}
    wanted = sys.argv[1:] or list(files)
    unknown = [name for name in wanted if name not in files]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are: {', '.join(files)}", file=sys.stderr)
        return 2
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    print(f"commit {commit.stdout.strip()}, {date.today()}", flush=True)
    environment = os.environ | {"PYTHONPATH": str(here.parent / "helpers")}
    for name in wanted:
        print(f"\n## {name}\n", flush=True)
        code = subprocess.run([sys.executable, str(files[name])], env=environment).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
