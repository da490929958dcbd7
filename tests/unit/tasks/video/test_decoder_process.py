import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT, VIDEOS
from processes import run, started

import tasks.video.child as child_module
from tasks.data.process import process_video
from tasks.data.settings import PrepareSettings
from tasks.video import DecoderProcess, VideoError, decode
from tasks.video.codecs import write_mp4

ODD = VIDEOS / "odd_files"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    images = np.random.default_rng(0).integers(0, 256, (90, 12, 16, 3), dtype=np.uint8)
    write_mp4(path, np.repeat(np.repeat(images, 24, 1), 24, 2), 30)
    return str(path)


@pytest.fixture
def child():
    with DecoderProcess(timeout_s=60) as process:
        yield process


def gone(pid, seconds=10.0):
    """Wait until a process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        threading.Event().wait(0.02)
    return False


@pytest.mark.quick
def test_same_frames_as_in_process_and_one_child_for_many(child, clip):
    here, there = decode(clip, short_side=96), child.decode(clip, short_side=96)
    pid = child.pid
    assert np.array_equal(here.images, there.images)
    assert np.array_equal(here.timestamps, there.timestamps)
    assert (here.fps, here.decoder, here.total) == (there.fps, there.decoder, there.total)
    second = child.decode(clip, first=3, count=2)
    assert child.pid == pid
    assert len(second.images) == 2
    assert np.array_equal(here.images, there.images)  # a later video does not overwrite an earlier one


@pytest.mark.quick
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_video_in_parts_is_the_whole_video(child, clip, decoder):
    whole = child.decode(str(clip), decoder=decoder).images
    for count in (1, len(whole) // 2, len(whole) - 1, len(whole), len(whole) + 1):
        pieces = [piece.images for piece in child.pieces(str(clip), count, decoder=decoder)]
        assert len(pieces) == -(-len(whole) // count)
        assert np.array_equal(np.concatenate(pieces), whole)


def test_parts_of_a_video_from_elsewhere_cost_one_transfer(child, clip, tmp_path):
    for name in ("one.mp4", "other.mp4"):
        (tmp_path / name).write_bytes(Path(clip).read_bytes())
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        pieces = [child.decode(f"{address}/one.mp4", first=first, count=30).images for first in (0, 30, 60)]
        child.decode(f"{address}/other.mp4", count=1)
        child.decode(f"{address}/one.mp4", decoder="pyav", count=1)
        server.shutdown()
    assert np.array_equal(np.concatenate(pieces), decode(clip).images)
    assert asked == ["/one.mp4", "/other.mp4", "/one.mp4"]


@pytest.mark.quick
def test_errors_come_through_and_the_child_stays(child, tmp_path):
    (tmp_path / "page.mp4").write_text("<html>")
    for name, kind in [("none.mp4", "missing"), ("page.mp4", "unreadable")]:
        with pytest.raises(VideoError) as error:
            child.decode(str(tmp_path / name))
        assert error.value.kind == kind
    assert child.pid is not None


def during(child, signal_number):
    """Send a signal to the child that is about to decode: it is stopped first, so that it cannot have finished."""
    os.kill(child.pid, signal.SIGSTOP)
    if signal_number != signal.SIGSTOP:
        threading.Timer(0.2, os.kill, (child.pid, signal_number)).start()


CRASHING = """
import os, signal, socket
pipe = socket.socket(fileno={descriptor})
pipe.send(b'{{"landlock": 0, "seccomp": false, "input_only": false}}')
pipe.recv(1)
os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.mark.quick
@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
def test_crash_is_an_error_and_the_child_is_replaced(child, clip, monkeypatch, decoder):
    with monkeypatch.context() as patch:
        patch.setattr("tasks.video.child._START", CRASHING)
        child.close()
        with pytest.raises(VideoError, match="SIGSEGV") as error:
            child.decode(clip, decoder=decoder)
    assert error.value.kind == "crash"
    assert child.pid is None
    assert len(child.decode(clip).images) == 90


@pytest.mark.quick
def test_a_child_that_cannot_start_is_an_error(child, clip, monkeypatch):
    monkeypatch.setattr("tasks.video.child._START", "raise SystemExit(3)")
    with pytest.raises(VideoError, match="status 3") as error:
        child.decode(clip)
    assert error.value.kind == "crash"


@pytest.mark.quick
@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
def test_a_child_killed_by_others_is_tried_again_with_the_same_decoder(child, clip, decoder):
    child.decode(clip, count=1)
    pid = child.pid
    during(child, signal.SIGKILL)
    frames = child.decode(clip, count=5, decoder=decoder)
    assert frames.decoder == ("decord" if decoder == "auto" else decoder)
    assert gone(pid)


def test_hang_is_a_timeout(clip):
    with DecoderProcess(timeout_s=1) as child:
        child.decode(clip, count=1)
        pid = child.pid
        during(child, signal.SIGSTOP)
        with pytest.raises(VideoError, match="within 1 s") as error:
            child.decode(clip, decoder="pyav")
        assert error.value.kind == "timeout"
        assert gone(pid)
        child.decode(clip, count=1)
        during(child, signal.SIGSTOP)
        assert child.decode(clip, count=3).decoder == "pyav"  # where one decoder hangs, the other may not


