import math

import pytest

from pipelines.tune import pages, pictures
from pipelines.tune.figures import axes, history, importances
from pipelines.tune.outcome import TrialOutcome
from pipelines.tune.space import Dimension

pytestmark = pytest.mark.quick

SPACE = {
    "train.lr": Dimension("log_uniform", [1e-4, 0.1]),
    "train.optimizer": Dimension("choice", ["sgd", "adamw"]),
    "train.momentum": Dimension("uniform", [0.8, 1], {"train.optimizer": ["sgd"]}),
}


def trials():
    made = []
    for number in range(12):
        values = {"train.lr": 10 ** -(1 + number / 4), "train.optimizer": "sgd" if number % 2 else "adamw"}
        if number % 2:
            values["train.momentum"] = 0.8 + number / 100
        made.append(TrialOutcome(f"t{number}", values, "finished", 80.0 - 3 * number, 3, ended=-number))
    return [*made, TrialOutcome("bad", made[1].values, "failed", None, 0, "no memory")]


def test_the_best_so_far_goes_by_the_time_of_the_end():
    line = history(trials(), "max")
    assert line.names[0] == "t11"
    assert line.best == line.scores == sorted(line.scores)
    assert set(history(trials(), "min").best) == {47.0}


def test_a_trial_crosses_each_axis_where_its_value_is():
    rate, optimizer, momentum = axes(trials(), SPACE)
    assert [axis.label for axis in (rate, optimizer, momentum)] == ["lr", "optimizer", "momentum"]
    assert all(math.isclose(at, 1 - number / 11, abs_tol=1e-9) for number, at in enumerate(rate.positions))
    assert rate.ticks[-1] == (1, "0.1")
    assert optimizer.ticks == [(0, "adamw"), (1, "sgd")]
    assert momentum.positions[:2] == [0, pytest.approx(0.2)]
    assert momentum.ticks[0] == (0, "-")


def test_the_field_that_decides_comes_first():
    parts = importances(trials(), SPACE, 0)
    assert list(parts) == ["lr", "optimizer"]  # momentum is not in all trials
    assert parts["lr"] > 0.7
    assert sum(parts.values()) == pytest.approx(1)
    assert importances(trials()[:3], SPACE, 0) == {}


def test_every_figure_is_a_picture_and_a_page(tmp_path):
    line, lanes, scores = history(trials(), "max"), axes(trials(), SPACE), [80.0 - 3 * number for number in range(12)]
    pictures.draw_history(line, "sweep", "val/top1_percent", tmp_path / "a.png")
    pictures.draw_parallel(lanes, scores, "max", "sweep", "val/top1_percent", tmp_path / "b.png")
    pictures.draw_importances({"lr": 0.9, "dropout": 0.1}, "sweep", tmp_path / "c.png")
    pages.write_history(line, "sweep", "val/top1_percent", tmp_path / "a.html")
    pages.write_parallel(lanes, scores, "min", "sweep", "val/top1_percent", tmp_path / "b.html")
    pages.write_importances({"lr": 0.9, "dropout": 0.1}, "sweep", tmp_path / "c.html")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert all("Plotly.newPlot" in path.read_text() for path in tmp_path.glob("*.html"))
    assert all('src="http' not in path.read_text() for path in tmp_path.glob("*.html"))
