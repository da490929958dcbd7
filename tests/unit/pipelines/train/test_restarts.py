import pytest
from ray.exceptions import ActorDiedError
from ray.train import Checkpoint, ControllerError, WorkerGroupError

from pipelines.errors import UserError, user_error
from pipelines.train.restarts import Restarts, cause_of


class Preempted(ActorDiedError):
    preempted = True


def report(restarts, checkpoint):
    restarts.after_report(None, [{}], checkpoint)


def fail(restarts, *errors):
    restarts.after_exception(None, dict(enumerate(errors)))


def test_an_error_that_would_come_again_ends_the_training_at_once():
    with pytest.raises(ControllerError) as raised:
        fail(Restarts(3), RuntimeError("connection closed by peer"), UserError("the loss is no longer finite"))
    cause = cause_of(raised.value, "waves")
    assert str(cause) == "the loss is no longer finite"
    cause.__cause__ = raised.value  # as where it is raised from that
    assert user_error(raised.value) is user_error(cause) is cause


def test_failures_count_from_the_last_checkpoint(tmp_path):
    restarts = Restarts(2)
    for checkpoint in (Checkpoint(str(tmp_path)), None):  # without one, a report is no progress
        fail(restarts, ActorDiedError())
        fail(restarts, ActorDiedError())
        report(restarts, checkpoint)
    with pytest.raises(ControllerError) as raised:
        fail(restarts, ValueError("a fault"), ActorDiedError())
    assert str(cause_of(raised.value, "waves")) == "a fault"


def test_machines_that_are_taken_away_do_not_count():
    restarts = Restarts(0)
    for _ in range(5):
        fail(restarts, Preempted(), RuntimeError("connection closed by peer"))
    with pytest.raises(ControllerError):
        fail(restarts, ActorDiedError())


def test_deaths_are_one_line_that_says_how_to_go_on():
    with pytest.raises(ControllerError) as raised:
        fail(Restarts(0), ActorDiedError())
    said = user_error(cause_of(raised.value, "waves"))
    assert str(said).startswith("too many workers of the training have ended (The actor died unexpectedly")
    assert str(said).endswith("the same command goes on with waves from the last checkpoint")
    assert "Ray's controller of the training has ended" in str(cause_of(ActorDiedError(), "waves"))


def test_an_error_of_the_workers_keeps_its_kind():
    error = WorkerGroupError("rank 0", {0: ZeroDivisionError()})
    assert cause_of(error, "waves") is error
