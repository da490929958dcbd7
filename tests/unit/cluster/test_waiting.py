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


def test_a_step_that_lasts_says_what_is_waited_for(heard, monkeypatch):
    monkeypatch.setattr(waiting, "SILENT_S", 0.05)
    with waiting.waiting("Ray to start"):
        assert heard.event.wait(30)
    assert heard.lines == ["waiting for Ray to start"]


def test_what_is_waited_for_within_takes_the_place_of_what_is_around(heard, monkeypatch):
    monkeypatch.setattr(waiting, "SILENT_S", 0.05)
    with waiting.waiting("libraries to load"), waiting.waiting("Ray to start"):
        assert heard.event.wait(30)
    with waiting.waiting("libraries to load"):
        waiting.broken()  # by a bar
        heard.event.clear()
        with waiting.waiting("the last"):
            assert heard.event.wait(30)
    assert heard.lines == ["waiting for Ray to start", "waiting for the last"]


def test_one_that_has_come_or_has_ended_says_nothing(heard, monkeypatch):
    before = threading.active_count()
    with waiting.waiting("Ray to start") as over:
        over()
    with pytest.raises(KeyError), waiting.waiting("Ray to start"):
        raise KeyError
    monkeypatch.setattr(waiting, "SILENT_S", 0.05)
    with waiting.waiting("the next one"):  # by then the others would have spoken
        assert heard.event.wait(30)
    assert heard.lines == ["waiting for the next one"]
    assert threading.active_count() <= before + 1


def test_the_seconds_count_from_the_last_line(heard, monkeypatch):
    monkeypatch.setattr(waiting, "SILENT_S", 0.2)
    with waiting.waiting("Ray to start"):
        for _ in range(10):
            assert not heard.event.wait(0.05)
            waiting.heard()
        assert heard.event.wait(30)
    assert heard.lines == ["waiting for Ray to start"]
