"""A decoding process that runs other code than ours."""

import numpy as np

import tasks.video.child as child_module
from tasks.video.codecs import write_mp4


def write_noise(folder):
    """Write a video of 30 frames of noise, 64 x 48 pixels, and return its path."""
    path = folder / "clip.mp4"
    write_mp4(path, np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8), 30)
    return str(path)


def swap(monkeypatch, code):
    """Let every child that is started from now on run some code before it serves, outside its sandbox."""
    start = f"exec({code!r}); from tasks".replace("{", "{{").replace("}", "}}")
    monkeypatch.setattr(child_module, "_START", child_module._START.replace("from tasks", start))


def replace_serving(monkeypatch, does):
    """Let every child started from now on do something at each request, inside its sandbox, before it decodes.

    Args:
        monkeypatch: pytest's.
        does: statements that may use `stack`, `source` and a list `kept` which lasts as long as the process.
    """
    swap(monkeypatch, _SERVING.replace("DOES", does.replace("\n", "\n    ")))


def speak(monkeypatch, reply):
    """Let every child started from now on be another program, which answers its first request with some bytes."""
    program = _SPEAKING.replace("REPLY", repr(reply).replace("{", "{{").replace("}", "}}"))
    monkeypatch.setattr(child_module, "_START", program)


_SPEAKING = """
import socket
pipe = socket.socket(fileno={descriptor})
pipe.send(b'{{"landlock": 0, "seccomp": false, "input_only": false}}')
pipe.recv(1 << 16)
pipe.send(REPLY)
pipe.recv(1 << 16)
"""
_SERVING = """
import tasks.video.decoder_child as served
from tasks.video.errors import VideoError
real, kept = served.decode_into, []
def decode_into(stack, source, **more):
    DOES
    return real(stack, source, **more)
served.decode_into = decode_into
"""
