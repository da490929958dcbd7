"""`marey mlflow-server` as its operator sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hosts import LIMIT_S, Host
from paths import ROOT
from processes import find_line, run, started
from refusals import refusal

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
def served(*words: str, on: Host | None = None, **variables: str) -> Iterator[Shared]:
    """Serve on this machine, or on one of several hosts."""
    command = [*COMMAND, *words]
    environment = os.environ | variables
    if on is not None:
        command, environment = on.command(command), on.environment(**variables)
    with started(command, cwd=ROOT, env=environment, limit=LIMIT_S, stdout=subprocess.PIPE, text=True) as process:
        url = find_line(process.stdout, r"^MLflow server: (http://[^/]+)/#/experiments.*\(Ctrl-C ends it\)$")[1]
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "_PASSWORD" in line or ("_URI" in line and "--no-login" in words):
                break
        yield Shared(process, url, lines)


def refused(*words: str, **variables: str) -> str:
    """Return the one line by which it ends at once, with exit code 2."""
    done = run([*COMMAND, *words], cwd=ROOT, env=os.environ | variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert refusal(done.stderr).count("\n") == 1, done.stderr
    return str(done.stderr)
