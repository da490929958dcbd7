"""Paths on the command line: absolute once, by one name, whatever the folder they are written in."""

from __future__ import annotations

import dataclasses
import os
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

from pipelines import cli
from pipelines.errors import UserError
from pipelines.places import (
    CHECKPOINT_DOCUMENT,
    _word,
    absolute_arguments,
    absolute_recipe,
    absolute_run,
)
from pipelines.tracking import workspace
from tasks.data import storage
from tasks.learn.checkpoint import DOCUMENT_FILE

pytestmark = pytest.mark.quick


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder three levels down, which is the current one."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def test_one_dataset_has_one_name(here: Path, tmp_path: Path) -> None:
    names = [
        "data",
        "./data",
        "data/",
        "../c/data",
        "x/../data",
        "../../b//c/./data",
        str(here / "data"),
        "../c/data/.",
    ]
    assert {storage.absolute(name) for name in names} == {str(here / "data")}
    assert storage.absolute("../..") == str(tmp_path / "a")
    assert storage.absolute("/..//../x") == "/x"
    assert storage.absolute("~/data") == str(tmp_path / "home" / "data")
    assert storage.absolute(f"file://{here}/data") == str(here / "data")
    for url in ("s3://bucket/a/../b", "https://host/~x", "zip://a.mp4::s3://bucket/x.zip"):
        assert storage.absolute(url) == url


def test_a_link_keeps_its_name_and_two_dots_lead_out_of_what_it_stands_for(here: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "videos").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "disk" / "videos")
    (tmp_path / "disk" / "other").write_text("")
    assert storage.absolute("link/x.mp4") == str(here / "link" / "x.mp4")
    assert storage.absolute("link/../other") == str(tmp_path / "disk" / "other")
    assert os.path.samefile("link/../other", storage.absolute("link/../other"))


def test_a_folder_that_is_gone_is_one_sentence(here: Path) -> None:
    here.rmdir()
    with pytest.raises(UserError, match="the current folder has been removed"):
        storage.absolute("data")
    assert storage.absolute("/data") == "/data"


def test_the_workspace_has_one_name_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_WORK", "../c/../work")
    assert workspace() == str(here.parent / "work")
    monkeypatch.delenv("MAREY_WORK")
    assert workspace() == str(here / "marey-work")


def test_a_run_may_be_a_folder_or_a_name(here: Path) -> None:
    for name in ("first", "0123456789abcdef", "models:/first@best", "models:/first/3", "s3://bucket/run", "2026-11-29"):
        assert absolute_run(name) == name
    (here / "first").mkdir()
    assert absolute_run("first") == "first"  # a folder that holds no network may have a run's name
    (here / "first" / CHECKPOINT_DOCUMENT).write_text("{}")
    assert absolute_run("first") == str(here / "first")
    assert absolute_run("../c/first") == str(here / "first")
    assert absolute_run(".") == str(here)
    (here / "data").mkdir()
    (here / "data" / "dataset.json").write_text("{}")
    assert absolute_run("data") == str(here / "data")
    assert CHECKPOINT_DOCUMENT == DOCUMENT_FILE


def test_a_recipe_may_be_a_file_or_a_built_in_one(here: Path) -> None:
    assert absolute_recipe("demo_tsn") == "demo_tsn"
    assert absolute_recipe("demo_tsn.yaml") == str(here / "demo_tsn.yaml")
    assert absolute_recipe("../demo_tsn") == str(here.parent / "demo_tsn")
    (here / "demo_tsn").write_text("")
    assert absolute_recipe("demo_tsn") == str(here / "demo_tsn")
    assert absolute_recipe("x" * 5000) == "x" * 5000


OTHER_WORDS = {
    *(
        "layout",
        "group",
        "group_column",
        "split",
        "fold",
        "splits",
        "folds",
        "set",
        "address",
        "command",
        "job",
        "jobs",
        "host",
        "allowed_hosts",
        "store",  # an address, or a path that `database_uri` makes absolute
    ),
    *("action", "clip_starts", "score_space", "part", "crops", "weights", "job_id", "settings", "follow"),
}
"""Arguments that are words, and no paths."""


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_argument_says_whether_it_is_a_path(verb: str) -> None:
    args = import_module(cli.module_of(verb)).Args
    for name, hint in get_type_hints(args, include_extras=True).items():
        if "str" in str(hint) or "Path" in str(hint):
            assert (name in OTHER_WORDS) == (_word(hint) is None), f"{verb}: {name}"


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("prepare", {"source": "../v", "out": "../v"}),
        ("verify", {"dataset": "../v"}),
        ("preview", {"dataset": "../v", "out": "../v"}),
        ("train", {"recipe": "../v"}),
        ("tune", {"recipe": "../v"}),
        ("run", {"recipes": ("../v", "demo_tsn")}),
        ("evaluate", {"runs": ("squares", "../v")}),
        ("predict", {"run": "../v", "videos": ("../v",), "out": Path("../v"), "annotate": Path("../v")}),
        ("submit", {"command": ("verify", "../v"), "shared": ("../v",)}),
    ],
)
def test_paths_of_every_verb_become_absolute(here: Path, verb: str, words: dict[str, object]) -> None:
    args = import_module(cli.module_of(verb)).Args(**words)
    found = dataclasses.asdict(absolute_arguments(args))
    absolute = str(here.parent / "v")
    for name, given in words.items():
        expected = tuple(absolute if one == "../v" else one for one in given) if isinstance(given, tuple) else absolute
        assert found[name] == (given if name == "command" else type(given)(expected))


def test_an_empty_path_is_not_the_current_folder(here: Path) -> None:
    args = import_module("pipelines.commands.prepare").Args(source="", out="x")
    with pytest.raises(UserError, match="source is empty: give a path"):
        absolute_arguments(args)
