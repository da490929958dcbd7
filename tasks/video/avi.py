"""The index of an AVI file, for what FFmpeg does not say: which frames were dropped."""

from __future__ import annotations

import numpy as np

_ENTRY = np.dtype([("chunk", "S4"), ("flags", "<u4"), ("offset", "<u4"), ("size", "<u4")])


def dropped_frames(path: str, stream: int) -> int:
    """Return how many frames of a stream have no data, by the index; 0 if a file was cut, and has none."""
    with open(path, "rb") as file:
        file.seek(12)  # RIFF, its size, AVI
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"idx1":
                data = file.read(size)
                entries = np.frombuffer(data, _ENTRY, len(data) // _ENTRY.itemsize)
                video = np.isin(entries["chunk"], [b"%02ddc" % stream, b"%02ddb" % stream])
                return int((video & (entries["size"] == 0)).sum())
            file.seek(size + size % 2, 1)
    return 0
