"""Trainings on hosts that are lost, cut off and taken away: each ends with the bits of an undisturbed one."""

import signal
import time

import hosts
import pytest
from host_training import STEPS, Trainings

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

ELASTIC = {"workers": [1, 2], "resize_every_s": 3}


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


def step_after(training, workers, times=1):
    """Return the last of the steps after which the training has gone on with so many workers."""
    return int(training.say(rf"going on with {workers} workers? after step (\d+)", times)[1])


@pytest.mark.long
def test_over_two_hosts(trainings, pair):
    with trainings.started("two", workers=2) as training:
        training.reach(1)
        assert [trainings.workers(host) for host in pair] == [1, 1]
        training.end()
    trainings.check("two")


def test_a_host_is_lost_and_another_joins(trainings, pair):
    with trainings.started("joined", **ELASTIC) as training:
        training.reach(10)
        pair[1].unplug()
        training.say(f"lost the machine {pair[1].address}")
        assert step_after(training, 1) >= 5
        trainings.join()
        assert step_after(training, 2) < STEPS
        training.end()
    trainings.check("joined")


@pytest.mark.long
def test_a_host_is_taken_away_at_a_deadline(trainings, pair):
    with trainings.started("drained", **ELASTIC, max_failures=0) as training:
        training.reach(6)
        gone = pair[1].drain(8)
        said = training.say(r"1 machine is taken away in \d+ s: made a checkpoint after step (\d+)")
        assert step_after(training, 1) >= int(said[1]) > 0
        assert time.monotonic() - gone < 120
        training.end()
    trainings.check("drained")


@pytest.mark.long
def test_a_lost_host_without_a_spare_and_on_with_fewer(trainings, pair):
    with trainings.started("fewer", workers=2) as training:
        training.reach(10)
        pair[0].unplug()
        told = training.say(r"waiting since .*")[0]
        assert "for room for 2 workers with 1 CPU each: the cluster has 1 CPU; it goes on by itself" in told
        assert told.endswith("or stop it, and go on with `--workers 1` by the same command")
        training.send(signal.SIGINT)
        assert training.process.wait(60) == 130, training.said()
    with trainings.started("fewer", workers=1) as training:
        assert step_after(training, 1) >= 5
        training.end()
    trainings.check("fewer")
