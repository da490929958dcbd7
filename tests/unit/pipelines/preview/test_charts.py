"""Charts, numbers and words of the preview page."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipelines.pages import render, visible
from pipelines.preview.charts import LISTED, class_bars, histogram
from pipelines.preview.page import FOLDER
from pipelines.preview.text import FILTERS, size

pytestmark = pytest.mark.quick


def draw(chart):
    return render(FOLDER, "histogram.html.j2", FILTERS, chart=chart)


def draw_bars(labels, counts):
    return render(FOLDER, "class_bars.html.j2", FILTERS, bars=class_bars(labels, counts))


@pytest.mark.parametrize(
    "values",
    [
        [2.0] * 5,
        [0.7 - 1e-16, 0.8, 1.5],
        [0.0],
        [0.0, 1e-3],
        np.arange(1, 30),
        np.r_[np.full(999, 3.0), 9000.0],
        np.r_[:1000.0, 1e6],
        [1e7],
    ],
    ids=str,
)
def test_a_histogram_holds_every_value(values):
    text = draw(histogram("Length", values, "s", "videos", ""))
    counts = [int(part.partition(" videos")[0].replace(",", "")) for part in text.split(": ") if ' videos"' in part]
    assert sum(counts) == len(values)
    assert 1 <= len(counts) <= 26


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_700, "1.0 MB"),
        (99_960_000, "100 MB"),
        (2e15, "2,000 TB"),
    ],
)
def test_sizes(number, told):
    assert size(number) == told


def test_any_text_can_be_shown():
    awkward = '<a href="x">&\'\x00\x1b\x85\udc80é'
    assert visible(awkward) == '<a href="x">&\'\\x00\\x1b\\x85\\xdc80é'
    text = draw(histogram(awkward, [1.0], "s", "videos", ""))
    assert "&lt;a href=&#34;x&#34;&gt;&amp;&#39;\\x00\\x1b\\x85\\xdc80é" in text
    assert "<a" not in text
    assert text.encode()


def test_the_tail_of_a_histogram_is_one_bar():
    text = draw(histogram("Length", np.r_[np.arange(1, 1000.0), 1e6], "s", "videos", ""))
    assert re.findall(r'title="([\d,]+ s and more: \d+ videos)"', text)
    assert "from 1 to 1,000,000 s" in text


def test_bars_by_class_are_in_proportion_and_largest_first():
    text = draw_bars(["few", "many"], np.array([[1, 0, 0, 0, 1], [6, 0, 2, 0, 0]]))
    assert text.index("many") < text.index("few")
    widths = re.findall(r'<i class="(\w+)" style="width:([\d.]+)%">', text)
    assert widths == [("train", "75.000"), ("test", "25.000"), ("train", "12.500"), ("failed", "12.500")]
    assert "val" not in text


def test_thousands_of_classes_are_cut_in_the_middle_and_that_is_said():
    number = LISTED + 7
    counts = np.zeros((number, 5), int)
    counts[:, 0] = np.arange(number) + 1
    text = draw_bars([f"class {i}" for i in range(number)], counts)
    assert text.count("<tr>") == 1 + LISTED + 1
    assert "7 classes of 501 to 507 videos are left out" in text
