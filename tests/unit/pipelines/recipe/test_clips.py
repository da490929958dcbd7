"""Clip settings of a recipe: the paper's, the recipe's, and the flip rule."""

from __future__ import annotations

import logging
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from small_dataset import write_dataset

import models
from models import describe
from models.common.errors import ModelError
from pipelines import recipe
from pipelines.errors import UserError
from pipelines.evaluate.protocol import protocols
from pipelines.recipe import (
    DataSettings,
    EvaluateSettings,
    ModelSettings,
    Recipe,
    check_dataset,
    clip_settings,
    published_clip,
    view_settings,
)
from pipelines.recipe.clips import sided
from tasks.clips import ClipSettings
from tasks.clips.augment import Box, make_clip
from tasks.data import open_dataset

pytestmark = pytest.mark.quick


def of(**overrides: object) -> Recipe:
    content = {"name": "x", "data": {"dataset": "d"}, "model": {"name": "stm"}}
    return recipe.parse(content, {name.replace("__", "."): value for name, value in overrides.items()})


def test_takes_the_networks_published_values() -> None:
    rgb = clip_settings(of(), ["a", "b"])
    assert (rgb.segments, rgb.snippet, rgb.size, rgb.flip) == (8, 1, 224, 0.5)
    assert len(rgb.scales) == 4
    assert len(rgb.mean) == 3
    flow = clip_settings(of(model__name="tsn", model__stream="flow"), ["a", "b"])
    assert (flow.segments, flow.snippet, flow.mean, flow.std) == (3, 5, (0.5,), (0.226,))
    assert len(flow.scales) == 3


NETWORKS = [(name, stream) for name in models.names() for stream in "+".join(describe(name).streams).split("+")]


@pytest.mark.parametrize(("name", "stream"), NETWORKS)
def test_every_networks_description_is_a_set_of_a_clips_fields(name: str, stream: str) -> None:
    told, clip = describe(name).training_clip(stream), published_clip(describe(name), stream)
    assert {key: getattr(clip, key) for key in told} == told
    assert [type(getattr(clip, key)) for key in told] == [type(value) for value in told.values()]
    assert "segments" in told
    assert {"seed", "stream"}.isdisjoint(told)


def test_a_description_with_a_field_that_clips_do_not_have_is_found() -> None:
    stm = describe("stm")
    with pytest.raises(ValueError, match="a clip has no field segmnets"):
        published_clip(replace(stm, clip={"segmnets": 8}), "rgb")
    with pytest.raises(ValueError, match="valid integer"):
        published_clip(replace(stm, clip={"segments": "many"}), "rgb")


def test_a_field_of_a_clip_is_a_field_of_input_unless_model_or_train_decide_it() -> None:
    elsewhere = {"stream", "seed", "mean", "std", "snippet_step", "target"}
    assert {field.name for field in fields(ClipSettings)} - elsewhere == set(of().input)
    assert set(recipe.to_dict(of())["input"].values()) == {None}
    for name in elsewhere:
        with pytest.raises(UserError, match=f"unknown field .input.{name}"):
            of(**{f"input__{name}": 1})


def test_input_given_in_python_is_checked() -> None:
    arguments = {"name": "x", "data": DataSettings(dataset="/d"), "model": ModelSettings(name="stm")}
    given = Recipe(**arguments, input={"size": 32, "flip": 0})
    assert (given.input["size"], given.input["segments"]) == (32, None)
    assert recipe.digest(given) == recipe.digest(of(data__dataset="/d", input__size=32, input__flip=0.0))
    with pytest.raises(ValueError, match=r"input has no field sise; known: sampling, .*size"):
        Recipe(**arguments, input={"sise": 32})
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        Recipe(**arguments, input={"size": 0})


def test_the_recipe_wins() -> None:
    given = of(input__segments=4, input__size=112, input__scales=[1.0], input__max_distort=0, train__seed=7)
    clip = clip_settings(given, ["a"])
    assert (clip.segments, clip.size, clip.scales, clip.max_distort, clip.seed) == (4, 112, (1.0,), 0, 7)


def test_options_of_the_network_change_its_clips() -> None:
    spatial = {"model__name": "stin_spatial"}
    assert cut(**spatial) == (2, 1, "none")
    assert cut(**spatial, model__options={"tiny": True, "ad_delta": 3}) == (2, 3, "none")
    assert cut(**spatial, model__options={"ad_mode": "segment"}) == (1, 1, "none")
    assert cut(**spatial, model__options={"ad_target": "flow"}) == (2, 1, "flow")
    with pytest.raises(ModelError, match="unknown option 'ad_modes' of stin_spatial"):
        cut(**spatial, model__options={"ad_modes": "segment"})
    with pytest.raises(UserError, match=r"input\.snippet=3: stin_spatial learns the flow between two frames"):
        cut(**spatial, model__options={"ad_target": "flow"}, input__snippet=3)


def cut(**overrides: object) -> tuple[int, int, str]:
    clip = clip_settings(of(**overrides), ["a"])
    return clip.snippet, clip.snippet_step, clip.target


