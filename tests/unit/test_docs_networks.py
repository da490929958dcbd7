"""Tables of docs/networks.md, and of options on the papers' pages, say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
import yaml
from paths import ROOT

import models
from models.common.cost import cost, parameters
from models.common.describe import network_class
from models.common.network import CHANNELS

pytestmark = pytest.mark.quick

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


def options_of(name: str) -> Iterator[tuple[str, Any]]:
    """Every option of a network on the papers' pages, with its default there."""
    for page in (ROOT / "docs/papers").glob("*.md"):
        for title, table in OPTIONS.findall(page.read_text()):
            subject = re.split(r",? from its trunk|, which", title)[0]
            if f"`{name}`" in subject:
                for option, default, *_ in rows(table):
                    yield option, yaml.safe_load(default)


def test_the_tables_hold_every_network() -> None:
    assert sorted(networks()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_cost_of_the_table(name: str) -> None:
    clip, count, gmacs = networks()[name]
    about = models.describe(name)
    stream = about.streams[0]
    with torch.device("meta"):
        network = models.build(name, 400, stream=stream).deploy()
        assert f"{parameters(network):,}" == count
        # The last layer is so small a part that the views of `marey models`, at other numbers of classes, agree.
        macs = cost(network, torch.empty(1, CHANNELS[stream], *clip)).macs
    assert f"{macs / 1e9:.2f}" == gmacs


def test_streams_of_the_table() -> None:
    frames = TABLE.findall((ROOT / "docs/networks.md").read_text())[0]
    assert {name: streams.split(", ") for name, streams, *_ in rows(frames)} == {
        name: list(models.describe(name).streams) for name in NAMES if name in frames
    }


@pytest.mark.parametrize("name", models.names())
def test_options_of_the_papers_pages_are_those_of_the_network(name: str) -> None:
    """All of them, with their defaults; `tiny`, which every network has, is explained in docs/networks.md."""
    options = network_class(models.describe(name)).Options
    defaults = {field.name: field.default for field in fields(options) if field.name != "tiny"}
    plain = {option: list(value) if isinstance(value, tuple) else value for option, value in defaults.items()}
    documented = list(options_of(name))
    assert len(documented) == len(dict(documented)), "an option stands there twice"
    assert dict(documented) == plain
