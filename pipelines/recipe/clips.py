"""The clips of a recipe: `ClipSettings` filled from its network's paper and from its `input`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pydantic import TypeAdapter

from models import Description, describe
from pipelines.errors import UserError
from pipelines.recipe.settings import Recipe
from tasks.clips import ClipSettings

log = logging.getLogger(__name__)

_CLIP = TypeAdapter(ClipSettings)


def check_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of fields of `ClipSettings`, as the types that are declared there.

    Raises:
        ValidationError: a value of the wrong type, or out of range.
        ValueError: a field that a clip does not have.
    """
    unknown = sorted(values.keys() - {field.name for field in fields(ClipSettings)})
    if unknown:
        raise ValueError(f"a clip has no field {unknown[0]}")
    clip = _CLIP.validate_json(json.dumps(values), strict=True)
    return {name: getattr(clip, name) for name in values}


def published_clip(network: Description, stream: str) -> ClipSettings:
    """Return the training clip of a network's paper, for `rgb` or `flow`."""
    return ClipSettings(**check_fields({**network.training_clip(stream), "stream": stream}))


def clip_settings(recipe: Recipe, classes: Sequence[str]) -> ClipSettings:
    """Return the training clip of a recipe: its own values, then those of its network's paper.

    Args:
        recipe: names the network and, in `input`, any departure from its paper.
        classes: class names of the dataset; where one holds left or right as a word, nothing is flipped unless the
            recipe asks for it.

    Raises:
        UserError: the network does not take the recipe's stream, or fields of `input` exclude each other.
        ModelError: wrong options of the network.
    """
    network, stream = describe(recipe.model.name, recipe.model.options), recipe.model.stream
    if stream not in network.streams:
        raise UserError(f"model.stream: {network.name} takes {' or '.join(network.streams)}, not {stream}")
    published = published_clip(network, stream)
    given = {name: value for name, value in recipe.input.items() if value is not None}
    if "flip" not in given and published.flip and (name := next(filter(sided, classes), None)):
        log.info("no horizontal flips: the class %r distinguishes left and right (input.flip overrides)", name)
        given["flip"] = 0.0
    clip = replace(published, **check_fields(given), seed=recipe.train.seed)
    for name in ("stride", "short"):
        if clip.sampling == "segments" and name in given:
            raise UserError(f"input.{name} applies to dense clips, and these are segments: set input.sampling=dense")
    _refuse_idle(clip, given)
    for name in ("mixup", "cutmix"):
        if getattr(recipe.train, name) and clip.target == "flow":
            raise UserError(
                f"train.{name} mixes frames but not the flow between them, which {network.name} learns: leave it out"
            )
    if clip.target == "flow" and clip.snippet != 2:
        raise UserError(
            f"input.snippet={clip.snippet}: {network.name} learns the flow between two frames; leave it out"
        )
    return clip


def _refuse_idle(clip: ClipSettings, given: Mapping[str, Any]) -> None:
    """Raise UserError for a field of `input` that changes nothing, or that would part a clip from its flow."""
    for crops, names in ((("scales", "anywhere"), ("scales", "max_distort")), (("area",), ("area", "aspect"))):
        for name in names:
            if clip.crop not in crops and name in given:
                first = crops[0]
                raise UserError(f"input.{name} applies to crops by {first}: set input.crop={first}, or leave it out")
    if "rand_magnitude" in given and not clip.rand_augment:
        raise UserError("input.rand_magnitude applies to RandAugment: set input.rand_augment, or leave it out")
    for name in ("color_jitter", "degrade", "rand_augment", "erase"):
        if getattr(clip, name) and clip.stream == "flow":
            raise UserError(f"input.{name} applies to rgb clips, and these are of flow: leave it out")
        if getattr(clip, name) and clip.target == "flow" and name in ("degrade", "rand_augment"):
            raise UserError(f"input.{name} moves frames but not the flow between them, which is learned: leave it out")


def view_settings(clip: ClipSettings, network: Description, snippet: int | None = None) -> ClipSettings:
    """Return the settings of a test clip: those of training, but for the snippet where the network's paper, or
    `snippet`, has another.
    """
    published = network.test_snippet
    if snippet is None:
        snippet = clip.snippet if published is None else published[clip.stream]
    return replace(clip, snippet=snippet)


def sided(name: str) -> bool:
    """Tell whether a class name holds left or right as a word: `walk left`, `push_right`, `SwipeLeft`, not `bright`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return any(word.lower() in ("left", "right") for word in words)
