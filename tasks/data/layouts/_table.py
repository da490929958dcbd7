"""Text files and CSV tables as Excel, pandas and people write them, read strictly: what does not fit is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tasks.data import storage
from tasks.errors import UserError, did_you_mean, first_ten
from tasks.names import nfc
from tasks.remote import reason
from tasks.words import counted

LIMIT = 1 << 30
"""Bytes of a file: a million rows take a tenth."""
LONGEST = 32_767
"""Characters of a cell, as in Excel."""

_ZIP = b"PK\x03\x04"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LINE_END = re.compile(rb"\r\n?|\n")
_CELL = re.compile(r'(?:\s*"((?:[^"]|"")*+)"\s*|([^",]*))(,|\Z)')
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_text(path: str, kind: str, limit: int = LIMIT) -> str:
    """Return the text of a file, which the message of an error calls `kind`, such as `a CSV file`.

    Raises:
        UserError: there is no such file, it cannot be read, it has more than `limit` bytes, or is not text in UTF-8.
    """
    try:
        data = storage.read_bytes(path, 0, limit + 1)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: complete the source, or choose another layout") from None
    except OSError as error:
        raise UserError(f"{path} is not {kind} that can be read ({reason(error)}): choose another layout") from error
    if len(data) > limit:
        raise UserError(f"{path} is not {kind} of at most {limit >> 20} MB: divide it, or choose another layout")
    if data.startswith(_UTF16):
        raise UserError(
            f"{path} is not {kind} in UTF-8 but in UTF-16, as Excel's 'Unicode Text' is: save it as 'CSV UTF-8'"
        )
    if data.startswith(_ZIP):
        raise UserError(f"{path} is not {kind} but an archive, as an Excel workbook is: save it as 'CSV UTF-8'")
    zero = data.find(b"\0")
    if zero >= 0:
        raise UserError(f"{path} is not {kind}: line {_line(data, zero)} holds a NUL byte; choose another layout")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = _line(data, error.start), data[error.start]
        raise UserError(
            f"{path} is not {kind} in UTF-8: line {line} holds the byte 0x{byte:02x}; save it as 'CSV UTF-8'"
        ) from error


def _line(data: bytes, place: int) -> int:
    return 1 + len(_LINE_END.findall(data[:place]))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, whichever system has written it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_rows(path: str, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file as cells without surrounding space, each with the number of its first line.

    Rows without any content are left out.

    Raises:
        UserError: a quote is not closed or stands inside a value, or a cell is too long.
    """
    number = 0
    while number < len(lines):
        first = number
        number = _end(path, lines, first)
        cells = _cells(path, first + 1, lines[first:number])
        if any(cells):
            yield first + 1, cells


def _end(path: str, lines: Sequence[str], first: int) -> int:
    """Return the number of the line after the row that begins with the line `first`: its quotes come in pairs."""
    inside = False
    for number in range(first, len(lines)):
        inside ^= lines[number].count('"') % 2 == 1
        if not inside:
            return number + 1
    raise UserError(f"{path} line {first + 1}: a quote is not closed")


def _cells(path: str, number: int, lines: Sequence[str]) -> list[str]:
    row = "\n".join(lines)
    if '"' not in row:
        cells = [cell.strip() for cell in row.split(",")]
    else:
        cells, end = [], 0
        more = ","
        while more:
            match = _CELL.match(row, end)
            if match is None:
                raise UserError(
                    f"{path} line {number}: a quote stands inside a value; put the whole value in quotes, and double "
                    "those inside"
                )
            quoted, plain, more = match.groups()
            cells.append((plain if quoted is None else quoted.replace('""', '"')).strip())
            end = match.end()
    if len(row) > LONGEST and max(map(len, cells)) > LONGEST:
        raise UserError(f"{path} line {number}: a value has more than {LONGEST} characters; is a quote missing?")
    if len(lines) > 1 and any(0 < cell.count("\n") <= cell.count(",") for cell in cells):
        raise UserError(
            f"{path} line {number}: a quoted value goes on to line {number + len(lines) - 1} and holds rows; is a "
            "quote missing?"
        )
    return cells


