import pytest

from pipelines.errors import UserError
from pipelines.tune.outcome import TrialOutcome, differs, ranked, reason_of, short_names, table

pytestmark = pytest.mark.quick


def outcome(name, score, status="finished", **values):
    return TrialOutcome(name, values or {"train.lr": 0.1}, status, score, 3)


def test_trials_are_ranked_by_score_and_failed_ones_come_last():
    trials = [outcome("failed", None, "failed"), outcome("nan", float("nan")), outcome("a", 1.0), outcome("b", 2.0)]
    assert [one.name for one in ranked(trials, "max")] == ["b", "a", "failed", "nan"]
    assert [one.name for one in ranked(trials, "min")] == ["a", "b", "failed", "nan"]


def test_fields_are_named_by_the_end_that_tells_them_apart():
    names = short_names(["train.lr", "model.options.dropout", "input.size", "model.options.size"])
    assert list(names.values()) == ["lr", "dropout", "input.size", "options.size"]
    assert differs({"train.lr": 1e-5, "train.nesterov": True, "model.options.dropout": 0.5}) == (
        "lr=1e-05 nesterov=true dropout=0.5"
    )


def test_a_table_shows_where_a_field_was_not_varied():
    trials = [outcome("a", 50.0, **{"train.lr": 0.1}), outcome("b", None, "failed", **{"train.momentum": 0.9})]
    head, *rows = table(trials, "val/loss", ["train.lr", "train.momentum"])
    assert head == ["trial", "lr", "momentum", "val/loss", "epochs", "status"]
    assert rows == [["a", "0.1", "-", "50", "3", "finished"], ["b", "-", "0.9", "-", "3", "failed"]]


def test_a_reason_is_one_line():
    assert reason_of(UserError("the loss is\nno longer finite")) == "the loss is no longer finite"
    assert reason_of(ValueError("bad\nTraceback (most recent call last):")) == "ValueError: bad"
    assert reason_of(KeyError()) == "KeyError"
