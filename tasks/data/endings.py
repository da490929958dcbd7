"""What the name of a file says about it: the ending of a video, or of a file that lies beside one."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence

from tasks.data import storage
from tasks.errors import UserError
from tasks.video.image_folder import is_frame

_VIDEOS = """
3g2 3gp asf avi divx f4v flv gif m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf ogg ogv rm rmvb ts vob webm wmv y4m
"""
_COMPANIONS = """
aac ass ssa csv description flac gpx h5 html idx jpeg jpg json jsonl log lrc lrv m4a md md5 mp3 nfo npy npz opus part
pkl png pt sha1 sha256 srt sub tfl thm tmp toml tsv ttml txt url vtt wav webp xml xmp yaml yml ytdl
"""
VIDEOS = frozenset(_VIDEOS.split())
"""Endings of videos, in lower case and without their dot; videos may have any other, too."""
COMPANIONS = frozenset(_COMPANIONS.split())
"""Endings of what cameras and downloaders leave beside a video: descriptions, subtitles, thumbnails, sound, checksums,
unfinished downloads."""
_LOOKED_AT = 4096
"""Bytes of a file of unknown ending that are looked at."""


def stem(path: str) -> str:
    """Return a path without the ending of its last name."""
    dot = path.rfind(".")
    return path[:dot] if path.rfind("/") + 1 < dot < len(path) - 1 else path


def ending(path: str) -> str:
    """Return the ending of a path's last name, in lower case and without its dot."""
    return path[len(stem(path)) + 1 :].lower()


def is_named_video(path: str) -> bool:
    """Return whether a path ends as videos do."""
    return ending(path) in VIDEOS


def is_no_video(path: str) -> bool:
    """Return whether a file is not a video by its ending or, where that is unknown, because its content is text."""
    own = ending(path)
    return own in COMPANIONS or (own not in VIDEOS and _is_text(path))


def are_frames(paths: Sequence[str]) -> bool:
    """Return whether the visible files of a folder are one video: numbered images, and nothing that may be a video."""
    return any(is_frame(path.rpartition("/")[2]) for path in paths) and all(map(is_no_video, paths))


def _is_text(path: str) -> bool:
    try:
        if storage.is_local(path) and not stat.S_ISREG(os.stat(path).st_mode):
            return False  # reading a pipe may never end
        start = storage.read_bytes(path, 0, _LOOKED_AT)
        text = codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < _LOOKED_AT)
    except (OSError, UserError, UnicodeDecodeError):
        return False  # where it cannot be read, whatever decodes it will say so
    return bool(text) and "\0" not in text
