"""`marey run` and `marey demo`: all steps in one call, none of them twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import recipe as recipes
from pipelines.demo import demo, pairs, to_text
from pipelines.run import run
from pipelines.tracking import resolve
from tasks.data.settings import PrepareSettings
from tasks.stickfigures import FigureSettings
from tasks.stickfigures import videos as figures
from tasks.video import TVL1

FAST_FLOW = TVL1(scales=2, warps=1, outer_iterations=2)


@pytest.fixture
def whole(recipe, videos, tmp_path, monkeypatch):
    """A recipe that begins with the videos."""
    monkeypatch.setenv("MAREY_WORK", str(tmp_path / "work"))
    data = replace(recipe.data, source=str(videos), dataset=str(tmp_path / "dataset"))
    settings = PrepareSettings(short_side=64, shard_videos=16, tvl1=FAST_FLOW)
    return replace(recipe, name="whole", data=data, prepare=settings, train=replace(recipe.train, epochs=2))


def test_run_goes_from_videos_to_an_evaluated_model_and_does_nothing_twice(ray, whole):
    first = run(whole, progress=False)

    assert first.prepared is not None
    assert first.prepared.new_videos == 40
    assert first.evaluation.videos == 8
    assert first.model == "models:/whole/1"
    assert resolve("models:/whole@champion").run_id == first.trained.run_id

    again = run(whole, progress=False)

    assert again.prepared is not None
    assert again.prepared.new_videos == 0
    assert again.trained.finished_before
    assert again.trained.run_id == first.trained.run_id
    assert again.evaluation.metrics == pytest.approx(first.evaluation.metrics)
    assert again.model == first.model

    # Another protocol is evaluated anew, without training.
    other = run(replace(whole, evaluate=replace(whole.evaluate, clips=3, crops=1)), progress=False)

    assert other.trained.finished_before
    assert "test/3view/top1_percent" in other.evaluation.metrics
    assert "test/3view/top1_percent" not in first.evaluation.metrics


@pytest.mark.campaign  # as the wheel's, which runs the demo too
def test_demo_draws_trains_both_networks_and_knows_its_videos_again(ray, tmp_path, monkeypatch):
    monkeypatch.setenv("MAREY_WORK", str(tmp_path))
    settings = FigureSettings(train_clips=1, val_clips=1, test_clips=1, train_people=1, size=48, frames=12)
    cut = ["train.epochs=1", "train.batch_size=10", "prepare.short_side=48", "input.size=32", "compute.workers=1"]

    result = demo(settings, cut)

    assert [row.network for row in result.rows] == ["tsn", "stm"]
    assert "direction accuracy within a pair" in to_text(result)
    videos = Path(result.folder) / "videos"
    drawn = sorted(videos.rglob("*.mp4"))
    assert len(drawn) == 3 * len(figures.actions())
    assert json.loads(videos.with_suffix(".json").read_text())["frames"] == 12
    stamps = [path.stat().st_mtime_ns for path in drawn]

    demo(settings, cut)

    assert [path.stat().st_mtime_ns for path in drawn] == stamps


def test_pairs_tells_order_from_appearance():
    import numpy as np

    names = sorted(action.name for action in figures.actions())
    down, up, wave = (names.index(name) for name in ("sit_down", "stand_up", "wave_slow"))
    labels = np.array([down, up, wave])
    scores = np.zeros((3, len(names)))
    scores[:2, down] = 1  # finds the pair, cannot tell the way round
    assert pairs(scores, labels, names) == (50, 100)
    scores[1, wave] = 2  # and now takes one video for another action
    assert pairs(scores, labels, names) == (50, 50)


def test_the_demo_recipes_differ_in_the_network_alone():
    tsn, stm = (recipes.to_dict(recipes.load(name)) for name in ("demo_tsn", "demo_stm"))
    assert tsn["prepare"] == stm["prepare"]
    assert tsn["input"] == stm["input"]
