"""Sources and outputs that cannot be prepared, each told in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from squares import SETTINGS, broken, refusal

from pipelines.errors import UserError
from pipelines.prepare import PrepareResult, estimate
from pipelines.prepare.workflow import listing
from tasks.data import PrepareSettings
from tasks.data.lock import Lock

pytestmark = pytest.mark.usefixtures("ray")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refusal(str(tmp_path / "empty"), tmp_path / "out")
    assert "does not exist" in refusal(str(tmp_path / "none"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_readable_video_at_all(tmp_path: Path) -> None:
    names = [f"{label}/{number}.mp4" for label in "ab" for number in range(3)]
    source = broken(tmp_path / "source", *names, "a/empty.mp4")
    says = refusal(source, tmp_path / "out")
    assert "none of the 7 videos" in says
    assert "6 unreadable, 1 empty" in says


def test_two_videos_of_one_id(tmp_path: Path) -> None:
    source = broken(tmp_path / "source", "a/x.mp4", "a/X.mp4")
    assert "same id" in refusal(source, tmp_path / "out")


def test_a_class_too_small_to_be_divided(tmp_path: Path) -> None:
    source = broken(tmp_path / "source", *(f"a/{n}.mp4" for n in range(5)), "b/1.mp4")
    assert "too few" in refusal(source, tmp_path / "out")


def test_an_unknown_layout(videos: Path, tmp_path: Path) -> None:
    assert "did you mean 'folder'" in refusal(str(videos), tmp_path / "out", layout="foldr")


def test_an_output_that_cannot_be_written_is_refused_before_the_source_is_read(tmp_path: Path) -> None:
    for out in ("/dev/null", "/dev/null/out", "/proc/out/here", str(_file(tmp_path / "in the way"))):
        assert f"{out} cannot be written: " in refusal(str(tmp_path / "nowhere"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["in the way"]


def _file(path: Path) -> Path:
    path.touch()
    return path


def test_an_output_inside_its_source(videos: Path) -> None:
    assert "inside the source" in refusal(str(videos), videos / "prepared")
    assert "inside the source" in refusal(str(videos), videos)


def test_an_output_that_holds_something_else(whole: PrepareResult, videos: Path, tmp_path: Path) -> None:
    other = PrepareSettings(short_side=48, shard_videos=8)
    assert "prepared with short_side=32, not 48" in refusal(str(videos), whole.dataset, settings=other)
    source = broken(tmp_path / "source", *(f"{label}/{n}.mp4" for label in "ab" for n in range(3)))
    assert "another dataset" in refusal(source, whole.dataset, settings=SETTINGS)
    assert "not empty" in refusal(str(videos), source)


def test_flow_on_gpus_is_refused_without_any(videos: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, flow_backend="torch")
    assert "Ray knows of none" in refusal(str(videos), tmp_path / "out", settings=settings)
    with pytest.raises(UserError, match="Ray knows of none"):
        estimate.estimate_preparation(
            listing("folder", str(videos), None), str(tmp_path / "new"), settings, progress=False
        )


def test_a_second_driver_on_one_output(videos: Path, tmp_path: Path) -> None:
    with Lock(str(tmp_path / "out")):
        assert "another marey process" in refusal(str(videos), tmp_path / "out")
