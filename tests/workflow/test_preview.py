"""The page about a dataset, written by the command line and read as a browser would."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
from awkward import HOPELESS, MARKUP, NO_VIDEOS, OK, SETTINGS, UNICODE, write_awkward
from prepared import prepare_here
from small_dataset import write_dataset

from pipelines import cli
from pipelines.pages import path_of, visible
from pipelines.preview import preview
from tasks.data import open_dataset, tables
from tasks.data.shard import tar_path


class Page(HTMLParser):
    """What stands in a page: text, images, addresses, and the cells of the table of failures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.images: dict[str, np.ndarray] = {}
        self.addresses: list[str] = []
        self.failures: list[list[str]] = []
        self._failures = False
        self.feed(self.source)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] for name in ("src", "href", "data", "action", "srcset") if name in given]
        self._failures |= given.get("class") == "failures"
        if tag == "tr" and self._failures:
            self.failures.append([])
        if tag == "img":
            kind, _, content = given["src"].partition(";base64,")
            assert kind.startswith("data:image/")
            image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)
            assert given["alt"] not in self.images
            self.images[given["alt"]] = image

    def handle_endtag(self, tag):
        self._failures &= tag != "table"

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.texts.append(data)
        if self._failures and self.failures and data.strip():
            self.failures[-1].append(data)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory) -> str:
    """Real videos and files that are none, prepared; tests only read it."""
    root = tmp_path_factory.mktemp("awkward")
    return prepare_here(write_awkward(root / "source"), root / "dataset", SETTINGS)


@pytest.fixture(scope="module")
def page(awkward, tmp_path_factory) -> Page:
    out = tmp_path_factory.mktemp("page") / "preview.html"
    assert cli.main(["preview", awkward, str(out)]) == 0
    return Page(out)


def figures_of(page: Page) -> dict[str, str]:
    return dict(re.findall(r"<dt>([\w ]+)</dt><dd>(.*?)</dd>", page.source))


def small(root: Path, **how) -> str:
    made = write_dataset(root, **how)
    tables.write_records(made)
    return made


