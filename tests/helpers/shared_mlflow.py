"""`marey mlflow-server` as its operator sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paths import ROOT
from processes import find_line, run, started

COMMAND = (sys.executable, "-m", "pipelines", "mlflow-server", "--port", "0", "--workers", "1")


@dataclass(frozen=True)
class Shared:
    """A server as its operator sees it."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]
    """All that it printed."""

    def variables(self) -> dict[str, str]:
        """What a shell has after the lines that the server printed for it."""
        script = "\n".join(line for line in self.lines if line.startswith("  export "))
        names = re.findall(r"export (\w+)=", script)
        shown = run(["sh", "-c", script + "".join(f'\nprintf "%s\\n" "${name}"' for name in names)]).stdout
        return dict(zip(names, shown.splitlines(), strict=True))


@contextmanager
def served(*words: str, **variables: str) -> Iterator[Shared]:
    with started(
        [*COMMAND, *words], cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, text=True
    ) as process:
        url = find_line(process.stdout, r"^MLflow server: (http://[^/]+)/#/experiments.*\(Ctrl-C ends it\)$")[1]
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "_PASSWORD" in line or ("_URI" in line and "--no-login" in words):
                break
        yield Shared(process, url, lines)
