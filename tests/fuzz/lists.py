"""Damaged tables and lists: whatever bytes they hold, they make a dataset or one line that names the file."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

from tasks.data import layouts
from tasks.data.layouts._table import lines_of, read_rows
from tasks.data.manifest import build
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError

SETTINGS = PrepareSettings(val_fraction=0, test_fraction=0)
SOURCES: dict[str, dict[str, str]] = {
    "csv": {
        "videos.csv": "path,label,group,start_s,end_s,part,split1,note\n"
        'a.mp4,jump,P1,,1.5,train,train,"x, y"\n"b.mp4","run ""fast""",P2,0,2,train,train,\n'
        "c.mp4,caf\u00e9,P1,1e-3,,test,test,z\nd.mp4,caf\u00e9,,,,train,train,\n"
    },
    "kinetics": {
        "train.csv": "label,youtube_id,time_start,time_end,split\nair drumming,aaaaaaaaaaa,0,10,train\n"
        '"yoga, hot",bbbbbbbbbbb,5,15,train\nyoga,ccccccccccc,5,15,train\n',
        "val.csv": "label,youtube_id,time_start,time_end,split\nyoga,ccccccccccc,25,35,validate\n",
    },
    "ucf101": {
        "ucfTrainTestlist/classInd.txt": "1 Archery\n2 Yoga\n",
        "ucfTrainTestlist/trainlist01.txt": "Archery/v_Archery_g01_c01.avi 1\nYoga/v_Yoga_g01_c01.avi 2\n",
        "ucfTrainTestlist/testlist01.txt": "Archery/v_Archery_g02_c01.avi\n",
    },
    "hmdb51": {"testTrainMulti_7030_splits/clap_test_split1.txt": "a.avi 1 \nb.avi 2 \n"},
    "jester": {
        "jester-v1-labels.csv": "Swiping Left\nThumb Up\n",
        "jester-v1-train.csv": "1;Swiping Left\n2;Thumb Up\n",
        "jester-v1-validation.csv": "3;Thumb Up\n",
    },
    "ssv2": {
        "something-something-v2-labels.json": '{"Holding something": "0", "Hiding something": "1"}',
        "something-something-v2-train.json": json.dumps(
            [{"id": "1", "template": "Holding [something]"}, {"id": "2", "template": "Hiding [something]"}]
        ),
        "something-something-v2-validation.json": '[{"id": "3", "template": "Hiding [something]"}]',
    },
    "diving48": {
        "Diving48_vocab.json": '[["Back", "15som"], ["Forward", "35som"]]',
        "Diving48_V2_train.json": '[{"vid_name": "a_1", "label": 0}, {"vid_name": "b_1", "label": 1}]',
        "Diving48_V2_test.json": '[{"vid_name": "a_2", "label": 0}]',
    },
}
"""Layout -> list -> content, whole."""
_VIDEOS = {
    "csv": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"],
    "kinetics": [f"train/{name}_000005_000015.mp4" for name in ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc")],
    "ucf101": [f"UCF-101/{name}.avi" for name in ("Archery/v_Archery_g01_c01", "Yoga/v_Yoga_g01_c01")]
    + ["UCF-101/Archery/v_Archery_g02_c01.avi"],
    "hmdb51": ["clap/a.avi", "clap/b.avi"],
    "jester": [f"20bn-jester-v1/{number}/00001.jpg" for number in (1, 2, 3)],
    "ssv2": [f"20bn-something-something-v2/{number}.webm" for number in (1, 2, 3)],
    "diving48": [f"rgb/{name}.mp4" for name in ("a_1", "b_1", "a_2")],
}
_LISTS = [(layout, name) for layout, lists in SOURCES.items() for name in lists]
_PIECES = [
    *(b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"=1"),
    *(b"-1", b"1e999", b"nan", b"99999999999999999999", b"\xc3\xa9", b"e\xcc\x81", b"\xe2\x80\xae", b"\x1b[2J", b"../"),
    *(b"[", b"]", b"{", b"}", b":", b"null", b"[" * 2000, b"x" * 40_000, b"train", b"path", b"sep=;\n", b"://", b"~"),
]


def content(number: int) -> tuple[str, str, bytes]:
    """Return layout, list and damaged content of a case."""
    rng = random.Random(number)
    layout, name = _LISTS[number % len(_LISTS)]
    data = SOURCES[layout][name].encode()
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        data = _damaged(data, rng)
    return layout, name, data


def _damaged(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    short, piece = min(end, start + 8), rng.choice(_PIECES)
    match rng.randrange(8):
        case 0:
            return data[:start] + piece + data[start:]
        case 1:
            return data[:start] + piece + data[short:]
        case 2:
            return data[:start] + data[short:]
        case 3:
            return data[:start]
        case 4:
            return data[:end] + data[start:]
        case 5:
            return data[:start] + rng.randbytes(rng.choice((1, 3, 64))) + data[short:]
        case 6:
            return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "latin-1", "utf-8")), "replace")
    return data.replace(rng.choice((b",", b"\n", b'"')), piece)


class Sources:
    """Whole sources of every layout below a folder, each of whose lists is damaged in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for layout, lists in SOURCES.items():
            files = {name: text.encode() for name, text in lists.items()} | dict.fromkeys(_VIDEOS[layout], b"x")
            if layout == "ucf101":
                files |= {
                    name.replace("01.txt", f"{n:02d}.txt"): files[name]
                    for n in (2, 3)
                    for name in lists
                    if "list01" in name
                }
            if layout == "hmdb51":
                files |= {name.replace("split1", f"split{n}"): files[name] for n in (2, 3) for name in lists}
            for name, data in files.items():
                path = folder / layout / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def read(self, layout: str) -> int:
        """Return the number of videos of a source; raise UserError where it is refused."""
        source = self.folder / layout / ("videos.csv" if layout == "csv" else "")
        listing = layouts.read(layout, str(source))
        manifest, _ = build(listing, SETTINGS)
        return manifest.num_rows

    def hold(self, number: int) -> bool:
        """Read a source with one damaged list; return whether it was read, AssertionError if a promise is broken."""
        layout, name, data = content(number)
        path = self.folder / layout / name
        path.write_bytes(data)
        refusal = ""
        try:
            assert self.read(layout) > 0, "a dataset without videos"
            if path.suffix == ".csv" and layout != "jester":
                _check_cells(path, data)
        except UserError as error:
            refusal = str(error)
        finally:
            path.write_bytes(SOURCES[layout][name].encode())
        assert not refusal or layout in refusal or "class" in refusal, f"no place: {refusal}"
        return not refusal


def _check_cells(path: Path, data: bytes) -> None:
    """Compare what was read with Python's own reader, as far as that one is strict."""
    text = data.decode("utf-8-sig")
    ours = [cells for _, cells in read_rows(str(path), lines_of(text))]
    reader = csv.reader(io.StringIO("\n".join(lines_of(text)), newline=""), strict=True, skipinitialspace=True)
    try:
        theirs = [[cell.strip() for cell in cells] for cells in reader]
    except csv.Error:
        return
    assert ours == [cells for cells in theirs if any(cells)], "other cells than Python's reader finds"
