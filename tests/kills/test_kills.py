"""The short form of the kill campaign; `make kills` is the long one."""

import pytest
from preparations import Campaign

pytestmark = [pytest.mark.cluster, pytest.mark.campaign, pytest.mark.timeout(3600)]


def test_shards_are_as_undisturbed_after_kills(tmp_path):
    campaign = Campaign(tmp_path, seed=0, count=18)
    campaign.round(["worker", "decoder", "node", "driver"])
    assert campaign.tally.kills == {"worker": 1, "decoder": 1, "node": 1, "driver": 1}
