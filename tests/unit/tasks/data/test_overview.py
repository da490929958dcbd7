"""The overview of a dataset by its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_dataset import FAILED, write_dataset

from tasks.data.overview import evenly, read_overview
from tasks.data.reader import Reader
from tasks.data.tables import write_records
from tasks.errors import UserError

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("overview") / "data")
    write_records(root)
    return root


def test_counts_by_class_and_part(root):
    first, second = (read_overview(Reader(root), split) for split in (None, "second"))
    assert (first.split, second.split) == ("first", "second")
    # of six videos each: four are train, val, test, train, ...; the second of jump failed
    assert first.counts.tolist() == [[3, 1, 1, 0, 1], [4, 1, 1, 0, 0]]
    assert second.counts.tolist() == [[4, 0, 1, 0, 1], [5, 0, 1, 0, 0]]
    assert first.splits == {"first": [7, 2, 2, 0], "second": [9, 0, 2, 0]}


def test_failures_say_which_and_why(root):
    (row,) = read_overview(Reader(root)).failures()
    assert (row["video_id"], row["uri"], row["kind"]) == (FAILED, "/videos/jump/1.mp4", "unreadable")


def test_spread_is_even_and_leaves_failed_videos_out(root):
    overview = read_overview(Reader(root))
    ids = overview.videos["video_id"].to_pylist()
    assert [ids[i] for i in overview.spread(0, 9)] == [f"jump%2F{i}" for i in (0, 2, 3, 4, 5)]
    assert [ids[i] for i in overview.spread(1, 3)] == [f"run%2F{i}" for i in (1, 3, 5)]


@pytest.mark.parametrize(("total", "number"), [(0, 4), (1, 4), (4, 4), (5, 2), (1000, 7)])
def test_evenly(total, number):
    chosen = evenly(total, number)
    assert len(chosen) == min(total, number)
    assert all(0 <= i < total for i in chosen)
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1


def test_size_and_durations(root):
    overview = read_overview(Reader(root))
    assert overview.bytes == sum(path.stat().st_size for path in (Path(root) / "shards").glob("*.tar"))
    assert overview.durations.tolist() == [0.5] * 11  # 12 frames at 24 per second


def test_refuses_what_is_not_finished_or_unknown(tmp_path, root):
    unfinished = write_dataset(tmp_path / "data")
    with pytest.raises(UserError, match="is not finished"):
        read_overview(Reader(unfinished))
    with pytest.raises(UserError, match="did you mean 'second'"):
        read_overview(Reader(root), "secnod")
