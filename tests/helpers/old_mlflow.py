"""A database as an older MLflow left it, with an experiment `old`: python old_mlflow.py URI."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine, text

BACK = 12
"""Migrations that the older MLflow did not have."""
MIGRATIONS = str(Path(mlflow.__file__).parent / "store" / "db_migrations")


def older_version() -> str:
    """The version of its tables."""
    return [script.revision for script in ScriptDirectory(MIGRATIONS).walk_revisions()][BACK]


def write(uri: str) -> None:
    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("sqlalchemy.url", uri.replace("%", "%%"))
    command.upgrade(config, older_version())
    with engine.begin() as connection:
        made = "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES "
        made += "('old', 'mlflow-artifacts:/1', 'active')"
        connection.execute(text(made))


if __name__ == "__main__":
    write(sys.argv[1])