def test_test_clips_are_single_frames_unless_the_auxiliary_scores_are_added() -> None:
    def of_test(options: dict[str, object]) -> tuple[int, int]:
        recipe = of(model__name="stin_spatial", model__options=options)
        clip = view_settings(clip_settings(recipe, ["a"]), describe("stin_spatial", options))
        return clip.snippet, clip.snippet_step

    assert of_test({"ad_delta": 3})[0] == of_test({"ad_target": "flow"})[0] == 1
    assert of_test({"fuse_aux": True, "ad_delta": 3}) == (2, 3)


@pytest.mark.parametrize(("name", "stream"), [("stin_spatial", "rgb"), ("stin_temporal", "flow")])
def test_the_trunk_of_the_public_weights_gets_what_they_expect(name: str, stream: str) -> None:
    """Red, green and blue in 0..255 less 128, 117 and 104 (the network turns the order around); flow less 128."""
    given = of(model__name=name, model__stream=stream, model__options={"backbone": "bninception"}, input__size=32)
    clip = clip_settings(given, ["a"])
    items = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3) if stream == "rgb" else (15, 2, 32, 32), np.uint8)
    found = make_clip(items, Box(0, 0, 32, 32), False, clip)
    if stream == "rgb":
        expected = items.transpose(3, 0, 1, 2) - np.array([128.0, 117, 104]).reshape(3, 1, 1, 1)
    else:
        expected = items.reshape(3, 10, 32, 32).transpose(1, 0, 2, 3) - 128.0
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_recipe_chooses_the_sampling() -> None:
    published = clip_settings(of(), ["a"])
    assert (published.sampling, published.stride, published.short) == ("segments", 1, "clamp")
    dense = clip_settings(of(input__sampling="dense", input__stride=8, input__short="loop"), ["a"])
    assert (dense.sampling, dense.segments, dense.stride, dense.short) == ("dense", 8, 8, "loop")
    for field, value in (("stride", 8), ("short", "loop")):
        with pytest.raises(UserError, match=f"input.{field} applies to dense clips, and these are segments"):
            clip_settings(of(**{f"input__{field}": value}), ["a"])
    with pytest.raises(UserError, match=r"input\.sampling should be 'segments' or 'dense', but is 'sparse'"):
        of(input__sampling="sparse")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"area": [0.2, 1.0]}, r"input\.area applies to crops by area: set input\.crop=area, or leave it out"),
        ({"aspect": [1.0, 1.0]}, r"input\.aspect applies to crops by area"),
        ({"crop": "area", "scales": [1.0]}, r"input\.scales applies to crops by scales"),
        ({"crop": "area", "max_distort": 0}, r"input\.max_distort applies to crops by scales"),
        ({"rand_magnitude": 5.0}, r"input\.rand_magnitude applies to RandAugment: set input\.rand_augment"),
    ],
)
def test_a_field_that_would_change_nothing_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        clip_settings(of(**{f"input__{name}": value for name, value in given.items()}), ["a"])


@pytest.mark.parametrize("name", ["color_jitter", "degrade", "rand_augment", "erase"])
def test_changes_of_pictures_are_refused_for_flow(name: str) -> None:
    flow = of(model__name="tsn", model__stream="flow", **{f"input__{name}": 1})
    with pytest.raises(UserError, match=rf"input\.{name} applies to rgb clips, and these are of flow: leave it out"):
        clip_settings(flow, ["a"])
    learns = {"model__name": "stin_spatial", "model__options": {"ad_target": "flow"}, f"input__{name}": 1}
    if name in ("degrade", "rand_augment"):
        with pytest.raises(UserError, match=rf"input\.{name} moves frames but not the flow between them"):
            clip_settings(of(**learns), ["a"])
    else:
        assert getattr(clip_settings(of(**learns), ["a"]), name) == 1


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_clips_are_not_mixed_where_flow_is_learned(name: str) -> None:
    learns = {"model__name": "stin_spatial", f"train__{name}": 0.8}
    assert clip_settings(of(**learns), ["a"]).target == "none"
    with pytest.raises(UserError, match=rf"train\.{name} mixes frames but not the flow between them, which"):
        clip_settings(of(**learns, model__options={"ad_target": "flow"}), ["a"])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("area", [0.5, 0.2], "area must be two numbers above 0, the smaller one first, not 0.5 and 0.2"),
        ("area", [0.5, 1.5], "area must be at most 1, not 1.5"),
        ("aspect", [0.0, 1.0], "aspect must be two numbers above 0"),
        ("rand_augment", 19, "rand_augment must be from 0 to 18, not 19"),
        ("rand_magnitude", 31.0, "rand_magnitude must be from 0 to 30, not 31.0"),
        ("erase", 1.5, "erase must be from 0 to 1, not 1.5"),
    ],
)
def test_fields_of_changes_are_checked(field: str, value: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        of(**{f"input__{field}": value})


def test_a_clip_of_an_older_checkpoint_is_read() -> None:
    """It lacks what came later; so did its training."""
    later = ("snippet_step", "short", "target")
    kept = {name: value for name, value in asdict(clip_settings(of(), ["a"])).items() if name not in later}
    assert ClipSettings(**kept) == clip_settings(of(), ["a"])


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("stm", {}, ["1 clip x centre crop, 8 segments", "10 random clips x 3 crops, 8 segments"]),
        (
            "stm",
            {"evaluate__clip_starts": "even"},
            ["1 clip x centre crop, 8 segments", "10 clips x 3 crops, 8 segments"],
        ),
        ("stm", {"evaluate__clips": 1}, ["1 clip x centre crop, 8 segments", "1 clip x 3 crops, 8 segments"]),
        ("tsn", {}, ["1 clip x centre crop, 3 segments", "1 clip x 10 crops, 25 segments"]),
        (
            "tsn",
            {"input__sampling": "dense", "input__stride": 4, "evaluate__clips": 2},
            ["1 clip x centre crop, 3 frames at stride 4", "2 clips x 10 crops, 3 frames at stride 4"],
        ),
        (
            "tsm",
            {"evaluate__clip_starts": "random", "evaluate__seed": 3},
            ["1 clip x centre crop, 8 segments", "2 random clips x 3 crops, 8 segments, 256 pixels"],
        ),
    ],
)
def test_protocols_of_an_evaluation(name: str, overrides: dict[str, object], expected: list[str]) -> None:
    recipe = of(model__name=name, **overrides)
    found = protocols(describe(name), recipe.evaluate, clip_settings(recipe, ["a"]))
    assert [str(protocol) for protocol in found] == expected
    assert found[0].seed is None
    assert found[1].seed == (recipe.evaluate.seed if "random" in expected[1] else None)