def _separator(lines: Sequence[str]) -> tuple[int, str]:
    """Return the number of the line with the header, counted from 0, and what separates its cells."""
    filled = [number for number, line in enumerate(lines[:1000]) if line.strip()]
    first = filled[0] if filled else 0
    line = lines[first].lstrip("\ufeff")
    given = line.strip(' "')[4:5] if line.lstrip(' "').lower().startswith("sep=") else ""  # for Excel alone
    if given and len(filled) > 1:
        first = filled[1]
        line = lines[first]
    other = next((mark for mark in _SEPARATORS if mark in line), ",")
    return first, other if "," not in line else given if given in _SEPARATORS else ","


def _compared(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.casefold())


class Table:
    """A CSV file with a header line. Names of columns are compared without regard to case; `-` and space are `_`."""

    def __init__(self, path: str) -> None:
        self.path = path
        lines = lines_of(read_text(path, "a CSV file"))
        first, self.separator = _separator(lines)
        self._rows = read_rows(path, ["" if number < first else line for number, line in enumerate(lines)])
        names = next(self._rows, (1, [""]))[1] if self.separator == "," else [lines[first]]
        self.names = [nfc(name.lstrip("\ufeff").strip()) for name in names]
        """The columns as they are written."""
        self.columns = [_compared(name) for name in self.names]
        """The columns as they are compared; one without a name is empty."""

    def require(self, *columns: str, meant: dict[str, tuple[str, ...]] | None = None) -> None:
        """Refuse a table without some columns, or with two of one name, or whose cells commas do not separate.

        Args:
            columns: The names, as compared.
            meant: Column -> names under which others have it, for the message.

        Raises:
            UserError: as the message says.
        """
        self.refuse_separator()
        for column in columns:
            if column not in self.columns:
                other = next((name for name in (meant or {}).get(column, ()) if name in self.columns), None)
                has = first_ten([repr(name[:40]) for name in self.names if name])
                hint = f"; did you mean {other!r}?" if other else f"; it has {has or 'none'}:"
                raise UserError(
                    f"{self.path} has no column {column!r}{hint} its first line must name {' and '.join(columns)}"
                )
        twice = next((name for name, times in Counter(self.columns).items() if name and times > 1), None)
        if twice is not None:
            raise UserError(f"{self.path} has two columns {twice!r} (case and spaces do not count): rename one")

    def refuse_separator(self) -> None:
        """Refuse a table whose cells are not separated by commas."""
        if self.separator != ",":
            kind = _SEPARATORS.get(self.separator, repr(self.separator))
            raise UserError(
                f"{self.path} is separated by {kind}, not by commas: save it as 'CSV UTF-8 (comma delimited)', with "
                "decimal points"
            )

    def index(self, name: str) -> int:
        """Return the number of a column that a user names; UserError if there is none."""
        wanted = nfc(name.strip())
        if _compared(wanted) not in filter(None, self.columns):
            raise UserError(f"{self.path} has no column {name!r}{did_you_mean(wanted, filter(None, self.names))}")
        return self.columns.index(_compared(wanted))

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each row, as many as there are columns, with the number of its first line.

        Raises:
            UserError: as `read_rows`; a row has more or fewer cells, or one in a column without a name, but for an
                index in front, as pandas writes it.
        """
        named = next((number for number, name in enumerate(self.columns) if name), 0)
        nameless = [number for number, name in enumerate(self.columns) if number > named and not name]
        for line, cells in self._rows:
            if len(cells) != len(self.columns):
                values = f"{counted(len(cells), 'value')} in {counted(len(self.columns), 'column')}"
                what = "put one that holds a comma in quotes" if len(cells) > len(self.columns) else "complete the row"
                raise UserError(f"{self.path} line {line}: {values}; {what}")
            for number in nameless:
                if cells[number]:
                    raise UserError(
                        f"{self.path} line {line}: {cells[number][:40]!r} is in a column without a name: name the "
                        "column, or put a value that holds a comma in quotes"
                    )
            yield line, cells


def place(path: str, line: int) -> str:
    """Return how messages about several lines name one: `train.csv line 3`."""
    return f"{PurePosixPath(path).name} line {line}"
