"""From samples to what a network sees: which frames, which crop, in which order, in which batch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.clips.augment import View as View
    from tasks.clips.augment import views as views
    from tasks.clips.loader import ClipLoader as ClipLoader
    from tasks.clips.loader import ViewLoader as ViewLoader
    from tasks.clips.settings import ClipSettings as ClipSettings

_HOME = {
    "ClipSettings": "settings",
    "ClipLoader": "loader",
    "View": "augment",
    "ViewLoader": "loader",
    "views": "augment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
