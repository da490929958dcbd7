"""Trainings on hosts that are lost, cut off and taken away: each ends with the bits of an undisturbed one."""

import re
import signal
import time
from pathlib import Path

import hosts
import pytest
from host_training import LIMIT_S, SOON, STEPS, Trainings

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

ELASTIC = {"workers": [1, 2], "resize_every_s": 3}


@pytest.fixture(scope="module")
def trainings():
    """Return what trains on three hosts, whose head has no CPU for that."""
    with hosts.network(1) as network:
        made = Trainings(network)
        with made.up(SOON):
            yield made


@pytest.fixture
def pair(trainings):
    """Return the two hosts that train, whatever a test before has lost or stopped."""
    trainings.start_mlflow()
    return trainings.pair()


def lose_and_join(trainings, training, host):
    """Have an elastic training by two workers lose a host, go on by one, and by two again, to its end."""
    host.unplug()
    training.say(f"lost the machine {host.address}")
    assert training.step_after(1) >= 5
    trainings.join()
    assert training.step_after(2) < STEPS
    training.end()


@pytest.mark.long
def test_over_two_hosts(trainings, pair):
    with trainings.started("two", workers=2) as training:
        training.reach(1)
        assert [host.runs("RayTrainWorker") for host in pair] == [1, 1]
        training.end()
    trainings.check("two")


def test_a_host_is_lost_and_another_joins(trainings, pair):
    with trainings.started("joined", **ELASTIC) as training:
        training.reach(10)
        lose_and_join(trainings, training, pair[1])
    trainings.check("joined")


@pytest.mark.long
def test_a_host_is_taken_away_at_a_deadline(trainings, pair):
    before = trainings.controller_logs()
    with trainings.started("drained", **ELASTIC, max_failures=0) as training:
        training.reach(6)
        gone = pair[1].drain(8)
        said = training.say(r"1 machine is taken away in \d+ s: made a checkpoint after step (\d+)")
        assert training.step_after(1) >= int(said[1]) > 0
        assert time.monotonic() - gone < 120
        training.end()
    trainings.check("drained")
    (log,) = trainings.controller_logs() - before
    assert "Started training worker group of size 1" in log.read_text()
    assert "startup timed out" not in log.read_text(), "it counted on the host that it knew to leave"


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
        assert training.step_after(1) >= 5
        training.end()
    trainings.check("fewer")


@pytest.mark.long
def test_a_host_is_cut_off_until_it_is_declared_lost(trainings, pair):
    """Its node ends when the link is mended and it hears so; one that is started there anew joins."""
    with trainings.started("cut", workers=2) as training:
        training.reach(10)
        mended = pair[1].cut_for(30)
        training.say(f"lost the machine {pair[1].address}")
        training.say("waiting since .* for room for 2 workers")
        mended.join()
        pair[1].wait_for_end("raylet")
        pair[1].start_ray()
        assert training.step_after(2) >= 5
        training.end()
    trainings.check("cut")


@pytest.mark.long
def test_the_host_of_the_command_is_lost_and_the_command_given_on_another(trainings, pair):
    with trainings.started("moved", on=pair[0], **ELASTIC) as training:
        training.reach(10)
        pair[0].unplug()
        training.process.wait(LIMIT_S)
    with trainings.started("moved", on=pair[1], **ELASTIC) as training:
        told = training.end(2)
    assert "moved is being written by another marey process" in told
    Path(re.search(r"or at once when (\S+) is deleted", told)[1]).unlink()
    with trainings.started("moved", on=pair[1], **ELASTIC) as training:
        assert training.step_after(1) >= 5
        trainings.join()
        assert training.step_after(2) < STEPS
        training.end()
    trainings.check("moved")


@pytest.mark.long
def test_mlflow_is_stopped_and_started_again(trainings, pair):
    with trainings.started("gap", workers=2) as training:
        training.reach(10)
        trainings.stop_mlflow()
        training.reach(60)
        assert list((trainings.work / "runs" / "gap" / "metrics").glob("*.json"))
        trainings.start_mlflow()
        training.end()
    assert "going on with" not in training.said()
    trainings.check("gap")


@pytest.mark.long
def test_the_workspace_is_in_an_object_store_and_a_host_is_lost(trainings, pair):
    """The hosts share no folder for it; its progress comes as an object of the last lines."""
    copy = trainings.network.folder / "copy"
    with trainings.object_store():
        with trainings.started("stored", work="s3://marey/work", **ELASTIC) as training:
            training.say(r"epoch +3/")
            lose_and_join(trainings, training, pair[1])
        trainings.on_head(
            f"import fsspec; fsspec.filesystem('s3').get('marey/work/runs', {str(copy / 'runs')!r}, True)"
        )
    trainings.check("stored", copy)
    assert not (trainings.work / "runs" / "stored").exists()
