"""How a recipe's network wants its clips."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace

from models import Description, describe
from pipelines.errors import UserError
from pipelines.recipe.settings import Recipe
from tasks.clips import ClipSettings

SCALES = {"rgb": (1.0, 0.875, 0.75, 0.66), "flow": (1.0, 0.875, 0.75)}
"""Multi-scale crops of the TSN protocol."""
SIZE = 224
FLIP = 0.5

log = logging.getLogger(__name__)


def clip_settings(recipe: Recipe, classes: Sequence[str]) -> ClipSettings:
    """Return the training clip of a recipe: what it says itself, else what its network's paper does.

    Args:
        recipe: names the network and, in `input`, any departure from its paper.
        classes: class names of the dataset; where one holds left or right as a word, nothing is flipped unless the
            recipe asks for it.

    Raises:
        UserError: the network does not take the recipe's stream, or fields of `input` exclude each other.
        ModelError: wrong options of the network.
    """
    network, given, stream = describe(recipe.model.name, recipe.model.options), recipe.input, recipe.model.stream
    if stream not in network.streams:
        raise UserError(f"model.stream: {network.name} takes {' or '.join(network.streams)}, not {stream}")
    sampling = given.sampling or network.sampling
    for name in ("stride", "short"):
        if sampling == "segments" and getattr(given, name) is not None:
            raise UserError(f"input.{name} is of dense clips, and these are segments: set input.sampling=dense")
    snippet = network.snippet[stream] if given.snippet is None else given.snippet
    if network.target == "flow" and snippet != 2:
        raise UserError(f"input.snippet={snippet}: {network.name} learns the flow between two frames; leave it out")
    return ClipSettings(
        stream=stream,
        sampling=sampling,
        segments=network.segments if given.segments is None else given.segments,
        snippet=snippet,
        snippet_step=network.snippet_step,
        stride=given.stride or network.stride,
        short=given.short or network.short,
        target=network.target,
        size=SIZE if given.size is None else given.size,
        mean=network.mean[stream],
        std=network.std[stream],
        scales=SCALES[stream] if given.scales is None else given.scales,
        max_distort=given.max_distort,
        flip=_flip(classes) if given.flip is None else given.flip,
        color=given.color,
        seed=recipe.train.seed,
    )


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


def _flip(classes: Sequence[str]) -> float:
    name = next((name for name in classes if sided(name)), None)
    if name is None:
        return FLIP
    log.info("no horizontal flips: the class %r tells left from right (input.flip overrides)", name)
    return 0.0
