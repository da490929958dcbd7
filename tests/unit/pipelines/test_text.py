import csv
import logging

import pytest

from pipelines.text import PrintableFormatter, columns, printable, show, write_csv

pytestmark = pytest.mark.quick


def test_columns_are_aligned():
    rows = [("network", "top-1 %", "data"), ("stm", "9.50", "k400"), ("a longer name", "88.10", "")]
    assert columns(rows, right=(1,)) == [
        "network        top-1 %  data",
        "stm               9.50  k400",
        "a longer name    88.10",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("caf\udce9", r"caf\udce9"),
        ("跳 名\u3000é नमस्ते \U0001f468\u200d\U0001f469", "跳 名\u3000é नमस्ते \U0001f468\u200d\U0001f469"),
    ],
)
def test_no_name_reaches_the_terminal_as_a_command(text, shown, capsys):
    assert printable(text) == shown
    assert columns([(text, "x")]) == [f"{shown}  x"]
    show(f"{text}\nnext")
    written = capsys.readouterr().out
    assert written.isprintable() or set(written) & set("\n\u3000\u200d")
    assert "\x1b" not in written
    record = logging.LogRecord("x", logging.INFO, "", 0, "found %s", (text,), None)
    assert "\x1b" not in PrintableFormatter("%(message)s").format(record)


def test_a_spreadsheet_finds_no_formulas_and_every_number(tmp_path):
    texts = [
        "=1+1",
        "+cmd",
        "-rf",
        "@SUM(A1)",
        " =1",
        "\t=1",
        "\rx",
        "\uff1d1",
        "a=b",
        "",
        "-1.5",
        "+2e3",
        "jump, \n high",
    ]
    write_csv(tmp_path / "out.csv", [texts, [1, -2.5, "-3"]])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.reader(file)
    assert first == [*(f"'{text}" for text in texts[:8]), *texts[8:]]
    assert second == ["1", "-2.5", "-3"]


def test_a_name_that_is_not_text_is_written_all_the_same(tmp_path):
    write_csv(tmp_path / "out.csv", [["caf\udce9"]])
    assert (tmp_path / "out.csv").read_text() == "caf\\udce9\n"
