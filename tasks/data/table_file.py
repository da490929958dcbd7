"""Parquet files of tables, read as if a stranger had written them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LARGEST = 16 << 30
"""Most bytes of a table's file."""
_ROWS_PER_BYTE = 32  # splits of the same videos come to some rows a byte, all other tables to a fraction of one
_LONGEST = 1 << 16  # bytes of a string; a path has 4,096 at most
_GROWTH = 400  # bytes of all strings for each byte of the file
_FLOOR = 256 << 20  # bytes of all strings that any file may have
_WRITER = b"arrow"  # key of the file's metadata


class BadContent(ValueError):
    """A table's file does not hold what it should; the message says what is wrong."""


def to_bytes(table: pa.Table) -> bytes:
    """Return the file of a table; the same table gives the same bytes, with the same version of pyarrow.

    Each page has a checksum, which is compared when it is read.
    """
    stamped = table.combine_chunks().replace_schema_metadata({_WRITER: pa.cpp_version})
    sink = pa.BufferOutputStream()
    # Other codecs choose their instructions, and with them their bytes, by the processor.
    pq.write_table(stamped, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_bytes(content: bytes, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Read a table, all columns or some, with the given schema.

    Raises:
        BadContent: as `each_column`.
    """
    return pa.table(dict(each_column(content, schema, columns)), _chosen(schema, columns))


def each_column(
    content: bytes, schema: pa.Schema, columns: list[str] | None = None
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield name and values of each column of a table, or of some; one can leave memory before the next is read.

    Raises:
        BadContent: it is damaged, has another schema, or claims far more than its bytes can hold.
    """
    try:
        yield from _read(content, _chosen(schema, columns), schema)
    except BadContent:
        raise
    except (pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:  # all are met
        raise BadContent((str(error).splitlines() or [type(error).__name__])[0]) from error


def differs_from_written(content: bytes, table: pa.Table) -> bool:
    """Return whether a file that holds this table has other bytes than marey gives it.

    Where another version of pyarrow wrote it nobody can tell, and the answer is no.
    """
    if content == to_bytes(table):
        return False
    metadata = pq.read_metadata(pa.BufferReader(content))
    writer = (metadata.metadata or {}).get(_WRITER, b"").decode("ascii", "replace")
    return writer == pa.cpp_version or metadata.created_by != f"parquet-cpp-arrow version {writer}"


def _chosen(schema: pa.Schema, columns: list[str] | None) -> pa.Schema:
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def _read(content: bytes, chosen: pa.Schema, schema: pa.Schema) -> Iterator[tuple[str, pa.ChunkedArray]]:
    owned = pa.BufferReader(_owned_by_arrow(content))
    found = pq.read_schema(owned)
    if [(field.name, _plain(field.type)) for field in found] != [(field.name, field.type) for field in schema]:
        raise BadContent("it has other columns")
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    # As dictionaries, strings that stand for a billion rows cost no more than they do in the file.
    file = pq.ParquetFile(owned, read_dictionary=texts, page_checksum_verification=True)
    rows = file.metadata.num_rows
    if not 0 <= rows <= _ROWS_PER_BYTE * len(content):
        raise BadContent(f"it claims {rows} rows in {len(content)} bytes")
    strings = 0
    for field in chosen:
        # One after the other: a column of a million names takes twice its memory while it is a dictionary.
        column = file.read([field.name], use_threads=False)[field.name]
        column.validate(full=True)
        if len(column) != rows:
            raise BadContent(f"its column {field.name} has {len(column)} of {rows} rows")
        if pa.types.is_dictionary(column.type):
            strings += _string_bytes(column)
        if strings > _FLOOR + _GROWTH * len(content):
            raise BadContent(f"it claims {strings} bytes of text in {len(content)} bytes")
        if not field.nullable and column.null_count:
            raise BadContent(f"its column {field.name} lacks values")
        column = column.cast(field.type)
        pa.default_memory_pool().release_unused()
        column.validate(full=True)  # strings are UTF-8
        yield field.name, column
        del column


def _owned_by_arrow(content: bytes) -> pa.Buffer:
    """Return a copy that a thread of Arrow can let go of at any time.

    To let go of memory of Python's it takes Python's lock, and a process that ends meanwhile is aborted.
    """
    copy = pa.allocate_buffer(len(content))
    memoryview(copy).cast("B")[:] = content
    return copy


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _string_bytes(column: pa.ChunkedArray) -> int:
    """Return how many bytes a column of strings has in full."""
    total = 0
    for chunk in column.chunks:
        lengths = np.asarray(pc.binary_length(chunk.dictionary).fill_null(0))
        if len(lengths) and lengths.max() > _LONGEST:
            raise BadContent(f"it has a text of {lengths.max()} bytes")
        total += int(lengths[chunk.indices.drop_null().to_numpy()].sum()) if len(lengths) else 0
    return total
