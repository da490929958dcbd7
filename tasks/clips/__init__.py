"""Clips: which frames of a sample and which crop a network sees, in which order and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.lazy import importer

if TYPE_CHECKING:
    from tasks.clips.augment import View as View
    from tasks.clips.augment import views as views
    from tasks.clips.loader import ClipLoader as ClipLoader
    from tasks.clips.loader import ViewLoader as ViewLoader
    from tasks.clips.settings import ClipSettings as ClipSettings

_MODULES = {
    "ClipSettings": "settings",
    "ClipLoader": "loader",
    "View": "augment",
    "ViewLoader": "loader",
    "views": "augment",
}
__getattr__ = importer(__name__, _MODULES)
