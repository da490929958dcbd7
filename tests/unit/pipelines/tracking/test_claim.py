"""Folders that another process holds: who is turned away, and who waits."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator

import processes
import pytest
from paths import ROOT

from pipelines.errors import UserError
from pipelines.tracking import claim

pytestmark = pytest.mark.quick

HOLD = """
import sys
from pipelines.tracking import claim
with claim.hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


class Heard(logging.Handler):
    """Calls back at the first line that is logged."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self._call = call

    def emit(self, record: logging.LogRecord) -> None:
        self._call()


@pytest.fixture
def holder(tmp_path, monkeypatch) -> Iterator[subprocess.Popen[str]]:
    """Return a process that holds a folder until its input ends."""
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    command = [sys.executable, "-c", HOLD, tmp_path / "runs" / "held"]
    with processes.started(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        processes.find_line(process.stdout, "^held$")
        yield process


def test_who_waits_goes_on_as_soon_as_the_other_has_ended(holder, tmp_path):
    address = str(tmp_path / "runs" / "held")
    with pytest.raises(UserError, match="is being written by another marey process: wait for it to end"):
        claim.refuse_held(address)
    heard = Heard(holder.stdin.close)
    claim.log.addHandler(heard)
    claim.log.setLevel(logging.INFO)
    try:
        claim.outlast_other(address)
    finally:
        claim.log.removeHandler(heard)
        claim.log.setLevel(logging.NOTSET)
    assert holder.stdin.closed
    claim.refuse_held(address)
