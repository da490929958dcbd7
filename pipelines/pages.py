"""Pages of HTML that load nothing from anywhere, by jinja2.

Whatever a template shows is escaped, unless the code marks it as markup.
"""

from __future__ import annotations

import base64
import functools
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from tasks.video.codecs import jpeg_rgb

THUMBNAIL = 256
"""Longest side of a picture in pixels, at most."""
QUALITY = 82


def render(folder: Path, template: str, filters: dict[str, Callable[..., str]] | None = None, **data: Any) -> str:
    """Return a template of a folder filled with the data; `filters` are functions that it may use by name."""
    environment = _environment(folder)
    environment.filters |= filters or {}
    return environment.get_template(template).render(data)


def path_of(video_id: str) -> str:
    """Return a video's path below its source, which its id is made of."""
    return urllib.parse.unquote(video_id, errors="surrogateescape")


def data_uri(content: bytes, kind: str) -> Markup:
    """Return a picture as an address that holds it; `kind` is jpeg or png."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def thumbnail(image: NDArray[np.uint8]) -> bytes:
    """Return a small JPEG of uint8 RGB [H,W,3]."""
    size = thumbnail_size(image.shape[1], image.shape[0])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return jpeg_rgb([small], QUALITY)[0]


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the small picture of a larger one."""
    factor = min(1.0, THUMBNAIL / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def visible(text: str) -> str:
    r"""Write control characters and broken Unicode as `\x1b`, so that any text can be shown."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", lambda match: f"\\x{ord(match[0]):02x}", text)


@functools.cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["path"] = path_of
    return environment


def _visible(value: Any) -> Any:
    """Make control characters visible; autoescape deals with markup. What is marked as markup stays as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
