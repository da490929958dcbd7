"""The page of an evaluation's worst errors."""

import base64
import re
from urllib.parse import unquote

import numpy as np
import pytest
from evaluated import result_of
from small_dataset import LONG, write_dataset

from pipelines.evaluate.errors_page import FILE, SHOWN, write_errors
from tasks.data import open_dataset
from tasks.video.codecs import decode_rgb

pytestmark = pytest.mark.quick


def page(data, scores, folder):
    """The page of scores of the train part."""
    folder.mkdir()
    result = result_of(data, scores, "birds", folder)
    write_errors(result, scores, data)
    return (folder / FILE).read_text()


def scores_of(data, surest):
    """Scores by which the given videos are taken for the other class, each with its probability."""
    videos = data.samples("train").first_pieces
    scores = {}
    for video, label in zip(videos.video_ids, videos.label_ids.tolist(), strict=True):
        row = np.full(2, 1 - surest.get(video, 0.1))
        row[1 - label] = surest.get(video, 0.1)
        scores[video] = (label, row)
    return scores


def test_the_surest_errors_come_first_with_pictures_of_their_videos(tmp_path):
    data = open_dataset(write_dataset(tmp_path / "data"), split="second")
    text = page(data, scores_of(data, {LONG: 0.7, "jump%2F0": 0.9}), tmp_path / "page")
    assert re.findall(r'class="id" title="([^"]*)">([^<]*)<', text) == [("jump%2F0", "jump/0"), (LONG, unquote(LONG))]
    assert re.findall(r'<dt class="true">(\w+)</dt><dd class="true">([^<]*)<', text) == [
        ("jump", "10.0 %"),
        ("run", "30.0 %"),
    ]
    assert re.findall(r'<dt class="first">(\w+)</dt><dd class="first">([^<]*)<', text) == [
        ("run", "90.0 %"),
        ("jump", "70.0 %"),
    ]
    pictures = [decode_rgb(base64.b64decode(one)) for one in re.findall(r"base64,([^\"]*)", text)]
    # Frame i is grey i + 1; the second video is in two pieces, of 7 and 5 frames.
    np.testing.assert_allclose([one.mean() for one in pictures], [3, 7, 11] * 2, atol=1)


def test_few_are_shown_and_names_are_no_markup(tmp_path):
    data = open_dataset(write_dataset(tmp_path / "data", videos=20, classes=("<b>jump\x1b", "run")), split="second")
    scores = scores_of(data, dict.fromkeys(data.samples("train").video_ids, 0.6))
    text = page(data, scores, tmp_path / "page")
    assert len(re.findall('class="id"', text)) == SHOWN < len(scores)
    assert f"{len(scores)} of {len(scores)} videos are taken for another class" in text
    assert "<b>" not in text
    assert r"&lt;b&gt;jump\x1b" in text


def test_without_errors_the_page_says_so(tmp_path):
    data = open_dataset(write_dataset(tmp_path / "data"), split="second")
    scores = scores_of(data, {})
    assert f"All {len(scores)} videos are named right" in page(data, scores, tmp_path / "page")
