"""Samples in columns: a row of some 70 bytes each, of which an object is made only where one is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa

from tasks.data.reader import Sample

COLUMNS = ["video_id", "label_id", "group"]
"""What samples take from the table of their videos."""
_AT_ONCE = 1024
"""Samples of which an iteration makes objects in advance."""
ROW = np.dtype(
    [
        ("video", np.int32),  # its row in the table of videos
        ("piece_index", np.int32),
        ("shard", np.int32),
        ("height", np.int32),
        ("width", np.int32),
        ("frames", np.int64),
        ("flows", np.int64),
        ("rgb", np.int64, 2),  # start and end in the shard
        ("flow", np.int64, 2),  # zeros without flow: no member lies there
    ]
)


class Rows:
    """Rows as they come, in one array that grows: lists of parts would take twice the memory when they are joined."""

    def __init__(self, expected: int) -> None:
        """`expected`: how many rows there will be, or a few more."""
        self._array = np.empty(max(expected, 1), ROW)
        self._count = 0

    def extend(self, rows: np.ndarray) -> None:
        """Add rows at the end."""
        count = self._count + len(rows)
        if count > len(self._array):
            self._array.resize(max(count, 3 * len(self._array) // 2), refcheck=False)
        self._array[self._count : count] = rows
        self._count = count

    def whole(self) -> np.ndarray:
        """Return all rows; none can be added any more."""
        self._array.resize(self._count, refcheck=False)
        return self._array


class Videos:
    """The videos of samples; a video's place is its row number."""

    def __init__(self, table: pa.Table, classes: list[str]) -> None:
        """Keep COLUMNS of a table."""
        self.ids: pa.StringArray = _whole(table["video_id"])
        self.label_ids = np.array(table["label_id"])
        self.groups: pa.DictionaryArray = _whole(table["group"].dictionary_encode())
        self.classes = classes


@dataclass(frozen=True, eq=False)
class Samples(Sequence[Sample]):
    """A sequence of samples, held in columns."""

    rows: np.ndarray
    """One ROW for each sample, [n]."""
    videos: Videos

    @property
    def shards(self) -> np.ndarray:
        """Shard of each sample, int32 [n]."""
        return self.rows["shard"]

    @property
    def label_ids(self) -> np.ndarray:
        """Number of each sample's class, int32 [n]."""
        return self.videos.label_ids[self.rows["video"]]

    @property
    def video_ids(self) -> list[str]:
        """Each sample's video."""
        video_ids: list[str] = self.videos.ids.take(pa.array(self.rows["video"])).to_pylist()
        return video_ids

    @property
    def first_pieces(self) -> Samples:
        """One sample per video: its first piece."""
        return Samples(self.rows[self.rows["piece_index"] == 0], self.videos)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Samples: ...
    def __getitem__(self, place: int | slice) -> Sample | Samples:
        if isinstance(place, slice):
            return Samples(self.rows[place], self.videos)
        (sample,) = self.take([place])
        return sample

    def take(self, places: Sequence[int] | np.ndarray) -> list[Sample]:
        """Return the samples at some places, of which many cost far less than one by one."""
        rows = self.rows[places]
        videos = self.videos
        which = pa.array(rows["video"])
        return [
            Sample(
                video_id=video_id,
                piece_index=piece_index,
                label_id=label_id,
                label=videos.classes[label_id],
                frames=frames,
                flows=flows,
                shard=shard,
                group=group,
                height=height,
                width=width,
                rgb_range=tuple(rgb),
                flow_range=tuple(flow) if any(flow) else None,
            )
            for (_, piece_index, shard, height, width, frames, flows, rgb, flow), video_id, label_id, group in zip(
                rows.tolist(),
                videos.ids.take(which).to_pylist(),
                videos.label_ids[rows["video"]].tolist(),
                videos.groups.take(which).to_pylist(),
                strict=True,
            )
        ]

    def __iter__(self) -> Iterator[Sample]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self.take(np.arange(first, min(first + _AT_ONCE, len(self))))

    def __repr__(self) -> str:
        return f"Samples({len(self)})"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, without what else its buffers hold."""
    return pa.concat_arrays(column.unify_dictionaries().chunks) if column.num_chunks else column.combine_chunks()