def refusal(capsys, *words: str) -> str:
    assert cli.main(["preview", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("marey: ")
    assert said.count("\n") == 1
    return said


def test_every_failed_video_is_listed_with_its_reason(page: Page, awkward: str) -> None:
    head, *rows = page.failures
    assert head == ["Video", "Class", "Kind", "Reason"]
    listed = {row[0]: (row[2], row[3], row[4]) for row in rows}
    failed = [row for row in tables.read_table(awkward, "records").to_pylist() if row["status"] == "failed"]
    assert len(failed) == len(rows) == len(listed) == len(NO_VIDEOS)
    labels = dict(zip(*tables.read_table(awkward, "manifest", ["video_id", "label"]).to_pydict().values(), strict=True))
    for row in failed:
        told = (labels[row["video_id"]], row["kind"], re.sub(r"[\x00-\x1f]", r"\\x1b", row["message"]))
        assert listed[visible(path_of(row["video_id"]))] == told
    kinds = [row[3] for row in rows]
    assert kinds == sorted(kinds, key=lambda kind: (-kinds.count(kind), kind))
    for kind in set(kinds):
        assert f"{kinds.count(kind)} {kind}" in page.text


def test_names_are_text_and_not_markup(page: Page) -> None:
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 1 + 2 * OK  # each was found to hold its own data
    for name in (MARKUP, UNICODE, "<script>alert(2)<script>", "'quoted\"&amp;", "név 行動 🎬", r"\x1b[31mred.mp4"):
        assert name in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", page.source)


def test_counts_and_settings(page: Page, awkward: str) -> None:
    dataset = open_dataset(awkward)
    figures = figures_of(page)
    assert (figures["videos ok"], figures["failed"], figures["classes"]) == (str(OK), str(len(NO_VIDEOS)), "3")
    assert (figures["frames"], figures["flow pairs"]) == (str(6 * 12 + 16), str(6 * 11 + 15))
    assert figures["Digest"] == f"<code>{dataset.digest}</code>"
    assert "34 pixels" in figures["Short side"]
    assert figures["Flow"] == "TV-L1 (native), ±20 pixels per frame"
    failed = {MARKUP: 2, UNICODE: 2, HOPELESS: 3}
    for label, number in failed.items():
        parts = {part: len({s.video_id for s in dataset.samples(part) if s.label == label}) for part in dataset.parts}
        row = [parts["train"] + parts["val"] + parts["test"] + number, *parts.values(), number]
        used = " ".join(map(str, row))
        assert f"{label} {used}" in page.text
    assert "All 3 videos failed." in page.text


def test_pictures_of_frames_and_flow(page: Page) -> None:
    wheel, *pictures = page.images.values()
    assert wheel.shape[2] == 4
    assert len(pictures) == 2 * OK
    for frame, flow in zip(pictures[::2], pictures[1::2], strict=True):
        assert frame.shape == flow.shape == (34, 60, 3)
        # still corners are white, and in the middle the square goes to the right: red
        assert flow[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 235
        blue, green, red = flow[12:22, 20:36].reshape(-1, 3).mean(0)
        assert red > 200
        assert max(blue, green) < 150
    assert page.text.count("1.5 s · 12 frames") == 6
    assert page.text.count("2.0 s · 16 frames") == 1


def test_the_page_loads_nothing(page: Page) -> None:
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page.source))
    assert "default-src 'none'" in page.source


def test_the_same_dataset_gives_the_same_page(page: Page, awkward: str, tmp_path: Path) -> None:
    preview(awkward, str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == page.source


@pytest.mark.parametrize("how", [{"flow": False}, {"rgb": "h264"}, {"frames": 20}, {}], ids=str)
def test_datasets_of_every_kind(how, tmp_path: Path) -> None:
    result = preview(small(tmp_path / "data", **how), str(tmp_path / "page.html"))
    page = Page(tmp_path / "page.html")
    assert (result.ok, result.failed, result.pictures) == (11, 1, 8)
    flow = how.get("flow", True)
    assert len(page.images) == 8 * (1 + flow) + flow
    assert (figures_of(page)["flow pairs"] == "none") == (not flow)
    assert ("Colour is motion." in page.text) == flow
    assert "All splits" in page.text


def test_any_file_system(tmp_path: Path) -> None:
    local = small(tmp_path / "data")
    memory = fsspec.filesystem("memory")
    memory.put(local, "/preview/data", recursive=True)
    result = preview("memory://preview/data", "memory://preview/page.html")
    assert result.page == "memory://preview/page.html"
    preview(local, str(tmp_path / "page.html"))
    there, here = memory.cat("/preview/page.html").decode(), (tmp_path / "page.html").read_text()
    assert there.replace("memory://preview/data", local) == here
    memory.rm("/preview", recursive=True)


def test_reads_no_shard_but_those_of_the_chosen_videos(tmp_path: Path) -> None:
    root = small(tmp_path / "data", videos=9, shard_videos=1)
    whole = preview(root, str(tmp_path / "all.html"), classes=1, samples=2)
    shown = re.findall(r'alt="Middle frame of ([^,]+),', (tmp_path / "all.html").read_text())
    dataset = open_dataset(root)
    needed = {s.shard for part in dataset.parts for s in dataset.samples(part) if s.video_id in shown}
    for shard in set(range(18)) - needed:
        Path(tar_path(root, shard)).write_bytes(b"")
        Path(tar_path(root, shard)).with_suffix(".json").write_bytes(b"")
    again = preview(root, str(tmp_path / "chosen.html"), classes=1, samples=2)
    assert (whole.pictures, again.pictures, len(needed)) == (2, 2, 2)
    page = Page(tmp_path / "chosen.html")
    assert "1 of 2 classes are shown" in page.text
    assert "--samples shows more videos of each class" in page.text


def test_a_dataset_without_any_readable_video(tmp_path: Path) -> None:
    source = tmp_path / "source" / "nothing"
    source.mkdir(parents=True)
    for number in range(3):
        (source / f"{number}.mp4").touch()
    root = prepare_here(source.parent, tmp_path / "dataset", SETTINGS)
    result = preview(root, str(tmp_path / "page.html"))
    assert (result.ok, result.failed, result.pictures) == (0, 3, 0)
    assert len(Page(tmp_path / "page.html").failures) == 1 + 3


def test_a_dataset_without_failures_says_so(dataset: str, tmp_path: Path) -> None:
    preview(dataset, str(tmp_path / "page.html"))
    assert "None: every video can be read." in Page(tmp_path / "page.html").text


def test_refusals_are_one_sentence(awkward: str, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "page.html")
    assert "is not a prepared dataset" in refusal(capsys, str(tmp_path), out)
    assert "is not a folder: create it" in refusal(capsys, awkward, str(tmp_path / "missing" / "page.html"))
    assert "is a folder: name the page" in refusal(capsys, awkward, _folder(tmp_path / "folder.html"))
    assert "does not end in .html" in refusal(capsys, awkward, f"{awkward}/dataset.json")
    assert "/proc cannot be written" in refusal(capsys, str(tmp_path / "no dataset"), "/proc/page.html")
    assert "; known: seeded" in refusal(capsys, awkward, out, "--split", "third")
    assert "samples must be at least 1, not 0" in refusal(capsys, awkward, out, "--samples", "0")
    assert "missing: OUT" in refusal(capsys, awkward)
    unfinished = write_dataset(tmp_path / "unfinished")
    assert "is not finished" in refusal(capsys, unfinished, out)
    assert not Path(out).exists()


def _folder(path: Path) -> str:
    path.mkdir()
    return str(path)
