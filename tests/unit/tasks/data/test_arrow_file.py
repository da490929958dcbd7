"""Rows of images in Arrow files, some of which someone has forged."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from tasks.data.arrow_file import ArrowFile, DamagedMember, pack_images
from tasks.data.sample import open_arrow

pytestmark = pytest.mark.quick
IMAGES = {"x": [b"first x", b"second x, longer", b""], "y": [b"first y", b"", b"third y"]}


def forge(rows, schema=None, **options):
    """Write record batches as pyarrow lets anyone."""
    sink = pa.BufferOutputStream()
    schema = schema or rows[0].schema
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for row in rows:
            writer.write_batch(row)
    return sink.getvalue().to_pybytes()


def row_of(image=b"image", kind=None, copies=1, checksum=None):
    checksum = xxhash.xxh3_64_intdigest(image) if checksum is None else checksum
    arrays = [pa.array([image] * copies, kind or pa.binary()), pa.array([checksum] * copies, pa.uint64())]
    return pa.record_batch(arrays, names=["jpeg", "jpeg_xxh3"])


def test_pyarrow_reads_the_same_and_the_checksums():
    data = pack_images(IMAGES, {"height": 3, "bound": 20.0})
    table = pa.ipc.open_file(data).read_all()
    assert table.column_names == ["x", "x_xxh3", "y", "y_xxh3"]
    file = ArrowFile(data)
    assert file.metadata == {"height": 3, "bound": 20}
    rows = [tuple(map(bytes, file.row(i))) for i in range(3)]
    assert rows == list(zip(*IMAGES.values(), strict=True))
    for name, images in IMAGES.items():
        assert table[name].to_pylist() == images
        assert table[f"{name}_xxh3"].to_pylist() == [xxhash.xxh3_64_intdigest(image) for image in images]


def test_no_changed_byte_gives_other_images():
    """Wherever it is, in offsets, lengths, index or images."""
    data = pack_images(IMAGES, {"height": 3})
    expected = [[bytes(image) for image in ArrowFile(data).row(i)] for i in range(3)]
    refused = 0
    for place in range(len(data)):
        for value in (data[place] ^ 1, data[place] ^ 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] = value
            try:
                file = open_arrow(bytes(damaged), 3)
                rows = [[bytes(image) for image in file.row(i)] for i in range(3)]
            except DamagedMember:
                refused += 1
            else:
                assert rows == expected
    assert refused > 1000


@pytest.mark.parametrize("size", [0, 5, 9, 10, 100, -1, -9])
def test_a_cut_file_is_refused(size):
    data = pack_images(IMAGES, {})[:size]
    with pytest.raises(DamagedMember):
        ArrowFile(data)


@pytest.mark.parametrize("number", [3, -1, 2**40])
def test_a_row_that_is_not_there_is_refused(number):
    with pytest.raises(DamagedMember, match=f"has no row {number}, but 3 rows"):
        ArrowFile(pack_images(IMAGES, {})).row(number)


@pytest.mark.parametrize(
    "data",
    [
        forge([row_of(b"x" * 1000)], compression="zstd"),
        forge([row_of(b"x" * 1000)], compression="lz4"),
        forge([row_of(copies=2)]),
        forge([row_of(copies=0)]),
        forge([row_of(None, checksum=1)]),
        forge([row_of(checksum=1)]),
        forge([row_of(kind=pa.large_binary())]),
        forge([pa.record_batch([pa.array([b"a"])], names=["jpeg"])]),
        forge([pa.record_batch([pa.array(["a"]).dictionary_encode(), pa.array([1])], names=["jpeg", "jpeg_xxh3"])]),
        forge([pa.record_batch([pa.array([[b"a"]]), pa.array([1], pa.uint64())], names=["jpeg", "jpeg_xxh3"])]),
        forge([pa.record_batch([pa.array([1] * 1, pa.int8())] * 5, names=list("abcde"))]),
    ],
)
def test_what_marey_does_not_write_is_refused(data):
    with pytest.raises(DamagedMember, match="row 0 "):
        ArrowFile(data).row(0)


def test_offsets_that_lead_out_of_a_row():
    """As large as they can be, negative, or beyond the row into its neighbour."""
    image = np.random.default_rng(0).bytes(100)
    data = pack_images({"jpeg": [image, image]}, {})
    place = data.index(image)
    offsets = data.rindex(np.array([0, 100], np.int32).tobytes(), 0, place)
    for first, last in [(0, 0x7FFFFFFF), (-1, 100), (0, -1), (100, 0), (0, 2000), (-(2**31), 2**31 - 1), (5, 100)]:
        damaged = bytearray(data)
        damaged[offsets : offsets + 8] = np.array([first, last], np.int32).tobytes()
        with pytest.raises(DamagedMember, match=r"row 0 (has offsets that lead out of it|does not match its checksum)"):
            ArrowFile(bytes(damaged)).row(0)
        assert ArrowFile(bytes(damaged)).row(1) == [image]
