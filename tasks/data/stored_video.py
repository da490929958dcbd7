"""Verification of a sample's mp4, which may be a stranger's: it is decoded as source videos are, in the sandbox."""

from __future__ import annotations

import os

import numpy as np

from tasks.data.sample import check_mp4
from tasks.data.sidecar import Record
from tasks.video.decoder_process import DecoderProcess
from tasks.video.errors import VideoError
from tasks.video.stack import new_file
from tasks.words import counted

_KIND = slice(4, 8), b"ftyp"
"""Where an mp4 says that it is one; by other beginnings FFmpeg would take it for something else."""


def differences(name: str, data: bytes | memoryview, count: int, record: Record, decoder: DecoderProcess) -> list[str]:
    """Return what differs between `<key>.rgb.mp4` and its record, at most one line.

    Args:
        name: The member's.
        data: Its content.
        count: Frames that it should hold.
        record: The record, with height and width.
        decoder: What decodes it; a file that crashes the process in it is a difference.
    """
    size = tuple(side + side % 2 for side in (record.height, record.width))
    if data[_KIND[0]] != _KIND[1]:
        return [f"{name}: {len(data)} bytes are not an mp4"]
    file = new_file()
    path = f"/proc/{os.getpid()}/fd/{file}"
    try:
        with open(file, "wb", closefd=False) as target:
            target.write(data)
        frames = decoder.decode(path, decoder="pyav")
    except VideoError as error:
        return [f"{name} cannot be decoded ({error.kind}): {error.message.replace(path, name)}"]
    finally:
        os.close(file)
    found = frames.images.shape
    if found[0] != count:
        return [f"{name} has {counted(found[0], 'frame')}, not {count} as its record says"]
    if found[1:3] != size:
        return [f"{name}: {found[2]} x {found[1]} pixels, not {size[1]} x {size[0]}"]
    if not np.array_equal(np.rint(frames.timestamps * frames.fps), np.arange(count)):  # by which they are found
        return [f"{name} has frames at other times than marey writes"]
    try:
        check_mp4(data)
    except ValueError as error:
        return [f"{name}: {error}"]
    return []
