"""Names and addresses with a meaning for shells, FFmpeg, tar or file systems are handled, or refused."""

import hashlib
import json
import os
import socket
import tarfile
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from changed import change_sidecar
from prepared import prepare_here

from tasks.data import layouts, open_dataset
from tasks.data.manifest import build
from tasks.data.overview import read_overview
from tasks.data.process import process_video
from tasks.data.reader import Reader
from tasks.data.settings import PrepareSettings
from tasks.data.shard import tar_path
from tasks.data.sidecar import read_sidecar
from tasks.data.tables import read_table, write_records
from tasks.data.verify import verify_dataset, verify_shard
from tasks.errors import UserError
from tasks.names import as_on_disk
from tasks.video import DecoderProcess
from tasks.video.codecs import write_mp4

pytestmark = pytest.mark.quick
SETTINGS = PrepareSettings(short_side=32, flow="none", val_fraction=0, test_fraction=0)
IDS = ["../up", "/abs", "a.b.c", "__key__", "-rf", "caf\u00e9", "x~0001", "new\u200bline", "100%", "a\\b", "..", "."]


def video(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 64, 3), dtype=np.uint8)
    write_mp4(path, images, 10)
    return path


def csv_file(folder, rows, header="path,label,video_id"):
    path = folder / "videos.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_ids_like_paths_and_options_stay_names(tmp_path):
    """When prepared, read and unpacked, nothing escapes the folder, and each video is found again by its id."""
    clip = video(tmp_path / "in" / "clip.mp4")
    source = csv_file(tmp_path, [f'{clip},a,"{video_id}"' for video_id in IDS])
    out = prepare_here(source, tmp_path / "out", SETTINGS, "csv")
    assert verify_dataset(out) == verify_shard(out, 0) == []
    dataset = open_dataset(out)
    assert dataset.parts["train"] == len(IDS)
    for sample in dataset.samples("train"):
        assert not set(sample.video_id) & set("./\\~")
        assert not sample.video_id.startswith("-")
        assert dataset.rgb(sample, [4]).shape == (1, 32, 64, 3)
    with tarfile.open(tar_path(out, 0)) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert len(os.listdir(tmp_path / "unpacked")) == 2 * len(IDS)
    assert sorted(os.listdir(tmp_path)) == ["in", "out", "unpacked", "videos.csv"]


@pytest.mark.parametrize("pair", [("Clip", "clip"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "stra\u00dfe")])
def test_ids_that_a_file_system_would_mix_up_are_refused(tmp_path, pair):
    clip = video(tmp_path / "clip.mp4")
    with pytest.raises(UserError, match="two videos have the same id"):
        build(layouts.read("csv", str(csv_file(tmp_path, [f"{clip},a,{name}" for name in pair]))), SETTINGS)


ODD_LABELS = ["two\nlines", "$x_1$ 100% {a}\\b", "\x1b[31mred", "=1+1", "\u202egpj", "cafe\u0301"]


def test_labels_of_any_characters_are_kept(tmp_path):
    clip = video(tmp_path / "clip.mp4")
    rows = [f'{clip},"{label}",{number}' for number, label in enumerate(ODD_LABELS)]
    out = prepare_here(csv_file(tmp_path, rows), tmp_path / "out", SETTINGS, "csv")
    assert verify_dataset(out) == verify_shard(out, 0) == []
    expected = [*ODD_LABELS[:-1], "caf\u00e9"]
    assert open_dataset(out).classes == sorted(expected)
    with tarfile.open(tar_path(out, 0)) as tar:
        samples = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    assert {sample["video_id"]: sample["label"] for sample in samples} == {str(i): x for i, x in enumerate(expected)}


@pytest.mark.parametrize("asked", ["caf\u00e9", "cafe\u0301"])
def test_splits_and_folds_are_found_by_either_form_of_their_names(tmp_path, asked):
    clip = video(tmp_path / "clip.mp4")
    rows = [f"{clip},a,{number},{group},train" for number, group in enumerate(("cafe\u0301", "other"))]
    source = csv_file(tmp_path, rows, "path,label,video_id,group,split cafe\u0301")
    out = prepare_here(source, tmp_path / "out", SETTINGS, "csv")
    write_records(out)
    assert open_dataset(out, split=f"split {asked}").split == "split caf\u00e9"
    assert open_dataset(out, fold=f"group={asked}").parts == {"train": 1, "val": 0, "test": 1}
    assert read_overview(Reader(out), f"split {asked}").split == "split caf\u00e9"


def test_a_folder_of_things_that_are_no_files(tmp_path):
    """Links to themselves, pipes, sockets and devices fail at once; none is waited for or read."""
    folder = tmp_path / "source" / "jump"
    video(folder / "-good.mp4")
    video(folder / "con\ttrol.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "null.mp4").symlink_to("/dev/null")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    (folder / "lost.mp4").symlink_to(tmp_path / "nowhere")
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    (folder / "above").symlink_to(folder.parent)
    (tmp_path / "source" / "self").symlink_to(tmp_path / "source" / "self")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "socket.mp4"))
        listing = layouts.read("folder", str(folder.parent))
        assert sorted(listing.ignored) == ["jump/above", "self"]
        out = prepare_here(folder.parent, tmp_path / "out", SETTINGS)
    records = {record["video_id"]: record for record in read_table(out, "records").to_pylist()}
    assert {name.removeprefix("jump%2F"): record["kind"] for name, record in records.items()} == {
        "-good": "",
        "con%09trol": "",
        "pipe": "unreadable",
        "null": "unreadable",
        "zero": "unreadable",
        "socket": "unreadable",
        "lost": "missing",
        "self": "missing",
    }
    assert not read_sidecar(out, 0).provisional


