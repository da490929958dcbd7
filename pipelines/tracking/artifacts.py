"""Where a server keeps artifacts: tried before it serves, by the means that it will use itself."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from pipelines.errors import UserError
from pipelines.tracking.store import prepare_environment
from tasks.remote import LateError, os_errors, reason, within

PROBE = ".marey-writable"
"""Name of the file that is written; it stays, as who may write need not be allowed to delete."""
ANSWER_S = 30.0
"""How long an object store may take."""


def refuse_unwritable(address: str) -> None:
    """Raise an error unless MLflow can write files at an address.

    Args:
        address: `file:///...`, or that of an object store.

    Raises:
        UserError: a package is missing.
        ClusterError: the place does not exist, refuses to be written, or does not answer.
    """
    prepare_environment(os.environ)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    def write() -> None:
        with tempfile.TemporaryDirectory() as scratch, os_errors():
            file = Path(scratch, PROBE)
            file.write_text("marey mlflow-server can write here\n")
            repository: Any = get_artifact_repository(address)  # whose methods have no types
            repository.log_artifact(str(file))

    try:
        within(ANSWER_S, write)
    except ImportError as error:
        raise UserError(f"artifacts at {address} need the package {error.name}: pip install {error.name}") from error
    except LateError as error:
        raise ClusterError(f"{address} does not answer: start it, or correct --artifacts") from error
    except (OSError, ValueError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise ClusterError(
            f"artifacts cannot be written to {address} ({said}): give --artifacts another place, or the server an "
            "account that may write there"
        ) from error
