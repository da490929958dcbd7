"""What holds for all tests: how they share processes, what their children get, and that nothing outlives them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from types import FrameType

import processes
import psutil
import pytest

CHAIN = {"ray", "trained"}
"""Fixtures that start Ray: tests that use one run one after the other, in one process, and share it."""
CLUSTER = "workspace"
"""Fixture of the cluster of several nodes, which costs CPU also while it is idle: its tests come late."""
SESSION = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark what this session starts, and give children the default signals."""
    if hasattr(config, "workerinput"):
        default_signals()
        return
    config.stash[SESSION] = processes.mark(processes.SESSION)
    if not config.getoption("numprocesses", None):
        default_signals()


def default_signals() -> None:
    """Let children be interrupted though this process may not be, as under `nohup make test &`.

    What is ignored is inherited through exec, a handler is not: one that does nothing ignores as well, here alone.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, ignore)


def ignore(number: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing."""


def pytest_unconfigure(config: pytest.Config) -> None:
    """Whatever happened (Ctrl-C, a worker that was killed), end what is left of the session."""
    if SESSION in config.stash:
        processes.end(processes.marked(processes.SESSION, config.stash[SESSION]))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for `--dist loadgroup`: the chain of those that need Ray first, then file by file."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=rank)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run ungrouped, where versions of pytest and pytest-xdist do not fit: each process would start a Ray."""
    if session.config.getoption("loadgroup", False):
        assert all("@" in item.nodeid for item in session.items), "pytest-xdist does not group: see pyproject.toml"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End Ray with the chain's last test: what this process runs next is to find none."""
    try:
        return (yield)
    finally:
        if group(item) == "chain" and (nextitem is None or group(nextitem) != "chain") and "ray" in sys.modules:
            sys.modules["ray"].shutdown()


def group(item: pytest.Item) -> str:
    """Name what a test shares a process with."""
    names = set(getattr(item, "fixturenames", ()))
    if CLUSTER in names:
        return "cluster"
    return "chain" if names & CHAIN else item.path.stem


def rank(item: pytest.Item) -> int:
    """The chain takes longest and campaigns come next; what is quick comes last, so that all processes end together."""
    if (name := group(item)) in (ranks := {"chain": 0, "cluster": 3}):
        return ranks[name]
    return 1 if item.get_closest_marker("campaign") else 4 if item.get_closest_marker("quick") else 2


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives() -> Iterator[None]:
    """Fail where a process is left when all fixtures have been torn down, and end it."""
    value = processes.mark(processes.PROCESS)
    yield
    _, left = psutil.wait_procs(processes.marked(processes.PROCESS, value), timeout=processes.ENDING_S)
    told = [processes.describe(process) for process in left]
    processes.end(left)
    assert not told, "processes outlive their tests:\n" + "\n".join(told)