@pytest.fixture
def server():
    """An address that counts who asks it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.asked = []
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def test_addresses_of_ffmpeg_are_names_of_files(tmp_path, server):
    """In a CSV file they are missing files; and a file of such a name is that file."""
    clip = video(tmp_path / "clip.mp4")
    address = f"http:/127.0.0.1:{server.server_port}/x.mp4"
    names = [
        "pipe:0",
        "fd:0",
        f"concat:{clip}|{clip}",
        f"file:{clip}",
        "-",
        f"subfile,,start,0,end,0,,:{clip}",
        address,
    ]
    with pytest.raises(UserError, match=f"{len(names)} videos that do not exist: pipe:0"):
        layouts.read("csv", str(csv_file(tmp_path, [f'"{name}",a,' for name in names])))
    video(tmp_path / "pipe:0")
    video(tmp_path / "http:" / "127.0.0.1:9" / "x.mp4")
    rows = layouts.read("csv", str(csv_file(tmp_path, ["pipe:0,a,", "http:/127.0.0.1:9/x.mp4,a,"]))).rows
    with DecoderProcess() as decoder:
        for row in rows:
            done = process_video({**asdict(row), "label_id": 0}, SETTINGS, decoder)
            assert (done.record["status"], done.record["frames"]) == ("ok", 5)
    assert server.asked == []


@pytest.mark.parametrize("suffix", ["m3u8", "ffconcat", "mpd", "sdp", "mp4"])
def test_lists_of_other_files_are_not_followed(tmp_path, server, suffix):
    clip = video(tmp_path / "clip.mp4")
    url = f"http://127.0.0.1:{server.server_port}/clip.mp4"
    text = {
        "m3u8": f"#EXTM3U\n#EXTINF:3,\n{url}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{clip}'\nfile '{url}'\n",
        "mpd": f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "mp4": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
    }[suffix]
    (tmp_path / f"list.{suffix}").write_text(text)
    row = {"video_id": "list", "uri": str(tmp_path / f"list.{suffix}"), "label": "a", "label_id": 0, "group": None}
    with DecoderProcess(timeout_s=20) as decoder:
        record = process_video({**row, "start_s": None, "end_s": None}, SETTINGS, decoder).record
    assert (record["status"], record["kind"]) == ("failed", "unreadable")
    assert server.asked == []


@pytest.mark.parametrize("uri", ["rtmp://127.0.0.1:9/x", "tcp://127.0.0.1:9", "nosuch://x", "http://", "http://["])
def test_addresses_that_nothing_can_open_are_final_failures(uri):
    row = {"video_id": "a", "uri": uri, "label": "a", "label_id": 0, "group": None, "start_s": None, "end_s": None}
    with DecoderProcess() as decoder:
        record = process_video(row, SETTINGS, decoder).record
    assert record["kind"] == "unreadable"
    assert uri in record["message"]


def forged(member):
    """Return a tar header for a member of two bytes, and the bytes."""
    return member.tobuf(tarfile.GNU_FORMAT) + (b"hi".ljust(512, b"\0") if member.isreg() else b"")


@pytest.mark.parametrize("name", ["../outside", "/tmp/marey-outside", "link"])
def test_a_shard_with_members_that_lead_outside(tmp_path, name):
    """`verify` names the shard, and readers go by the sidecar: no member is ever unpacked."""
    out = Path(prepare_here(video(tmp_path / "in" / "a" / "1.mp4").parents[1], tmp_path / "out", SETTINGS))
    member = tarfile.TarInfo(name)
    if name == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    else:
        member.size = 2
    shard = Path(tar_path(str(out), 0))
    sound = shard.read_bytes()
    shard.write_bytes(forged(member) + sound)
    assert "shard 000000 has" in verify_shard(str(out), 0)[0]
    shard.write_bytes(sound[:-1024] + forged(member) + bytes(1024))
    dataset = open_dataset(str(out))
    assert dataset.rgb(dataset.samples("train")[0], [0]).shape == (1, 32, 64, 3)
    sidecar = out / "shards" / "000000.json"
    members = [*json.loads(sidecar.read_text())["members"], [name, len(sound) - 512, member.size]]
    data = shard.read_bytes()
    change_sidecar(sidecar, members=members, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert verify_shard(str(out), 0) == [f"shard 000000: member {name} belongs to no record"]
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert not Path("/tmp/marey-outside").exists()


@pytest.mark.parametrize(("stored", "asked"), [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_remote_file_is_found_by_either_form_of_its_name(stored, asked):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(
        {f"/names/{stored}/{stored}.mp4": b"x", "/names/list.csv": f"path,label\n{asked}/{asked}.mp4,a\n".encode()}
    )
    try:
        (row,) = layouts.read("csv", "memory://names/list.csv").rows
        assert row.uri == f"memory://names/{stored}/{stored}.mp4"
        assert as_on_disk(f"memory://names/{asked}/absent{asked}.mp4") == f"memory://names/{asked}/absent{asked}.mp4"
        memory.pipe({f"/names/{asked}/{stored}.mp4": b"x"})
        assert as_on_disk(f"memory://names/{asked}/{asked}.mp4") == f"memory://names/{asked}/{stored}.mp4"
        memory.pipe({f"/names/one/{name}.mp4": b"x" for name in (stored + asked, asked + stored)})
        with pytest.raises(UserError, match=r"may be memory://names/one/.* or memory://names/one/.*: rename one"):
            as_on_disk(f"memory://names/one/{stored}{stored}.mp4")
    finally:
        memory.rm("/names", recursive=True)
