"""Metrics on their way to a real MLflow server that comes and goes."""

import os
import subprocess
import sys
import threading
import time

import pytest
from mlflow_front import front
from paths import ROOT
from processes import started

from pipelines.errors import UserError
from pipelines.tracking import Tracker, outbox, system
from pipelines.tracking.outbox import DROPPED, Outbox
from pipelines.tracking.store import client

PATIENCE_S = 60.0
"""Time for what takes milliseconds on a quiet machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with front(tmp_path_factory.mktemp("server")) as served, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", served.url)
        for name, value in system.PATIENCE.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield served


@pytest.fixture
def run(server, tmp_path):
    server.away = False
    yield Tracker.start(tmp_path / "work", "waves", params={}, tags={})
    server.away = False


@pytest.fixture
def box(tmp_path):
    return str(tmp_path / "metrics")


def loss(run):
    return run.read_history().get("loss", [])


def line(*steps):
    return [(step, float(step)) for step in steps]


def add(opened, *steps):
    for step in steps:
        opened.add({"loss": float(step)}, step)


def test_what_is_added_while_the_server_is_away_arrives_once_and_in_order(run, server, box):
    with Outbox(box, run.uri, run.run_id) as opened:
        add(opened, 1, 2)
        server.away = True
        begin = time.monotonic()
        for step in range(3, 3000):
            add(opened, step)
        opened.keep()
        assert time.monotonic() - begin < 30  # one request to a server that is away may take as long
        assert outbox.count(box) >= 2000
        server.away = False
    assert opened.close(PATIENCE_S) == 0
    assert loss(run) == line(*range(1, 3000))
    assert outbox.waiting(box) == []


def test_a_request_whose_answer_is_lost_is_not_counted_twice(run, server, box):
    arrived = threading.Event()
    server.after("runs/log-batch", arrived.set)
    with Outbox(box, run.uri, run.run_id) as opened:
        add(opened, 1, 2, 3)
        assert arrived.wait(PATIENCE_S)
        add(opened, 4)
        assert opened.close(PATIENCE_S) == 0
    assert loss(run) == line(1, 2, 3, 4)


def test_what_was_kept_outlives_its_process_and_repeated_steps_are_not_doubled(run, server, box):
    """As a worker that is killed after a checkpoint at step 3, and its successor, which begins with step 4."""
    code = (
        "import sys; from pipelines.tracking.outbox import Outbox; opened = Outbox(*sys.argv[1:]);"
        "[opened.add({'loss': float(step)}, step) for step in (1, 2, 3)]; opened.keep();"
        "[opened.add({'loss': float(step)}, step) for step in (4, 5)]; print('kept', flush=True); sys.stdin.read()"
    )
    server.away = True
    command = [sys.executable, "-c", code, box, run.uri, run.run_id]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout.readline() == b"kept\n"
        worker.kill()
        worker.wait()
    assert outbox.count(box) == 3
    server.away = False
    for steps in ((4, 5, 6), (5, 6, 7)):  # the second as after another death
        with Outbox(box, run.uri, run.run_id) as successor:
            add(successor, *steps)
            assert successor.close(PATIENCE_S) == 0
    assert loss(run) == line(1, 2, 3, 4, 5, 6, 7)


def test_what_is_left_at_the_end_is_counted_and_sent_later(run, server, box):
    server.away = True
    with Outbox(box, run.uri, run.run_id) as opened:
        add(opened, 1, 2)
        assert opened.close(0.1) == 2
    server.away = False
    outbox.send_rest(box, run.uri, run.run_id)
    assert loss(run) == line(1, 2)


def test_no_more_wait_than_the_limit_and_what_is_dropped_is_counted(run, server, box, monkeypatch, caplog):
    monkeypatch.setattr(outbox, "LIMIT", 3)
    server.away = True
    with Outbox(box, run.uri, run.run_id) as opened:
        add(opened, *range(1, 8))
        assert "further ones are dropped" in caplog.text
        server.away = False
        assert opened.close(PATIENCE_S) == 0
    assert loss(run) == line(1, 2, 3)
    assert client(run.uri).get_run(run.run_id).data.tags[DROPPED] == "4"


def test_a_run_that_is_gone_for_good_ends_the_training(run, server, box):
    client(run.uri).delete_run(run.run_id)
    opened = Outbox(box, run.uri, run.run_id)
    add(opened, 1)
    with pytest.raises(UserError, match=f"MLflow refuses the metrics of run {run.run_id}"):
        opened.close(PATIENCE_S)
    with pytest.raises(UserError, match="MLflow refuses"):
        add(opened, 2)


def test_a_damaged_file_is_one_sentence(run, box):
    outbox.put(box, outbox.points({"loss": 1.0}, 1))
    (name,) = outbox.waiting(box)
    with open(f"{box}/{name}", "w") as file:
        file.write("[[1")
    with pytest.raises(UserError, match=rf"{box}/{name} is damaged, and holds metrics for MLflow: delete it"):
        outbox.send_rest(box, run.uri, run.run_id)


def test_every_machine_is_measured_by_one_worker_and_sent_by_rank_0(run, server, box, monkeypatch):
    monkeypatch.setattr(system, "PATIENCE", {})
    places = [
        system.Place(0, 0, True, "10.0.0.1"),
        system.Place(1, 1, True, "10.0.0.1"),
        system.Place(2, 0, True, "10.0.0.2"),
    ]
    for place in reversed(places):
        with system.outbox_of(place, box, run.uri, run.run_id, run.started()) as own:
            assert (own is None) == (place.rank != 0)
    keys = client(run.uri).get_run(run.run_id).data.metrics
    assert {key.rpartition("/")[0] for key in keys} == {"system/10.0.0.1", "system/10.0.0.2"}
    assert {key.rpartition("/")[2] for key in keys} >= {"cpu_utilization_percentage", "system_memory_usage_megabytes"}


def test_system_metrics_go_on_after_a_restart(run, server, box, monkeypatch):
    monkeypatch.setattr(system, "PATIENCE", {})
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.5")
    key, began = "system/cpu_utilization_percentage", run.started()
    for lines in (2, 4):
        with system.outbox_of(system.Place(0, 0, False, ""), box, run.uri, run.run_id, began):
            deadline = time.monotonic() + PATIENCE_S
            while len(client(run.uri).get_metric_history(run.run_id, key)) < lines:
                assert time.monotonic() < deadline
    steps = [point.step for point in client(run.uri).get_metric_history(run.run_id, key)]
    assert steps == sorted(set(steps))
