"""Parquet files of tables, sound, damaged, and such as claim what they cannot hold."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.manifest import SPLITS
from tasks.data.table_file import BadContent, differs_from_written, from_bytes, to_bytes

pytestmark = pytest.mark.quick
SPLIT = pa.table({"split": ["s"] * 50, "video_id": [f"v{i}" for i in range(50)], "part": ["val"] * 50}, schema=SPLITS)


def written(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def repeated(text, rows):
    """A column that is one string, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))


def invalid():
    """A string that is none."""
    return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))


def claims(text, rows):
    return written(pa.table({name: repeated(text, rows) for name in SPLITS.names}))


def test_there_and_back():
    assert from_bytes(to_bytes(SPLIT), SPLITS) == SPLIT
    assert from_bytes(to_bytes(SPLIT), SPLITS, ["part", "split"]) == SPLIT.select(["part", "split"])
    in_parts = pa.concat_tables([SPLIT.slice(0, 7), SPLIT.slice(7)])
    assert to_bytes(in_parts) == to_bytes(SPLIT)
    assert from_bytes(written(SPLIT), SPLITS) == SPLIT


def test_bytes_that_are_not_ours():
    assert not differs_from_written(to_bytes(SPLIT), SPLIT)
    assert differs_from_written(written(SPLIT), SPLIT)
    other = to_bytes(SPLIT).replace(pa.cpp_version.encode(), b"9" * len(pa.cpp_version))
    assert not differs_from_written(other, SPLIT)  # of another pyarrow, whose bytes nobody knows


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, bytes(500), to_bytes(SPLIT)[:-9], to_bytes(SPLIT)[9:]])
def test_nonsense(content):
    with pytest.raises(BadContent):
        from_bytes(content, SPLITS)


def test_a_changed_cell_is_noticed():
    content = to_bytes(SPLIT)
    place = content.index(b"v17") if b"v17" in content else len(content) // 3
    damaged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    with pytest.raises(BadContent, match="checksum"):
        from_bytes(damaged, SPLITS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (claims("a", 3_000_000), r"it claims 3000000 rows in \d+ bytes"),
        (claims("a" * 60_000, 3_000), r"it claims 360000000 bytes of text in \d+ bytes"),
        (claims("a" * 100_000, 3), "it has a text of 100000 bytes"),
        (written(SPLIT.select(["split", "part"])), "it has other columns"),
        (written(SPLIT.append_column("more", SPLIT["part"])), "it has other columns"),
        (written(pa.table({name: [1, 2] for name in SPLITS.names})), "it has other columns"),
        (written(pa.table({name: [["a"]] for name in SPLITS.names})), "it has other columns"),
        (written(pa.table({name: ["a", None] for name in SPLITS.names})), "its column split lacks values"),
        (written(pa.table({name: invalid() for name in SPLITS.names})), "UTF8"),
    ],
    ids=["rows", "text", "long", "fewer", "more", "numbers", "lists", "nulls", "bytes"],
)  # fmt: skip
def test_what_no_table_has(content, words):
    with pytest.raises(BadContent, match=words):
        from_bytes(content, SPLITS)
