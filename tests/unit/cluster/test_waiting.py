import contextlib
import logging
import threading

import pytest

from cluster import waiting

pytestmark = pytest.mark.quick


class Heard(logging.Handler):
    """Keeps what is logged, and says when something is."""

    def __init__(self):
        super().__init__()
        self.lines, self.event = [], threading.Event()

    def emit(self, record):
        self.lines.append(record.getMessage())
        self.event.set()


@pytest.fixture
def heard(monkeypatch):
    heard = Heard()
    monkeypatch.setattr(waiting.log, "level", logging.INFO)
    waiting.log.addHandler(heard)
    yield heard
    waiting.log.removeHandler(heard)


@pytest.fixture
def soon(monkeypatch):
    """Return what has the waits that begin from now on speak at once."""
    monkeypatch.setattr(waiting, "SILENT_S", 3600.0)
    return lambda: monkeypatch.setattr(waiting, "SILENT_S", 0.01)


def test_a_step_that_lasts_says_what_is_waited_for(heard, soon):
    soon()
    with waiting.waiting("Ray to start"):
        assert heard.event.wait(30)
    assert heard.lines == ["waiting for Ray to start"]


def test_the_seconds_count_from_the_last_line(heard, soon):
    with waiting.waiting("Ray to start"):
        soon()
        assert waiting.heard()
        assert heard.event.wait(30)
    assert heard.lines == ["waiting for Ray to start"]


@pytest.mark.parametrize("by", ["come", "a bar", "another wait", "its end", "an error"])
def test_what_is_over_is_not_told_again(heard, soon, by):
    with contextlib.suppress(KeyError), waiting.waiting("Ray to start") as come:
        if by == "come":
            come()
        elif by == "a bar":
            waiting.broken()
        elif by == "another wait":
            with waiting.waiting("the MLflow server to start"):
                pass
        elif by == "an error":
            raise KeyError
        if by != "its end":
            soon()
            waiting.heard()  # anything that is still open would speak
            assert not heard.event.wait(0.3)
    soon()
    waiting.heard()
    assert not heard.event.wait(0.3)
