"""Arrow IPC files of images with checksums, read row by row; nothing in them is trusted.

pyarrow writes them, and reads them elsewhere. Here they are read by the offsets in footer and row alone, each compared
with what is there: pyarrow's reader follows offsets out of the file, and unpacks compressed rows unasked.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from tasks.video.codecs import decode_gray, decode_rgb
from tasks.words import counted

CHECKSUM = "_xxh3"
"""End of the name of a column with the checksums of another, by XXH3 of 64 bits."""
_TAIL, _MAGIC = struct.Struct("<i6s"), b"ARROW1"
_BLOCK = struct.Struct("<qi4xq")  # offset, bytes of the metadata, bytes of the body
_BUFFER = struct.Struct("<qq")  # offset in the body, bytes
_OFFSETS, _CHECKSUM = struct.Struct("<ii"), struct.Struct("<Q")
_PREFIX = 8  # of a message: a marker, and the bytes of the metadata
_RECORD_BATCH = 3
_BUFFERS = 5  # of an image and its checksum: validity, offsets, bytes; validity, values
_COLUMN = struct.Struct(f"<{2 * _BUFFERS}q")  # the places of these


Planes = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Quantised flow of a pair, x and y, uint8 [H,W] each."""


class DamagedMember(ValueError):
    """A member of a sample is not as marey wrote it."""


