"""Trainings on hosts that are lost, cut off and taken away: each ends with the bits of an undisturbed one."""

import hosts
import pytest
from host_training import Trainings

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def trainings():
    """Return what trains on three hosts, whose head has no CPU for that."""
    with hosts.network(1) as network:
        made = Trainings(network)
        made.start_head()
        with made.mlflow():
            yield made


@pytest.fixture
def pair(trainings):
    """Return the two hosts that train; new ones are in the places of those that a test before has lost."""
    while len(trainings.network.hosts) < 3:
        trainings.join()
    return trainings.network.hosts[1:]


def test_over_two_hosts(trainings, pair):
    with trainings.started("two", workers=2) as training:
        training.reach(1)
        assert [trainings.workers(host) for host in pair] == [1, 1]
        training.end()
    trainings.check("two")
