"""The short form of the kill campaigns; `make kills` is the long one."""

import pytest
from preparations import Preparations
from sweeps import Sweeps
from trainings import Trainings

pytestmark = [pytest.mark.cluster, pytest.mark.campaign, pytest.mark.timeout(3600)]


def test_shards_are_as_undisturbed_after_kills(tmp_path):
    campaign = Preparations(tmp_path, seed=0, count=18)
    campaign.round(["worker", "decoder", "node", "driver"])
    assert campaign.tally.kills == {"worker": 1, "decoder": 1, "node": 1, "driver": 1}


def test_weights_are_as_undisturbed_after_kills(tmp_path):
    todo = ["worker", "node", "driver"]
    with Trainings(tmp_path, seed=0) as campaign:
        while todo:
            todo = campaign.round(todo)
    assert campaign.tally.kills == {"worker": 1, "node": 1, "driver": 1}


def test_the_table_is_as_undisturbed_after_kills(tmp_path):
    todo = ["trial", "driver", "raylet"]
    with Sweeps(tmp_path, seed=0) as campaign:
        while todo:
            todo = campaign.round(todo)
    assert campaign.tally.kills == {"trial": 1, "driver": 1, "raylet": 1}
