"""What a decoding process sends is data, whoever has written it."""

import os

import numpy as np
import pytest
from decoder_children import replace_serving, speak, write_noise

from tasks.video import DecoderProcess, VideoError, messages
from tasks.video.stack import FrameStack, read_frames

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


GOOD = {"shape": [2, 48, 64, 3], "total": 30, "fps": 25.0, "decoder": "pyav"}
BAD = {
    "no frames": {"shape": [0, 48, 64, 3]},
    "too many frames": {"shape": [9, 48, 64, 3]},
    "four channels": {"shape": [2, 48, 64, 4]},
    "four numbers": {"shape": [2, 48, 64]},
    "a negative side": {"shape": [2, -48, -64, 3]},
    "a huge side": {"shape": [2, 48, 1 << 80, 3]},
    "a text for a side": {"shape": [2, "48", 64, 3]},
    "another size": {"shape": [2, 40, 64, 3]},
    "fewer frames than it has": {"total": 1},
    "a fraction": {"total": 2.5},
    "no rate": {"fps": float("nan")},
    "a truth for a rate": {"fps": True},
    "another decoder": {"decoder": "a\x1b[2J"},
    "more": {"more": 1},
}


@pytest.mark.parametrize("bad", BAD)
def test_an_answer_must_be_one_to_the_request(bad):
    assert messages.decoded(GOOD, 48, 2).shape == (2, 48, 64, 3)
    with pytest.raises(messages.Nonsense):
        messages.decoded(GOOD | BAD[bad], 48, 2)


def test_other_messages_are_checked_too():
    assert messages.declared({"declared": [48, 64, 0]}) == (48, 64, 0)
    assert messages.images({"images": [1, 3]}, 3) == (1, 3)
    for message in ({"declared": [0, 64, 1]}, {"declared": [48, 64]}, {"declared": None}):
        with pytest.raises(messages.Nonsense):
            messages.declared(message)
    for wanted in ([3, 4], [0, 4], [-1, 2], [1, 1], [False, True], [1], None, "12"):
        with pytest.raises(messages.Nonsense):
            messages.images({"images": wanted}, 3)
    for message in ({"error": "fine", "text": ""}, {"error": "io", "text": 1}, {"error": ["io"], "text": ""}):
        with pytest.raises(messages.Nonsense):
            messages.error(message)


REPLIES = {
    "a pickle": b"\x80\x05cposix\nsystem\n(S'touch CANARY'\ntR.",
    "nothing": b"",
    "a number": b"1",
    "deep nesting": b"[" * 60000,
    "a long message": b'{"error": "unreadable", "text": "' + b"a" * 70000 + b'"}',
    "frames that are not there": b'{"shape": [1, 48, 64, 3], "total": 1, "fps": 1, "decoder": "pyav"}',
    "an image of a file": b'{"images": [0, 1]}',
}


@pytest.mark.parametrize("reply", REPLIES)
def test_what_a_child_sends_is_never_run(noise, monkeypatch, tmp_path, reply):
    canary = tmp_path / "canary"
    with DecoderProcess(timeout_s=20) as child:
        speak(monkeypatch, REPLIES[reply].replace(b"CANARY", os.fsencode(canary)))
        with pytest.raises(VideoError) as error:
            child.decode(noise, count=2, decoder="pyav")
        assert error.value.kind == "crash"
        assert not canary.exists()
        assert child.pid is None
        monkeypatch.undo()
        assert reply != "a pickle" or len(child.decode(noise, count=2).images) == 2


def test_an_error_of_the_child_is_one_line_of_letters(noise, monkeypatch):
    replace_serving(monkeypatch, "raise VideoError('truncated', source + ' \\x1b[2J\\n' + 9999 * 'a')")
    with DecoderProcess() as child, pytest.raises(VideoError) as error:
        child.decode(noise)
    assert error.value.message.startswith(f"{noise} ?[2J?aaa")  # the user's name of the video
    assert len(error.value.message) < 2100


def test_a_child_that_asks_without_end_is_ended(noise, monkeypatch):
    replace_serving(monkeypatch, "while True: stack.declare(48, 64, 30)")
    with DecoderProcess(timeout_s=30) as child, pytest.raises(VideoError, match="sizes without end"):
        child.decode(noise, decoder="pyav")


def test_a_child_that_asks_until_it_is_late_is_ended(tmp_path, monkeypatch):
    (tmp_path / "1.jpg").write_bytes(b"")
    replace_serving(monkeypatch, "while True: list(source.contents(0, 1))")
    with DecoderProcess(timeout_s=1) as child, pytest.raises(VideoError, match="not decoded within 1 s"):
        child.decode(str(tmp_path), decoder="pyav")


def test_frames_stay_as_they_are_once_they_are_taken_over():
    with FrameStack() as stack:
        stack.append(np.full((4, 6, 3), 7, np.uint8))
        stack.finish([0.5])
        images, times = read_frames(stack.descriptor, stack.shape)
        for change in (lambda: os.ftruncate(stack.descriptor, 0), lambda: os.pwrite(stack.descriptor, b"x", 0)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(ValueError, match="number of bytes"):
            read_frames(stack.descriptor, (2, 4, 6, 3))
        with pytest.raises(ValueError, match="number of bytes"):
            read_frames(stack.descriptor, (1 << 20, 1 << 20, 1 << 20, 3))
    assert (images == 7).all()
    assert times.tolist() == [0.5]
    images[:] = 8  # they are the caller's own
