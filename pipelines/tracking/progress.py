"""What rank 0 of a training reports, for the driver to show: a file of lines, or at an address an object of the last.

An object store has no file that grows, and each write takes a request: there a thread writes what has come, every few
seconds, and the training never waits for it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster.jobs import JOB
from pipelines.errors import UserError
from pipelines.tracking.workspace import make_folder, workspace
from tasks.data import storage

EVERY_S = 5.0
"""Seconds between two requests for an object."""
KEPT = 200
"""Reports in an object."""
ENDING_S = 20.0
"""Seconds that the last reports may take at the end of a training."""

log = logging.getLogger(__name__)

Report = Mapping[str, float | str]


class ProgressWriter:
    """Adds reports of rank 0, while its context is open."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._object = None if storage.is_local(address) else _ObjectWriter(address)

    def add(self, report: Report) -> None:
        """Add a report; on a full disk it is left out, and the console shows less."""
        line = json.dumps(report) + "\n"
        if self._object is not None:
            self._object.add(line)
            return
        content = line.encode()
        with Path(self._address).open("ab", buffering=0) as file:
            end = file.tell()
            try:
                whole = file.write(content) == len(content)
            except OSError:
                whole = False
            if not whole:
                file.truncate(end)

    def __enter__(self) -> ProgressWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._object is not None:
            self._object.close()


class _ObjectWriter:
    """Keeps the last reports in an object: a line with the number of the first, then the reports."""

    def __init__(self, address: str) -> None:
        self._address = address
        first, lines = _read(address)
        self._next = first + len(lines)
        self._lines = deque(lines, KEPT)
        self._changed = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self._next += 1
            self._changed = True

    def close(self) -> None:
        self._closing.set()
        self._thread.join(ENDING_S)

    def _keep(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(EVERY_S)
            with self._lock:
                content = f"{self._next - len(self._lines)}\n{''.join(self._lines)}" if self._changed else ""
                self._changed = False
            if content:
                try:
                    storage.publish(self._address, content.encode())
                except UserError as error:  # the console shows less; the training does not depend on it
                    log.warning("the progress cannot be shown: %s", error)


def of_job(job_id: str, place: str | Path) -> str:
    """Return where a job keeps in a workspace how much of its work is done."""
    return storage.join(str(place), "jobs", f"{job_id}.jsonl")


def report_of_job(done: int, total: int, unit: str) -> None:
    """Report how much of its work the job that this process drives has done; without a job, do nothing.

    Args:
        done: how many.
        total: of how many.
        unit: of what, such as `videos`.
    """
    job_id = os.environ.get(JOB)
    if job_id is None:
        return
    place = workspace()
    address = of_job(job_id, place)
    try:
        if storage.is_local(place):
            make_folder(Path(address).parent, Path(place))
        with ProgressWriter(address) as writer:
            writer.add({"kind": "count", "time": time.time(), "done": done, "total": total, "unit": unit})
    except UserError as error:  # the list of jobs shows less; the work does not depend on it
        log.warning("`marey jobs` cannot show the progress: %s", error)


def last_report(address: str, begin: float, end: float) -> dict[str, Any] | None:
    """Return the newest report between two times, in seconds since 1970, that counts something; None without one.

    Raises:
        UserError, OSError: it cannot be read.
    """
    try:
        lines = storage.read_bytes(address).decode().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        if line.startswith("{") and line.endswith("}"):  # neither the number of the first, nor one still being written
            report: dict[str, Any] = json.loads(line)
            if ("epoch" in report or "done" in report) and begin <= report["time"] <= end:
                return report
    return None


class ProgressFollower:
    """Reads the reports of a run from where they stood when this was made."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._remote = not storage.is_local(address)
        self._asked = 0.0
        if self._remote:
            first, lines = _read(address)
            self._seen = first + len(lines)
        else:
            self._seen = Path(address).stat().st_size if Path(address).exists() else 0

    def new_reports(self, *, last: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the reports since the last call; one still being written waits for the next.

        Args:
            last: whether no other call follows; before, an object is asked for every few seconds only.
        """
        if not self._remote:
            yield from self._from_file()
        elif last or time.monotonic() - self._asked >= EVERY_S:
            self._asked = time.monotonic()
            yield from self._from_object()

    def _from_file(self) -> Iterator[dict[str, Any]]:
        if not Path(self._address).exists():
            return
        with Path(self._address).open() as file:
            file.seek(self._seen)
            for line in iter(file.readline, ""):
                if line.endswith("\n"):
                    self._seen += len(line.encode())
                    yield json.loads(line)

    def _from_object(self) -> Iterator[dict[str, Any]]:
        try:
            first, lines = _read(self._address)
        except UserError as error:
            log.warning("the progress cannot be shown: %s", error)
            return
        new = lines[max(0, self._seen - first) :]
        self._seen = max(self._seen, first + len(lines))
        for line in new:
            yield json.loads(line)


def _read(address: str) -> tuple[int, list[str]]:
    """Return the number of the first report in an object, and the lines of all in it."""
    try:
        head, *lines = storage.read_bytes(address).decode().splitlines(keepends=True)
    except FileNotFoundError:
        return 0, []
    return int(head), lines
