"""Tables of docs/networks.md, and of options on the papers' pages, say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from paths import ROOT

import models
from models.common.cost import cost, parameters
from models.common.describe import network_class
from models.common.network import CHANNELS

quick = pytest.mark.quick

TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
OPTIONS = re.compile(r"^Options of ((?:.|\n(?!\n))*):\n\n((?:\|.*\n)+)", re.MULTILINE)
NAMES = [name for name in models.names() if name != "stin"]
"""`stin` is put together from two of the others, whose rows say its size."""


def rows(table: str) -> list[list[str]]:
    """Cells of a table in Markdown below its head."""
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def networks() -> dict[str, tuple[list[int], str, str]]:
    """Clip [T, H, W], parameters and GMACs of every network by the two tables of the page."""
    frames, volumes, *_ = TABLE.findall((ROOT / "docs/networks.md").read_text())
    found = {name: ([8, 224, 224], count, gmacs) for name, _, count, gmacs, _ in rows(frames)}
    for name, clip, count, gmacs, _ in rows(volumes):
        found[name] = ([int(size) for size in clip.split(" x ")], count, gmacs)
    return found


def options_of(name: str) -> Iterator[tuple[str, Any, str]]:
    """Every option of a network on the papers' pages, with its default and values there."""
    for page in (ROOT / "docs/papers").glob("*.md"):
        for title, table in OPTIONS.findall(page.read_text()):
            subject = re.split(r",? from its trunk|, which", title)[0]
            if f"`{name}`" in subject:
                for option, default, values, *_ in rows(table):
                    yield option, yaml.safe_load(default), values


@quick
def test_the_tables_hold_every_network() -> None:
    assert sorted(networks()) == sorted(NAMES)


@quick
@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_the_tables(name: str) -> None:
    with torch.device("meta"):
        network = models.build(name, 400, stream=models.describe(name).streams[0])
    assert f"{parameters(network.deploy()):,}" == networks()[name][1]


@pytest.mark.parametrize("name", NAMES)
def test_cost_of_the_tables(name: str) -> None:
    clip, _, gmacs = networks()[name]
    stream = models.describe(name).streams[0]
    with torch.device("meta"):
        network = models.build(name, 400, stream=stream)
        found = cost(network, torch.empty(1, CHANNELS[stream], *clip))
    assert f"{found.macs / 1e9:.2f}" == gmacs


@quick
def test_streams_of_the_table() -> None:
    frames = TABLE.findall((ROOT / "docs/networks.md").read_text())[0]
    assert {name: streams.split(", ") for name, streams, *_ in rows(frames)} == {
        name: list(models.describe(name).streams) for name in NAMES if name in frames
    }


def protocol(name: str) -> tuple[str, str, str]:
    """How a network's clips are cut in training and in a test, and what is averaged, in the words of the page."""
    about = models.describe(name)
    segments = about.clip["segments"]
    dense = about.clip.get("sampling") == "dense"
    training = f"{segments} frames at a stride of {about.clip['stride']}" if dense else f"{segments} segments"
    clips = f"{about.clips} clip{'s' if about.clips > 1 else ''}"
    drawn = " drawn with a fixed seed" if about.clip_starts == "random" else ""
    units = clips + drawn if about.test_segments == segments else f"{about.test_segments} segments"
    crops = f"{about.crops} crops" + (f" of {about.test_size}" if about.test_size else "")
    return training, f"{units}, {crops}", about.score_space


@quick
def test_protocols_of_the_table() -> None:
    table = TABLE.findall((ROOT / "docs/networks.md").read_text())[2]
    found = {name: (*cells,) for names, *cells in rows(table) for name in re.findall(r"\w+", names)}
    assert found == {name: protocol(name) for name in NAMES}


@quick
@pytest.mark.parametrize("name", models.names())
def test_options_of_the_papers_pages_are_those_of_the_network(name: str) -> None:
    """All of them, with defaults and choices; `tiny`, which every network has, is explained in docs/networks.md."""
    options = network_class(models.describe(name)).Options
    defaults = {field.name: field.default for field in fields(options) if field.name != "tiny"}
    plain = {option: list(value) if isinstance(value, tuple) else value for option, value in defaults.items()}
    documented = list(options_of(name))
    assert len(documented) == len({option for option, *_ in documented}), "an option is listed twice"
    assert {option: default for option, default, _ in documented} == plain
    for option, hint in get_type_hints(options).items():
        if get_origin(hint) is Literal:
            choices = next(values for found, _, values in documented if found == option)
            assert sorted(re.findall(r"\w+", choices)) == sorted(map(str, get_args(hint)))