class Sliceable(Protocol):
    """Bytes, in memory or in a file, of which parts are read."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


class ArrowFile:
    """Random access to the rows of a member; each row is checked as it is read.

    Opening reads the index only, and a row no other. Any number of threads may read.

    Raises:
        DamagedMember: anything that is read does not fit together, or does not match its checksum.
    """

    def __init__(self, data: Sliceable) -> None:
        self._data = data
        size = len(data)
        if size < len(_MAGIC) + _TAIL.size:
            raise DamagedMember("it is not an Arrow file")
        length, magic = _TAIL.unpack(data[size - _TAIL.size : size])
        self._end = size - _TAIL.size - length
        if magic != _MAGIC or length < 0 or self._end < len(_MAGIC):
            raise DamagedMember("it is not an Arrow file")
        self._footer = data[self._end : size - _TAIL.size]
        try:
            footer = _Table(self._footer, 0)
            self._blocks, self._rows = footer.vector(3, _BLOCK.size)
        except (struct.error, IndexError) as error:
            raise DamagedMember(f"its index is damaged ({error})") from error
        self._layout: _Layout | None = None
        """That of the row that was read last: those of a file hardly ever differ."""

    def __len__(self) -> int:
        return self._rows

    @property
    def metadata(self) -> dict[str, float]:
        """Height, width, quality and, for flow, bound."""
        try:
            return {key: float(value) for key, value in self.texts.items()}
        except ValueError as error:
            raise DamagedMember(f"its metadata are damaged ({error})") from error

    @property
    def texts(self) -> dict[str, str]:
        """The metadata as they are written."""
        first = _BLOCK.unpack_from(self._footer, self._blocks)[0] if self._rows else self._end
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(bytes(self._data[_PREFIX : max(_PREFIX, min(first, self._end))])))
            return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedMember(f"its schema is damaged ({error})") from error

    def row(self, index: int) -> list[memoryview]:
        """Return the encoded images of a row: [jpeg] or [x, y]."""
        if not 0 <= index < self._rows:
            raise DamagedMember(f"it has no row {index}, but {counted(self._rows, 'row')}")
        first = max(0, index - 1)
        place = self._blocks + first * _BLOCK.size
        near = [*_BLOCK.iter_unpack(self._footer[place : self._blocks + min(index + 2, self._rows) * _BLOCK.size])]
        offset, metadata, body = near[index - first]
        # Rows follow one another, so that none can stand for its neighbour.
        after = near[-1][0] if index + 1 < self._rows else self._end - _PREFIX
        before = sum(near[0]) if index else offset
        if offset < 0 or metadata < _PREFIX or body < 0 or before != offset or after != offset + metadata + body:
            raise DamagedMember(f"row {index} does not lie between its neighbours")
        if after > self._end:
            raise DamagedMember(f"row {index} lies outside of it")
        block = memoryview(self._data[offset : offset + metadata + body])
        try:
            layout = self._layout
            if layout is None or not layout.fits(block[:metadata]):
                layout = self._layout = _Layout(block[:metadata])
            return layout.images(block[:metadata], block[metadata:])
        except (struct.error, IndexError) as error:
            raise DamagedMember(f"row {index} is damaged ({error})") from error
        except DamagedMember as error:
            raise DamagedMember(f"row {index} {error}") from None

    def rgb(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return frames, uint8 [n,H,W,3], in the order asked for; images of any other `size` (H, W) are refused."""
        return _gather(len(indices), self.each_rgb(indices, size))

    def each_rgb(self, indices: Iterable[int], size: tuple[int, int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames of `rgb`, uint8 [H,W,3], each decoded when it is asked for."""
        for index in indices:
            yield decode_rgb(self._images(index, 1)[0], size)

    def flow(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return quantised flow, uint8 [n,2,H,W], x before y; images of any other `size` (H, W) are refused."""
        gathered = _gather(2 * len(indices), chain.from_iterable(self.each_flow(indices, size)))
        return gathered.reshape(-1, 2, *gathered.shape[1:])

    def each_flow(self, indices: Iterable[int], size: tuple[int, int] | None = None) -> Iterator[Planes]:
        """Yield the flow of `flow`, two of uint8 [H,W], each decoded when it is asked for."""
        for index in indices:
            x, y = self._images(index, 2)
            yield decode_gray(x, size), decode_gray(y, size)

    def _images(self, index: int, columns: int) -> list[memoryview]:
        images = self.row(int(index))
        if len(images) != columns:
            raise DamagedMember(f"row {index} has {counted(len(images), 'image')}, not {columns}")
        return images


def pack_images(columns: Mapping[str, Sequence[bytes | memoryview]], metadata: Mapping[str, float | str]) -> bytes:
    """Return an Arrow IPC file: a row per image, or per several side by side, and the checksum of each behind it."""
    kinds = {"": pa.binary(), CHECKSUM: pa.uint64()}
    fields = [pa.field(f"{name}{end}", kind, nullable=False) for name in columns for end, kind in kinds.items()]
    schema = pa.schema(fields, metadata={key: str(value) for key, value in metadata.items()})
    sink = io.BytesIO()  # getvalue() makes no copy, while Arrow's own stream doubles as it grows and is then copied
    with pa.ipc.new_file(sink, schema) as writer:
        for row in zip(*columns.values(), strict=True):
            arrays = [
                array
                for image in row
                for array in (pa.array([image], pa.binary()), pa.array([xxh3_64_intdigest(image)], pa.uint64()))
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return sink.getvalue()


def _gather(number: int, images: Iterator[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return images of one size as one array, each copied while the processor still holds it."""
    first = next(images, None)
    if first is None:
        raise ValueError("no image is asked for")
    gathered = np.empty((number, *first.shape), np.uint8)
    gathered[0] = first
    for place, image in enumerate(images, 1):
        if image.shape != first.shape:
            raise DamagedMember("its images have different sizes")
        gathered[place] = image
    return gathered


class _Layout:
    """Where in the metadata of a row the places of its buffers are: a record batch of one row, as all in the file."""

    def __init__(self, metadata: memoryview) -> None:
        message = _Table(metadata, _PREFIX)
        if message.scalar(1, "<B") != _RECORD_BATCH:
            raise DamagedMember("is not a record batch")
        batch = message.table(2)
        if batch.scalar(0, "<q") != 1 or batch.has(3):
            raise DamagedMember("is not one uncompressed row")
        self._start, count = batch.vector(2, _BUFFER.size)
        if count == 0 or count % _BUFFERS:
            raise DamagedMember("has other columns")
        self._end = self._start + count * _BUFFER.size
        self._numbers = bytes(self._end - self._start)
        self._body = message.place(3)
        self._fixed = self._without_numbers(metadata)

    def fits(self, metadata: memoryview) -> bool:
        """Return whether the metadata of another row differ in numbers alone."""
        return len(metadata) == len(self._fixed) and self._without_numbers(metadata) == self._fixed

    def _without_numbers(self, metadata: memoryview) -> bytearray:
        """Return metadata with zeros for the places of the buffers and the length of the body."""
        cut = bytearray(metadata)
        cut[self._start : self._end] = self._numbers
        cut[self._body : self._body + 8] = bytes(8)
        return cut

    def images(self, metadata: memoryview, body: memoryview) -> list[memoryview]:
        """Return the images of a row."""
        return [_image(body, *places) for places in _COLUMN.iter_unpack(metadata[self._start : self._end])]


def _image(
    body: memoryview,
    _valid_at: int,
    valid: int,
    offsets_at: int,
    offsets: int,
    content_at: int,
    content: int,
    _valid_checksum_at: int,
    valid_checksum: int,
    checksum_at: int,
    checksum: int,
) -> memoryview:
    """Return the image of a column, of whose buffers the place and the size are given."""
    size = len(body)
    sizes_fit = not valid and offsets >= 8 and content >= 0 and not valid_checksum and checksum >= 8
    inside = 0 <= offsets_at <= size - offsets and 0 <= content_at <= size - content
    if not (sizes_fit and inside and 0 <= checksum_at <= size - checksum):
        raise DamagedMember("has offsets that lead out of it")
    first, last = _OFFSETS.unpack_from(body, offsets_at)
    if not 0 <= first <= last <= content:
        raise DamagedMember("has offsets that lead out of it")
    image = body[content_at + first : content_at + last]
    if _CHECKSUM.unpack_from(body, checksum_at) != (xxh3_64_intdigest(image),):
        raise DamagedMember("does not match its checksum")
    return image


class _Table:
    """A table of a flatbuffer; struct.error or IndexError where it leads out of the bytes.

    At `position` is the distance to the table, which begins with the distance back to its list of fields.
    """

    def __init__(self, data: bytes | memoryview, position: int) -> None:
        self._data = data
        self._at = position + _unsigned(data, position)
        self._fields = self._at - struct.unpack_from("<i", data, self._at)[0]
        if self._fields < 0:
            raise IndexError("a table begins before the data")
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    def has(self, field: int) -> bool:
        return self._distance(field) > 0

    def scalar(self, field: int, form: str) -> int:
        """Return a number; 0 where it is left out."""
        distance = self._distance(field)
        value: int = struct.unpack_from(form, self._data, self._at + distance)[0] if distance else 0
        return value

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._at + self._needed(field))

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where the elements of a vector begin, and how many of `size` bytes there are."""
        position = self._at + self._needed(field)
        start = position + _unsigned(self._data, position)
        count = _unsigned(self._data, start)
        if start + 4 + count * size > len(self._data):
            raise IndexError("a vector is longer than the data")
        return start + 4, count

    def place(self, field: int) -> int:
        """Return where a number is; IndexError where it is left out."""
        return self._at + self._needed(field)

    def _needed(self, field: int) -> int:
        distance = self._distance(field)
        if not distance:
            raise IndexError("a field is missing")
        return distance

    def _distance(self, field: int) -> int:
        entry = 4 + 2 * field
        return struct.unpack_from("<H", self._data, self._fields + entry)[0] if entry + 2 <= self._size else 0


def _unsigned(data: bytes | memoryview, position: int) -> int:
    value: int = struct.unpack_from("<I", data, position)[0]
    return value