@pytest.mark.parametrize(
    ("does", "kind", "says"),
    [("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"), ("while True: pass", "timeout", "within 3 s")],
)
def test_a_decoder_that_segfaults_or_hangs_leaves_the_video_to_the_other(clip, monkeypatch, does, kind, says):
    """It happens in the child, for each video; the record names the decoder that was used in the end."""
    broken = f"def broken(*_):\n    {does}\nimport sys, tasks.video.decoder_child\n"
    broken += "sys.modules['tasks.video.decode']._read_decord = broken\n"
    start = child_module._START.replace("from tasks", f"exec({broken!r}); from tasks")
    monkeypatch.setattr(child_module, "_START", start)
    row = {"video_id": "a", "uri": clip, "label": "a", "label_id": 0, "group": None, "start_s": None, "end_s": None}
    with DecoderProcess(timeout_s=3) as child:
        with pytest.raises(VideoError, match=says) as error:
            child.decode(clip, decoder="decord")
        assert error.value.kind == kind
        record = process_video(row, PrepareSettings(short_side=16, flow="none"), child).record
        assert (record["status"], record["decoder"], record["frames"]) == ("ok", "pyav", 90)


def test_child_dies_with_a_killed_parent(clip):
    code = (
        "import sys; from tasks.video import DecoderProcess; d = DecoderProcess(); d.decode(sys.argv[1], count=1);"
        "print(d.pid, flush=True); sys.stdin.read()"
    )
    root = ROOT
    command = [sys.executable, "-c", code, clip]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
        assert gone(pid)


def test_starts_from_a_folder_with_foreign_packages(tmp_path, clip):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError('foreign')")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('foreign')")
    root = ROOT
    code = (
        f"import sys; sys.path[0] = {str(root)!r}; from tasks.video import DecoderProcess;"
        "print(len(DecoderProcess().decode(sys.argv[1], count=4).images))"
    )
    done = run([sys.executable, "-c", code, clip], cwd=tmp_path)
    assert done.stdout.strip() == "4", done.stderr


EXPECTED = {
    "bitflips.mp4": "truncated",
    "html_error_page.mp4": "unreadable",
    "random_bytes.avi": "unreadable",
    "trunc_header_only.avi": "unreadable",
    "zero_length.mp4": "empty",
    "fixture_fixture-bad-offset.mp3": "no_video",
    "fixture_fixture-dash.mp4": "unreadable",
    "fixture_fixture-isomv2.mp4": "unreadable",
    "fixture_fixture-moov.mov": "unreadable",
    "fixture_fixture-mp4v2.mp4": "no_video",
    "fixture_fixture.mp3": "no_video",
    "fixture_fixture.ogv": "unreadable",
    "fixture_fixture2.mkv": "truncated",
    "media_doc_medias_result.webm": "empty",
    "media_rain.mp3": "no_video",
    "test_resources_nasa_13013.mp4.audio_44100.mp3": "no_video",
    "test_resources_sine_mono_s32.wav": "no_video",
    "test_resources_sine_mono_s32_8000.wav": "no_video",
}
COUNTS = {
    "C3D-v1.0_examples_c3d_feature_extraction_input_avi_v_ApplyEyeMakeup_g01_c01.avi": (164, "decord"),
    "newtonscradle.gif": (36, "pyav"),
    "test.webm": (94, "pyav"),
    "media_no_duration.webm": (74, "pyav"),
    "ps7_vfr.mp4": (109, "decord"),
    "ps7_tiny_16x16.mp4": (109, "pyav"),
    "media_test_video.mp4": (5, "pyav"),
    "resource_media_ta_chi.mp4": (300, "decord"),
    "test_resources_nasa_13013.mp4": (390, "decord"),
    "fixture_fixture.wmv.asf": (1, "pyav"),
    "sample_v_GGSY1Qvo990.mp4": (355, "decord"),
}


@pytest.mark.skipif(not ODD.is_dir(), reason=f"no real clips at {ODD} (MAREY_TEST_VIDEOS)")
def test_every_odd_file_ends_as_frames_or_one_kind(child, capfd):
    files = sorted(path for path in ODD.rglob("*") if path.is_file())
    assert len(files) == 68
    found, counts, pids = {}, {}, set()
    for path in files:
        try:
            frames = child.decode(str(path), short_side=64)
        except VideoError as error:
            found[path.name] = error.kind
        else:
            counts[path.name] = (len(frames.images), frames.decoder)
            assert min(frames.images.shape[1:3]) == 64
            assert len(frames.images) == len(frames.timestamps) == frames.total
            assert (np.diff(frames.timestamps) >= 0).all()
            assert frames.timestamps[0] == 0
            assert frames.fps > 0 or len(frames.images) == 1
        pids.add(child.pid)
    assert found == EXPECTED
    assert {name: counts[name] for name in COUNTS} == COUNTS
    assert len(pids) == 1
    assert capfd.readouterr().err == ""
