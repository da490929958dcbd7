"""What a database holds, before MLflow opens it: nothing, MLflow's tables, those of another version, or damage.

MLflow migrates an old database without asking, and tries again for minutes where it cannot connect. Where its
migrations lie is a private part of it; checked with MLflow 3.17.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from pipelines.errors import UserError
from pipelines.tracking.address import VARIABLE, database_file, shown
from pipelines.tracking.failures import explain
from tasks.remote import without_credentials

BUSY_SECONDS = 4.0
"""Time that another process may hold a database file; ours do so for milliseconds."""
CHECKED_BYTES = 256 * 2**20
"""Size up to which every page of a database file is checked: about a second."""


@dataclass(frozen=True)
class Tables:
    """Tables of MLflow that have a version of their own."""

    version_table: str
    migrations: str
    """Folder of MLflow that holds their migrations."""


RUNS = Tables("alembic_version", "store/db_migrations")
ACCOUNTS = Tables("alembic_version_auth", "server/auth/db/migrations")
"""Those of the logins of a server, which has them in the same database."""


def refuse_unfit(uri: str, *, write: bool, name: str = VARIABLE, kinds: Sequence[Tables] = (RUNS,)) -> None:
    """Raise an error unless the database is empty or has the tables of this MLflow.

    Args:
        uri: address of the database; a file need not exist.
        write: whether runs are to be written, too.
        name: where the address was given.
        kinds: tables that are asked for.

    Raises:
        UserError: its driver is missing, its address is wrong, or it is another program's or another MLflow's.
        ClusterError: it does not answer, is locked or damaged.
    """
    if outdated(uri, write=write, name=name, kinds=kinds):
        raise UserError(
            f"{shown(uri)} has the tables of an older version than MLflow {_here()}: `marey mlflow-server --check "
            f"--store {database_file(uri) or without_credentials(uri)}` copies it and brings it up to date"
        )


def outdated(
    uri: str, *, write: bool, name: str = VARIABLE, kinds: Sequence[Tables] = (RUNS, ACCOUNTS)
) -> list[Tables]:
    """Return the tables that are of an older MLflow; none for an empty database.

    Args and errors are those of `refuse_unfit`.
    """
    file = database_file(uri)
    if file and (not file.exists() or file.stat().st_size == 0):
        return []
    from sqlalchemy.exc import SQLAlchemyError

    try:
        tables, versions = _read(uri, file, write=write)
    except (SQLAlchemyError, ImportError, OSError, UnicodeDecodeError) as error:  # the last from a damaged name
        raise explain(error, uri, name) from error
    if tables and RUNS not in versions:
        raise UserError(f"{shown(uri)} is a database of another program: give MLflow one of its own")
    return [kind for kind in kinds if kind in versions and _is_old(uri, kind, versions[kind], name)]


def upgrade(uri: str, kind: Tables) -> None:
    """Bring tables up to date, in place; they should have been copied."""
    import mlflow
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(mlflow.__file__).parent / kind.migrations))
    config.set_main_option("sqlalchemy.url", uri.replace("%", "%%"))
    command.upgrade(config, "heads")


def _read(uri: str, file: Path | None, *, write: bool) -> tuple[Sequence[str], dict[Tables, str]]:
    """Return the names of the tables, and MLflow's versions of them."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS} if file else {})
    with engine.connect() as connection:
        if file and file.stat().st_size <= CHECKED_BYTES:
            problems = connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all()
            if problems != ["ok"]:
                raise explain(ValueError(str(problems[0]).replace("***", "").strip()), uri)
        tables = inspect(connection).get_table_names()
        found = {
            kind: connection.exec_driver_sql(f"SELECT version_num FROM {kind.version_table}").scalar()
            for kind in (RUNS, ACCOUNTS)
            if kind.version_table in tables
        }
        if file and write:
            connection.rollback()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    return tables, {kind: str(version) for kind, version in found.items() if version is not None}


def _is_old(uri: str, kind: Tables, version: str, name: str) -> bool:
    """Return whether tables have an older version than this MLflow's.

    Raises:
        ClusterError: it is none that this MLflow knows.
    """
    import mlflow
    from alembic.script import ScriptDirectory

    known = ScriptDirectory(str(Path(mlflow.__file__).parent / kind.migrations))
    if version == known.get_current_head():
        return False
    if version in {script.revision for script in known.walk_revisions()}:
        return True
    raise ClusterError(
        f"{shown(uri)} has tables that MLflow {_here()} does not know ({version}), as of a newer version: install that "
        f"one, or set {name} to another database"
    )


def _here() -> str:
    """Return the version of MLflow that is installed."""
    import mlflow

    return str(mlflow.__version__)
