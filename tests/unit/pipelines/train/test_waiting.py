import pytest

from pipelines.recipe.settings import ComputeSettings
from pipelines.train.waiting import waiting_line

pytestmark = pytest.mark.quick

SINCE = 1_000_000.0


def line(compute, have, free):
    return waiting_line(compute, have, free, SINCE, SINCE + 35)


def test_it_says_what_is_missing_since_when_and_how_to_go_on_with_fewer():
    said = line(ComputeSettings(workers=2), {"CPU": 1.0}, {"CPU": 1.0})
    assert "(35 s) for room for 2 workers with 1 CPU each: the cluster has 1 CPU; " in said
    assert "`--workers 1` by the same command" in said


def test_it_says_that_other_work_holds_the_cpus():
    said = line(ComputeSettings(workers=3, cpus_per_worker=2), {"CPU": 8.0}, {"CPU": 5.0})
    assert "3 workers with 2 CPU each: the cluster has 8 CPU, of which other work holds 3" in said
    assert "`--workers 2`" in said
    assert "go on later" in line(ComputeSettings(workers=1), {"CPU": 1.0}, {})


def test_it_names_the_kind_that_is_missing():
    said = line(ComputeSettings(workers=2, gpus_per_worker=1), {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0})
    assert "2 workers with 1 GPU each: the cluster has 1 GPU; " in said


def test_it_says_nothing_where_there_is_room():
    assert line(ComputeSettings(workers=(2, 8)), {"CPU": 2.0}, {"CPU": 2.0}) is None
