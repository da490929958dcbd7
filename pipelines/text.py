"""Text and JSON for the terminal, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from tasks.files import replacing

# Control characters, those that turn the direction of writing, line separators, and bytes that are not text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def printable(text: str, keep: str = "") -> str:
    """Return a text with what a terminal would act on as escapes, such as `\\x1b`, but for the characters to keep."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else repr(match[0])[1:-1], text)


def show(text: str) -> None:
    """Print the text of a result, whose names of classes and files others have chosen."""
    shown = printable(text, keep="\n") + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding))


class PrintableFormatter(logging.Formatter):
    """Formats log records for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows of cells as lines with aligned columns, two spaces apart; those numbered in `right` to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def to_json(result: Any) -> str:
    """Return a result, or a list of them, as one line of JSON: dataclasses by their fields, paths as text."""
    return json.dumps(result, default=_plain)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows in one step as a table in UTF-8, in which a spreadsheet finds no formulas.

    A text that would be one (`=1+1`) gets an apostrophe in front, and numbers stay numbers.
    """
    with replacing(path) as aside, open(aside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows([_harmless(cell) for cell in row] for row in rows)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
