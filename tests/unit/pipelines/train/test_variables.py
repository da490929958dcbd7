import os

import pytest

from cluster.environment import set_where_unset
from pipelines.recipe.settings import ComputeSettings
from pipelines.train.variables import variables

pytestmark = pytest.mark.quick

DETECTOR = "RAY_TRAIN_ENABLE_NCCL_HANG_DETECTOR"


def test_hangs_are_detected_where_several_gpus_train():
    found = variables(ComputeSettings(workers=(1, 2), gpus_per_worker=1), drains=False)
    assert (found[DETECTOR], found["RAY_TRAIN_NCCL_RAS_ACTION"]) == ("1", "fail")
    host, port = found["NCCL_RAS_ADDR"].split(":")
    assert (host, port.isdecimal()) == ("localhost", True)


@pytest.mark.parametrize("compute", [ComputeSettings(workers=2), ComputeSettings(gpus_per_worker=1)])
def test_hangs_are_not_looked_for_without_nccl(compute):
    assert not {DETECTOR, "NCCL_RAS_ADDR"} & set(variables(compute, drains=True))


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv(DETECTOR, "0")
    monkeypatch.delenv("NCCL_RAS_ADDR", raising=False)
    with set_where_unset({DETECTOR: "1", "NCCL_RAS_ADDR": "localhost:28029"}):
        assert (os.environ[DETECTOR], os.environ["NCCL_RAS_ADDR"]) == ("0", "localhost:28029")
    assert os.environ[DETECTOR] == "0"
    assert "NCCL_RAS_ADDR" not in os.environ


def test_machines_are_watched_where_they_can_be_taken_away():
    watched, alone = (variables(ComputeSettings(), drains=drains) for drains in (True, False))
    assert "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER" not in watched
    assert alone["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] == "0"