def test_clips_are_drawn_alike_for_every_run() -> None:
    """The seed is the protocol's: two trainings are judged by the same frames."""
    runs = (of(train__seed=1), of(train__seed=2))
    drawn = {protocols(describe("stm"), run.evaluate, clip_settings(run, ["a"]))[1].seed for run in runs}
    assert drawn == {0}
    assert EvaluateSettings().clip_starts is None


def test_a_dataset_without_flow_cannot_teach_it(tmp_path: Path) -> None:
    without = open_dataset(write_dataset(tmp_path / "data", flow=False))
    check_dataset(without, of(model__name="stin_spatial"))
    with pytest.raises(UserError, match="holds no flow, which stin_spatial learns to predict: prepare it"):
        check_dataset(without, of(model__name="stin_spatial", model__options={"ad_target": "flow"}))


def test_class_weights_name_classes_of_the_dataset(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "data"))
    check_dataset(dataset, of(train__class_weights={"jump": 2}))
    with pytest.raises(UserError, match=r"train\.class_weights: no class of dataset .* is 'jmup'; did you mean 'jump'"):
        check_dataset(dataset, of(train__class_weights={"jmup": 2}))
    with pytest.raises(UserError, match=r"train\.class_weights must be above 0, not 0(\.0)? for 'jump'"):
        of(train__class_weights={"jump": 0})
    with pytest.raises(UserError, match=r"class_weights=balanced and balanced_sampling both even the classes out"):
        of(train__class_weights="balanced", train__balanced_sampling=True)


def test_patience_needs_a_val_part(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    check_dataset(open_dataset(data, split="first"), of(train__patience=2))
    with pytest.raises(UserError, match=r"split second has no val part, which train\.patience watches: choose another"):
        check_dataset(open_dataset(data, split="second"), of(train__patience=2))


def test_one_class_and_enlarged_clips_are_said_in_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def said(of_dataset: str, **overrides: object) -> list[str]:
        caplog.clear()
        check_dataset(open_dataset(of_dataset), of(**overrides))
        return [record.getMessage() for record in caplog.records]

    two, one = write_dataset(tmp_path / "two"), write_dataset(tmp_path / "one", classes=("run",))
    assert said(two, input__size=48) == []
    (line,) = said(two)
    assert line == (
        f"clips of 224 pixels are enlarged from frames of 48 in {two}: set input.size=48, or prepare the videos with "
        "--short-side 224"
    )
    (line,) = said(one, input__size=32)
    assert line.endswith("has one class, run: any network is right about it")


def test_no_flip_where_a_class_tells_left_from_right(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert clip_settings(of(), ["sit", "walk_left", "walk_right"]).flip == 0
    assert [record.getMessage().count("walk_left") for record in caplog.records] == [1]
    assert clip_settings(of(input__flip=0.3), ["walk_left"]).flip == 0.3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("walk left", True),
        ("push_right", True),
        ("SwipeLeft", True),
        ("Pulling two fingers RIGHT-wards", True),
        ("left2right", True),
        ("bright", False),
        ("Uprights", False),
        ("cleft_palate", False),
        ("sit_down", False),
    ],
)
def test_sided_names(name: str, expected: bool) -> None:
    assert sided(name) is expected
