"""What a database holds, before MLflow opens it: nothing, MLflow's tables, those of another version, or damage.

MLflow migrates an old database without asking, and tries again for minutes where it cannot connect. Where its
migrations lie is a private part of it; checked with MLflow 3.17.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def refuse_unfit(uri: str, *, write: bool, name: str = VARIABLE) -> None:
    """Raise an error unless the database is empty or has the tables of this MLflow.

    Args:
        uri: address of the database; a file need not exist.
        write: whether runs are to be written, too.
        name: where the address was given.

    Raises:
        UserError: its driver is missing, its address is wrong, or it is another program's or another MLflow's.
        ClusterError: it does not answer, is locked or damaged.
    """
    file = database_file(uri)
    if file and (not file.exists() or file.stat().st_size == 0):
        return
    from sqlalchemy.exc import SQLAlchemyError

    try:
        tables, version = _read(uri, file, write=write)
    except (SQLAlchemyError, ImportError, OSError, UnicodeDecodeError) as error:  # the last from a damaged name
        raise explain(error, uri, name) from error
    if not tables:
        return
    if version is None:
        raise UserError(f"{shown(uri)} is a database of another program: give MLflow one of its own")
    _refuse_other_version(uri, version, name)


def _read(uri: str, file: Path | None, *, write: bool) -> tuple[Sequence[str], str | None]:
    """Return the names of the tables and MLflow's version of them."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS} if file else {})
    with engine.connect() as connection:
        if file and file.stat().st_size <= CHECKED_BYTES:
            problems = connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all()
            if problems != ["ok"]:
                raise explain(ValueError(str(problems[0]).replace("***", "").strip()), uri)
        tables = inspect(connection).get_table_names()
        version = None
        if "alembic_version" in tables:
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if file and write:
            connection.rollback()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    return tables, version


def _refuse_other_version(uri: str, version: str, name: str) -> None:
    import mlflow
    from alembic.script import ScriptDirectory

    known = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if version == known.get_current_head():
        return
    here = f"MLflow {mlflow.__version__}"
    if version in {script.revision for script in known.walk_revisions()}:
        raise UserError(
            f"{shown(uri)} has the tables of an older version than {here}: copy it, then bring it up to date "
            f"(`mlflow db upgrade {without_credentials(uri)}`)"
        )
    raise ClusterError(
        f"{shown(uri)} has tables that {here} does not know ({version}), as of a newer version: install that one, or "
        f"set {name} to another database"
    )
