"""Names in any script in pictures: legible, or spelt out with a word on what to install; never boxes in silence."""

import warnings
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from pipelines import fonts
from pipelines.fonts import columns, drawable
from pipelines.predict import Prediction
from pipelines.predict.annotate import annotate
from pipelines.tracking.plots import confusion, curves
from tasks.video import decode
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.quick
BUNDLED = Path(matplotlib.get_data_path()) / "fonts/ttf"
"""matplotlib's own fonts, of which pictures use the first only."""
ODD = ["跳跃", "달리기", "שלום עולם", "قفز", "прыжок", "हिन्दी", "🏃\u200d♂\ufe0f run", "😀", "走" * 300]
ODD += [
    "e\u0301te\u0301",
    "$x^2$",
    r"$\frac$",
    "50 % of_it",
    "a\nb\tc",
    "\x00\x1b[31m",
    "x" * 300,
    "\udcff",
    "",
    "_hidden",
]


@pytest.fixture
def installed(monkeypatch):
    """Choose what fonts the machine has."""

    def choose(*paths: Path) -> None:
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(path) for path in paths])

    fonts._find.cache_clear()
    yield choose
    fonts._find.cache_clear()


@pytest.mark.parametrize("bare", [True, False], ids=["no fonts", "these fonts"])
def test_no_name_breaks_a_picture_or_is_drawn_as_a_box(tmp_path, installed, bare):
    if bare:
        installed()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter that it draws as a box
        confusion(np.eye(len(ODD), dtype=int), ODD, " ".join(ODD), tmp_path / "confusion.png")
        curves({"train/loss": [(1, 2.0)]}, r"走: $\frac$", tmp_path / "curves.png")
    assert max(cv2.imread(str(tmp_path / "confusion.png")).shape) < 2500


@pytest.mark.parametrize("bare", [True, False], ids=["no fonts", "these fonts"])
def test_different_names_look_different(tmp_path, installed, bare):
    if bare:
        installed()
    source = tmp_path / "source.mp4"
    write_mp4(source, np.full((2, 96, 128, 3), 100, np.uint8), 25)
    drawn = []
    for name in ("跳跃", "跑步"):
        confusion(np.eye(2, dtype=int), [name, "b"], "title", tmp_path / f"{name}.png")
        prediction = Prediction(video=str(source), top=[(name, 90.0), (r"$\frac$", 10.0)])
        annotate(prediction, tmp_path / f"{name}.mp4")
        drawn.append([cv2.imread(str(tmp_path / f"{name}.png")), decode(str(tmp_path / f"{name}.mp4")).images[0]])
    for one, other in zip(*drawn, strict=True):
        assert one.shape != other.shape or np.abs(one.astype(int) - other).max() > 50


def test_letters_that_no_font_has_are_spelt_out_and_named(installed, caplog):
    installed()
    assert drawable(["跳跃 a", "plain"]).texts == [r"\u8df3\u8dc3 a", "plain"]
    assert drawable(["🏃\U000e0100 run"]).texts == ["\\U0001f3c3 run"]  # the second letter only varies the first
    assert drawable(["हि"]).families == [fonts.DEFAULT]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == r"no font on this machine has 跃 跳: written as \u8dc3 in pictures; install fonts-noto-cjk"
    assert said[1].endswith("install fonts-symbola")
    assert said[2].endswith("install fonts-noto-core")


def test_a_font_that_has_the_letters_is_found(tmp_path, installed, caplog):
    default, other = (FT2Font(str(BUNDLED / name)) for name in ("DejaVuSans.ttf", "STIXGeneral.ttf"))
    letter = next(chr(code) for code in other.get_charmap() if code > 0x3000 and not default.get_char_index(code))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    installed(tmp_path / "broken.ttf", BUNDLED / "STIXGeneralBol.ttf", BUNDLED / "STIXGeneral.ttf")
    found = drawable([f"a{letter}"])
    assert found.texts == [f"a{letter}"]
    assert found.families == [fonts.DEFAULT, "STIXGeneral"]
    assert not caplog.records


def test_names_become_one_line_of_bounded_width():
    assert drawable(["a\nb\tc\u3000d", "\x1b[31m", "\udc80", "a\u202eb"]).texts == [
        "a b c d",
        r"\x1b[31m",
        r"\udc80",
        "ab",
    ]
    assert drawable(["e\u0301"]).texts == ["é"]
    (short,) = drawable(["first " + "x" * 300 + " last"]).texts
    assert short.startswith("first xxx")
    assert short.endswith("xxx last")
    assert columns(short) == fonts.LONGEST
    assert max(map(columns, drawable(["走" * 100, "a" + "走" * 100]).texts)) <= fonts.LONGEST
