"""The recipes of published datasets: the network in full, and two real steps, cut in size, on data in its layout."""

from __future__ import annotations

from dataclasses import replace

import published_layouts
import pytest
import torch
from prepared import prepare_here

import models
from pipelines import recipe as recipes
from pipelines.recipe import clip_settings
from tasks.clips import ClipLoader
from tasks.clips.augment import clip_shape, train_crop
from tasks.data import open_dataset
from tasks.data.settings import PrepareSettings
from tasks.learn import Identity, fit
from tasks.learn.optim import build_optimizer, smallest_share
from tasks.seeds import generator
from tasks.video import TVL1

CLASSES = {
    "ucf101": 101,
    "hmdb51": 51,
    "ssv1": 174,
    "ssv2": 174,
    "jester": 27,
    "k400": 400,
    "k700": 700,
    "hacs": 200,
    "mit": 339,
    "diving48": 48,
}
GENERATOR = {
    "k400": published_layouts.kinetics,
    "k700": published_layouts.kinetics,
    "mit": published_layouts.moments,
}
PUBLISHED = sorted(file.stem for file in recipes.BUILT_IN.glob("*.yaml") if set(file.stem.split("_")) & set(CLASSES))


def dataset_of(name: str) -> str:
    return next(part for part in name.split("_") if part in CLASSES)


def test_recipes_that_share_a_dataset_prepare_it_alike():
    settings = {}
    for name in PUBLISHED:
        recipe = recipes.load(name)
        assert settings.setdefault(recipe.data.dataset, recipe.prepare) == recipe.prepare, name


def test_every_paper_has_its_datasets():
    wanted = {
        *(
            f"{network}_{data}_{stream}"
            for network in ("tsn", "stin")
            for data in ("ucf101", "hmdb51")
            for stream in ("rgb", "flow")
        ),
        *(f"stm_{data}" for data in ("ucf101", "hmdb51", "ssv1", "ssv2", "jester", "k400")),
        *(f"mtnet_{data}" for data in ("hacs", "k400", "k700", "mit", "ucf101")),
        *(f"{network}_{data}" for network in ("dsts_tpn", "dsts_swin") for data in ("ssv2", "diving48")),
        *(f"stam_{data}" for data in ("ssv2", "k400", "hmdb51")),
    }
    assert wanted <= set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_full_network_takes_the_recipes_clips(name):
    recipe = recipes.load(name)
    classes = CLASSES[dataset_of(name)]
    clip = clip_settings(recipe, [f"class {number}" for number in range(classes)])
    assert clip.size == 224
    with torch.device("meta"):
        network = models.build(recipe.model.name, classes, stream=recipe.model.stream, **recipe.model.options)
        losses = network.losses(torch.empty(2, *clip_shape(clip)), torch.zeros(2, dtype=torch.int64))
    assert losses["logits"].shape == (2, classes)
    assert losses["total"].shape == ()


def test_mtnet_warms_up_for_as_many_steps_as_its_paper_says_but_not_on_ucf101():
    told = {data: recipes.load(f"mtnet_{data}").train for data in ("hacs", "k400", "k700", "mit", "ucf101")}
    assert {data: train.warmup_steps for data, train in told.items()} == {
        **dict.fromkeys(("hacs", "k400", "k700", "mit"), 8000),
        "ucf101": 0,
    }
    assert [data for data, train in told.items() if train.multigrid == "off"] == ["ucf101"]


def test_mtnet_on_ucf101_slows_its_convolutions_alone():
    recipe = recipes.load("mtnet_ucf101")
    with torch.device("meta"):
        network = models.build(recipe.model.name, 101)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, recipe.train).param_groups
    rates = {names[id(p)]: group["lr"] / recipe.train.lr for group in groups for p in group["params"]}
    convolutions = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv3d)}
    assert rates == {name: pytest.approx(0.6 if name in convolutions else 1.0) for name in names.values()}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("mtnet")])
def test_mtnet_sees_224_pixels_of_a_shorter_side_of_320(name):
    recipe = recipes.load(name)
    clip = clip_settings(recipe, ["class"])
    box, _ = train_crop(569, recipe.prepare.short_side, clip, generator("box"))
    assert box[2:] == (224, 224)


def test_diving_is_flipped_alike():
    flips = [recipes.load(name).input.get("flip") for name in PUBLISHED if name.endswith("diving48")]
    assert flips == [0.5] * 4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Make each dataset once, in the real layout, and prepare it as the recipe says, to 64 pixels."""
    done = {}

    def of(name, recipe):
        key = recipe.data.dataset
        if key not in done:
            root = tmp_path_factory.mktemp(name)
            source = GENERATOR.get(name, getattr(published_layouts, name, None))(root / "source")
            settings: PrepareSettings = replace(
                recipe.prepare, short_side=64, shard_videos=4, tvl1=TVL1(scales=2, warps=1, outer_iterations=2)
            )
            done[key] = prepare_here(source, root / "dataset", settings, recipe.data.layout)
        return done[key]

    return of


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_steps_are_taken_on_the_datasets_layout(name, prepared):
    full = recipes.load(name)
    uri = prepared(dataset_of(name), full)
    multigrid = full.train.multigrid != "off"  # takes eight times the batch at a third of the size in its first epoch
    cut = {
        "data.dataset": uri,
        "model.options": {**full.model.options, "tiny": True},
        "input.size": 96 if multigrid else 64,
        "train.batch_size": 4 if name.startswith("dsts") else 2,  # a step is halved
        "train.loader_threads": 1,
        "train.amp": "off",
        "train.epochs": 2 if multigrid or name.startswith("dsts") else 1,
        "train.warmup_epochs": min(full.train.warmup_epochs, 0.5),
        "train.warmup_steps": min(full.train.warmup_steps, 2),
    }
    recipe = recipes.replaced(full, cut)
    data = open_dataset(uri, split=recipe.data.split)
    assert data.parts["train"]
    assert data.parts["test"]
    clip = clip_settings(recipe, data.classes)
    network = models.build(recipe.model.name, len(data.classes), stream=recipe.model.stream, **recipe.model.options)
    training = ClipLoader(data, "train", clip, recipe.train, smallest_share(network))
    ends = [next(network.parameters()), network.get_submodule(network.classifier).weight]
    before = [end.detach().clone() for end in ends]
    identity = Identity(
        model=recipe.model.name,
        stream=recipe.model.stream,
        options={},
        classes=data.classes,
        recipe={},
        dataset_digest=data.digest,
    )
    reports = []
    fit(network, training, None, recipe.train, reports.append, identity=identity, checkpoints=False)

    assert reports[-1].step >= 2
    assert reports[-1].metrics["train/loss"] > 0
    assert not any(torch.equal(end, start) for end, start in zip(ends, before, strict=True))
