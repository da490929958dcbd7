import pytest
import torch

from pipelines.tracking import RunFolder
from pipelines.train.alone import Alone
from pipelines.train.notices import Notices

pytestmark = pytest.mark.quick

ALONE = Alone(torch.device("cpu"), None)


def test_a_training_stops_once_it_is_asked_to(tmp_path):
    folder = RunFolder(str(tmp_path))
    assert [Notices(folder, ALONE, drains=False, tell=print)(step) for step in (1, 2, 3)] == ["go"] * 3
    folder.ask_to_stop()
    assert Notices(folder, ALONE, drains=False, tell=print)(4) == "stop"
    folder.clear_stop()
    assert Notices(folder, ALONE, drains=False, tell=print)(5) == "go"


def test_it_asks_every_few_seconds_and_not_after_every_step(tmp_path, monkeypatch):
    folder, clock = RunFolder(str(tmp_path)), iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock) * 0.1)
    notices = Notices(folder, ALONE, drains=False, tell=print)
    asked = []
    monkeypatch.setattr(folder, "is_asked_to_stop", lambda: bool(asked.append(step)))
    for step in range(1, 200):
        notices(step)
    assert asked[:2] == [1, 2]
    assert len(asked) < 40
