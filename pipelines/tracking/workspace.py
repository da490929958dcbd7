"""Where runs, checkpoints and `mlflow.db` live by default."""

from __future__ import annotations

import os
from pathlib import Path


def workspace() -> Path:
    """Return the absolute path of the workspace: MAREY_WORK, else `marey-work` in the current folder."""
    return Path(os.environ.get("MAREY_WORK") or "marey-work").expanduser().absolute()
