"""The revision of this code that is running."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_tags() -> dict[str, str]:
    """Return commit and state of the checkout that this code runs from; {} where it runs from an installed copy."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # a virtual environment may lie inside another checkout
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.commit": commit, "git.dirty": str(bool(changes)).lower()}
