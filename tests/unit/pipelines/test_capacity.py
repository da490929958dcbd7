"""What is believed of a cluster that scales itself, and where the driver of a trial goes."""

from __future__ import annotations

import pytest

from pipelines.compute import capacity
from pipelines.errors import UserError
from pipelines.recipe import ComputeSettings
from pipelines.tune.trial import trial_resources

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), ("CPU=64,GPU=8", {"CPU": 64, "GPU": 8}), (" GPU=8 ", {"GPU": 8}), ("CPU=0", {"CPU": 0})],
)
def test_what_a_cluster_may_grow_to(text: str, expected: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(capacity.GROWS_TO, text)
    assert capacity.stated_resources() == expected


@pytest.mark.parametrize("text", ["64", "CPU:64", "CPU=many", "TPU=4", "CPU=64;GPU=8", "CPU=-1"])
def test_what_is_not_understood_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(capacity.GROWS_TO, text)
    with pytest.raises(UserError, match=r"MAREY_MAX_RESOURCES=.* is not understood: write it as CPU=64,GPU=8"):
        capacity.stated_resources()


def test_the_driver_of_a_trial_goes_to_a_machine_that_is_kept() -> None:
    several = ComputeSettings(workers=2)
    assert trial_resources(several, {"CPU": 8}) == {"cpu": 0, "memory": 1}
    assert trial_resources(several, {"CPU": 8, "on_demand": 1000}) == {"cpu": 0, "memory": 1, "on_demand": 0.001}


def test_a_trial_that_trains_in_its_own_process_goes_where_workers_go() -> None:
    assert "on_demand" not in trial_resources(ComputeSettings(workers=1), {"CPU": 8, "on_demand": 1000})
