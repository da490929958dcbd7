"""What `marey prepare` says about a source. The videos are prepared already, so that no Ray is started."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from prepared import prepare_here

from pipelines import cli
from pipelines.recipe import DataSettings
from tasks.data import open_dataset
from tasks.data.settings import PrepareSettings
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.quick
SETTINGS = PrepareSettings(short_side=16, flow="none", val_fraction=0.0)
FLAGS = ["--layout", "csv", "--short-side", "16", "--flow", "none", "--val-fraction", "0"]


@pytest.fixture
def source(tmp_path):
    write_mp4(tmp_path / "clip.mp4", np.zeros((3, 16, 16, 3), np.uint8), 10)
    rows = [f"clip.mp4,{label},{label}{number},P{number},\n" for label in "ab" for number in range(3)]
    (tmp_path / "videos.csv").write_text("path,label,video_id,Person,note\n" + "".join(rows))
    return tmp_path / "videos.csv"


def said(caplog, *words):
    with caplog.at_level(logging.INFO, "pipelines"):
        assert cli.main(["prepare", *map(str, words), *FLAGS]) == 0
    return "\n".join(caplog.messages)


def test_a_split_by_video_says_what_it_risks(source, tmp_path, caplog, capsys):
    out = prepare_here(source, tmp_path / "out", SETTINGS, "csv")
    text = said(caplog, source, out)
    assert f"ignored columns of {source}: 'Person', 'note' (--group-column NAME takes one as the group)" in text
    assert "by video, with seed 0; a person or scene of several videos may be in train and test alike" in text
    assert "name groups by --group PATTERN" in text
    assert "6 of 6 ok" in capsys.readouterr().out


def test_a_split_of_one_part_risks_nothing(source, tmp_path, caplog, capsys):
    settings = replace(SETTINGS, val_fraction=0, test_fraction=0)
    out = prepare_here(source, tmp_path / "out", settings, "csv")  # with 0 for 0.0, which is the same
    assert "alike" not in said(caplog, source, out, "--val-fraction", "0", "--test-fraction", "0")


def test_a_column_of_the_table_names_the_groups(source, tmp_path, caplog, capsys):
    out = prepare_here(source, tmp_path / "out", SETTINGS, "csv", group_column="Person")
    text = said(caplog, source, out, "--group-column", "person")
    assert "ignored columns" in text
    assert "'Person'" not in text
    assert "by group, with seed 0" in text
    assert "alike" not in text
    assert open_dataset(out).groups == ["P0", "P1", "P2"]


def test_evaluation_only_is_said(source, tmp_path, caplog, capsys):
    source.write_text("path,label,part\nclip.mp4,a,test\n")
    out = prepare_here(source, tmp_path / "out", SETTINGS, "csv")
    assert "split 'given' has no train part: it is for evaluation only" in said(caplog, source, out)
    assert open_dataset(out).parts == {"train": 0, "val": 0, "test": 1}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--group", "P", "--group-column", "person"], "group and group_column exclude each other"),
        (["--max-failed", "2"], "max_failed must be from 0 to 1, not 2"),
        (["--group-column", "persn"], "has no column 'persn'; did you mean 'Person'?"),
    ],
)
def test_what_cannot_be_meant_is_one_line(source, tmp_path, capsys, flags, says):
    assert cli.main(["prepare", str(source), str(tmp_path / "out"), *FLAGS, *flags]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_names_reach_the_terminal_escaped(tmp_path, capsys):
    (tmp_path / "videos.csv").write_text("path,label\n\x1b[2Jgone.mp4,jump\n")
    assert cli.main(["prepare", str(tmp_path / "videos.csv"), str(tmp_path / "out"), *FLAGS]) == 2
    error = capsys.readouterr().err
    assert "\\x1b[2Jgone.mp4" in error
    assert "\x1b" not in error


def test_a_recipe_takes_the_same_settings_of_a_source():
    assert DataSettings(dataset="x", group_column="person").group_column == "person"
    with pytest.raises(ValueError, match="exclude each other"):
        DataSettings(dataset="x", group="P", group_column="person")
