"""`marey run` of several recipes on several splits: the two-stream protocol of UCF101 and HMDB51 in one command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines import recipe as recipes
from pipelines.commands import run as command
from pipelines.errors import UserError
from pipelines.run import average
from pipelines.run.every_split import to_text
from pipelines.tracking import tracking_uri, workspace
from pipelines.tracking.tracker import client
from tasks.data import open_dataset
from tasks.data.settings import PrepareSettings
from tasks.video import TVL1

trains = pytest.mark.campaign  # two streams on two splits: two minutes


@pytest.fixture(scope="module")
def listed(videos, tmp_path_factory):
    """A table of the squares, in two groups, with two splits that swap test and half of train."""
    path = tmp_path_factory.mktemp("listed") / "squares.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "split1", "split2"])
        for number, video in enumerate(sorted((videos / "train").rglob("*.mp4"))):
            first = number % 2 == 0
            parts = ("test", "train") if first else ("train", "test")
            writer.writerow([video, video.parent.name, "even" if first else "odd", *parts])
    return path


@pytest.fixture(scope="module")
def streams(listed, tmp_path_factory):
    """Recipes of both streams, on one preparation."""
    root = tmp_path_factory.mktemp("streams")
    rgb = recipes.parse(
        {
            "name": "rgb",
            "data": {"dataset": str(root / "dataset"), "source": str(listed), "layout": "csv"},
            "model": {"name": "tsn", "options": {"tiny": True}},
            "input": {"size": 32, "segments": 2},
            "train": {"epochs": 1, "batch_size": 4, "lr": 0.05, "loader_threads": 1},
            "evaluate": {"crops": 1, "clips": 2, "segments": 2},
        }
    )
    settings = PrepareSettings(short_side=64, shard_videos=16, tvl1=TVL1(scales=2, warps=1, outer_iterations=2))
    rgb = replace(rgb, prepare=settings)
    return [rgb, recipes.replaced(rgb, {"name": "flow", "model.stream": "flow"})]


@pytest.fixture(scope="module")
def result(ray, streams, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_WORK", str(work))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield average(streams, splits=["all"], progress=False)


@trains
def test_every_split_is_trained_scored_and_fused_from_one_preparation(result):
    assert result.divisions == ["split1", "split2"]
    names = [[one.trained.run_name for one in runs] for runs in result.runs]
    assert names == [["rgb-split1", "flow-split1"], ["rgb-split2", "flow-split2"]]
    assert [one.prepared.new_videos for runs in result.runs for one in runs] == [0, 0, 0, 0]  # `all` had prepared them
    tested = [set(np.load(runs[0].evaluation.scores)["video_ids"]) for runs in result.runs]
    assert len(tested[0]) == len(tested[1]) == 12
    assert not tested[0] & tested[1]


@trains
def test_means_are_those_of_the_splits(result):
    for index, name in enumerate(["rgb", "flow"]):
        alone = [runs[index].evaluation.metrics["test/2view/top1_percent"] for runs in result.runs]
        assert result.mean(name, "top1_percent") == pytest.approx(sum(alone) / 2)
    sums = []
    for runs in result.runs:
        rgb, flow = (np.load(one.evaluation.scores) for one in runs)
        total = rgb["scores_2view"] + 1.5 * flow["scores_2view"]
        sums.append(100 * (total.argmax(1) == rgb["labels"]).mean())
    assert result.mean("together", "top1_percent") == pytest.approx(sum(sums) / 2)
    assert f"{sum(sums) / 2:.2f}" in to_text(result).splitlines()[3]


@trains
def test_the_mean_is_a_run_of_its_own_in_mlflow(result):
    told = json.loads((result.folder / "average.json").read_text())
    run = client(tracking_uri(workspace())).get_run(told["run_id"])
    assert run.info.status == "FINISHED"
    mean = run.data.metrics["mean/together/top1_percent"]
    assert mean == pytest.approx(result.mean("together", "top1_percent"))
    assert set(run.data.tags["average.runs"].split()) == {one.trained.run_id for runs in result.runs for one in runs}


@trains
def test_the_same_call_by_the_command_does_nothing_twice(result, streams, listed, capsys):
    paths = [listed.with_name(f"{recipe.name}.yaml") for recipe in streams]
    for path, recipe in zip(paths, streams, strict=True):
        path.write_text(recipes.dump(recipe))
    before = (result.folder / "average.json").read_text()
    assert command.main(command.Args(recipes=tuple(map(str, paths)), splits=("split1", "split2"))) == 0
    printed = capsys.readouterr().out
    assert to_text(result) in printed
    assert "weighted sums of mean logits of 12 videos" in printed
    assert (result.folder / "average.json").read_text() == before  # the same runs, and the same run of the mean
    assert sorted(open_dataset(streams[0].data.dataset).groups) == ["even", "odd"]
    arguments = command.Args(recipes=tuple(map(str, paths)), splits=("split1", "split2"), json=True)
    assert command.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(run["division"], run["trained"]["run_name"]) for run in told["runs"]] == [
        (division, one.trained.run_name)
        for division, runs in zip(result.divisions, result.runs, strict=True)
        for one in runs
    ]
    assert told["rows"]["together"]["mean"]["top1_percent"] == result.mean("together", "top1_percent")


def test_what_cannot_be_averaged_is_refused(ray, streams):
    with pytest.raises(UserError, match="exclude each other"):
        average(streams, splits=["split1"], folds=["group=odd"], progress=False)
    with pytest.raises(UserError, match="has no group 'nobody'"):
        average(streams[:1], folds=["group=nobody"], progress=False)
    with pytest.raises(UserError, match="two recipes are named rgb"):
        average([streams[0], streams[0]], progress=False)
    with pytest.raises(UserError, match="no recipe is named"):
        command.main(command.Args(recipes=()))
