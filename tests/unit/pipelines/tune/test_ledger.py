"""What a sweep that goes on takes from its ledger."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from pipelines.recipe import SearchSettings
from pipelines.tracking.run_folder import SweepFolder
from pipelines.tune.ledger import Ledger
from pipelines.tune.outcome import TrialOutcome
from pipelines.tune.search import make_search
from pipelines.tune.space import Dimension

METRIC = "val/loss"
SPACE = {
    "train.lr": Dimension("log_uniform", [0.001, 1.0]),
    "train.optimizer": Dimension("choice", ["sgd", "adamw"]),
    "train.milestones": Dimension("choice", [[1, 2], [3]]),
    "train.momentum": Dimension("uniform", [0.0, 0.9], {"train.optimizer": ["sgd"]}),
}
TRIALS = 16


def settings(sampler: str) -> SearchSettings:
    return SearchSettings(metric=METRIC, mode="min", sampler=sampler, trials=TRIALS, seed=3)


def end(ledger: Ledger, trial_id: str, score: float, status: str = "finished") -> None:
    outcome = TrialOutcome(trial_id, {}, status, None if status == "failed" else score, 2, ended=1.0)
    ledger.end(trial_id, outcome, {} if status == "failed" else {1: score + 1, 2: score})


def search(folder: SweepFolder, sampler: str, stop_after: int = TRIALS) -> list[dict[str, object]]:
    """Go on with a sweep until so many of its trials have been given, each of which ends; return their values."""
    ledger = Ledger(folder, TRIALS)
    searcher = make_search(settings(sampler), SPACE, 1, ledger)
    given = []
    while len(given) < stop_after and ledger.remaining():
        number = f"of tune {len(given)}"
        what = searcher.suggest(number)
        given.append(what["values"])
        score = what["values"]["train.lr"]
        searcher.on_trial_complete(number, {METRIC: score})
        end(ledger, what["trial"], score)
    return given


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_sweep_draws_what_an_undisturbed_one_does(sampler, tmp_path):
    whole = search(SweepFolder(tmp_path / "whole"), sampler)
    assert len({str(values) for values in whole}) == TRIALS
    assert {"train.momentum" in values for values in whole} == {True, False}
    cut = SweepFolder(tmp_path / "cut")
    assert search(cut, sampler, 5) + search(cut, sampler, 7) + search(cut, sampler) == whole
    assert search(cut, sampler) == []


def test_what_was_under_way_comes_first_with_the_id_and_the_values_that_it_had(tmp_path):
    folder = SweepFolder(tmp_path / "cut")
    before = make_search(settings("random"), SPACE, 3, Ledger(folder, TRIALS))
    given = [before.suggest(f"of tune {number}") for number in range(3)]
    end(Ledger(folder, TRIALS), given[1]["trial"], 0.5)
    after = make_search(settings("random"), SPACE, 3, Ledger(folder, TRIALS))
    assert [after.suggest("x"), after.suggest("y")] == [given[0], given[2]]
    assert after.suggest("z")["trial"] not in {one["trial"] for one in given}


def test_what_has_failed_is_tried_again_by_the_next_start_alone(tmp_path):
    folder = SweepFolder(tmp_path / "failed")
    ledger = Ledger(folder, 2)
    ledger.add("a", {"train.lr": 0.1})
    end(ledger, "a", 0, "failed")
    assert ledger.remaining() == 1
    assert Ledger(folder, 2).remaining() == 2
    assert Ledger(folder, 2).entries[0].values == {"train.lr": 0.1}


@pytest.mark.parametrize("content", [{"trials": 3}, {"trials": [{"trial_id": "a"}]}, {"trials": ["a"]}, {}])
def test_a_damaged_ledger_is_one_line(content, tmp_path):
    folder = SweepFolder(tmp_path / "damaged")
    folder.make()
    (tmp_path / "damaged" / "trials.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"trials\.json is damaged \(.*\): put a copy in its place, or delete it"):
        Ledger(folder, 2)
