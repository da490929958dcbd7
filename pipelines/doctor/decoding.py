"""Decoders, codecs and the sandbox around them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from cluster.environment import variables_set
from cluster.logs import reason
from pipelines.doctor.finding import Finding

ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
"""Codecs that videos come in, and the encoder that makes one to try."""
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12"}}
"""Options of the encoders."""
SIZE = 64
FRAMES = 4


def libraries() -> Iterator[Finding]:
    """Load decord, PyAV and OpenCV."""
    yield _decord()
    for name, module, advice in (
        ("PyAV", "av", "pip install av"),
        ("OpenCV", "cv2", "pip install opencv-contrib-python, and apt-get install -y libgl1 libglib2.0-0"),
    ):
        try:
            yield Finding(name, "ok", import_module(module).__version__)
        except (ImportError, OSError) as error:
            yield Finding(name, "error", _line(error), advice)


def codecs() -> Iterator[Finding]:
    """Encode a few frames with each codec, and decode them as `marey prepare` does."""
    from av.codec.codec import UnknownCodecError
    from av.error import FFmpegError

    from tasks.video import DecoderProcess, VideoError

    advice = "install PyAV's own wheel (pip install --force-reinstall --only-binary av av)"
    with tempfile.TemporaryDirectory(prefix="marey-doctor-") as folder, DecoderProcess(timeout_s=15.0) as decoder:
        for codec, encoder in ENCODERS.items():
            file = Path(folder, f"{codec}.mp4")
            try:
                _encode(file, encoder)
                frames = decoder.decode(str(file))
            except (UnknownCodecError, FFmpegError):
                yield _not_tried(codec, advice)
            except VideoError as error:
                yield Finding(codec, "error" if codec == "h264" else "warning", error.message, advice)
            else:
                yield Finding(codec, "ok", f"decoded by {'decord' if frames.decoder == 'decord' else 'PyAV'}")


def sandbox() -> Iterator[Finding]:
    """Start the process that decodes, and ask which parts of its sandbox hold."""
    from tasks.video import DecoderProcess

    with DecoderProcess() as decoder:
        held = decoder.sandbox()
    advice = "prepare videos from strangers in a container or under an account of their own (SECURITY.md)"
    yield Finding("sandbox", "ok", str(held)) if held.is_whole else Finding("sandbox", "warning", str(held), advice)


def _decord() -> Finding:
    """Load decord in a process of its own: its FFmpeg, loaded before PyAV's, takes the place of that one's encoders."""
    command = [sys.executable, "-P", "-c", "import decord; print(decord.__version__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return Finding("decord", "ok", done.stdout.strip())
    why = reason(done.stderr)
    advice = "PyAV decodes instead; where there is a wheel (x86-64), `pip install decord` is faster"
    return Finding("decord", "warning", "not installed" if why.startswith("ModuleNotFoundError") else why, advice)


def _not_tried(codec: str, advice: str) -> Finding:
    """Return whether there is a decoder for a codec that cannot be tried for want of an encoder."""
    import av

    if codec in av.codecs_available:
        return Finding(codec, "ok", "PyAV has a decoder, which was not tried: no encoder makes a video to try")
    return Finding(codec, "error" if codec == "h264" else "warning", "PyAV has no decoder", advice)


def _encode(file: Path, encoder: str) -> None:
    import av
    import numpy as np

    with variables_set({"SVT_LOG": "0"}), av.open(str(file), "w") as container:
        stream: Any = container.add_stream(encoder, rate=25, options=QUIET.get(encoder, {}))
        stream.pix_fmt, stream.width, stream.height = "yuv420p", SIZE, SIZE
        for number in range(FRAMES):
            image = np.full((SIZE, SIZE, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
