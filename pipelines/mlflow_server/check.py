"""`marey mlflow-server --check`: whether a database has the tables of this MLflow, and an upgrade after a copy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from sqlalchemy.engine import make_url

from cluster.errors import ClusterError
from pipelines.errors import UserError
from pipelines.mlflow_server.places import Places
from pipelines.tracking import make_folder, schema, store
from pipelines.tracking.address import database_file, shown
from pipelines.tracking.failures import one_line
from tasks.remote import without_credentials

PROGRAM = "pg_dump"


def check(places: Places) -> str:
    """Return what was found about a server's database, and done: nothing, or an upgrade after a copy.

    Raises:
        UserError: the database is another program's, or cannot be copied here.
        ClusterError: it does not answer, is damaged or of a newer MLflow, or the upgrade fails.
    """
    file = database_file(places.store)
    if file is not None and (not file.exists() or file.stat().st_size == 0):
        return f"{file} does not exist yet: the server makes it, with the tables of this MLflow"
    old = store.outdated(places.store, places.store_name)
    if not old:
        return f"{shown(places.store)} has the tables of this MLflow: nothing to do"
    make_folder(places.folder)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    copy = _copy_file(file, stamp) if file else _dump(places, stamp)
    try:
        with one_line(places.store):
            for kind in old:
                schema.upgrade(places.store, kind)
    except (UserError, ClusterError) as error:
        raise ClusterError(f"{error}; as it was, the database is in {copy}") from error
    return f"{shown(places.store)} was brought up to date; as it was, it is in {copy}"


def _copy_file(file: Path, stamp: str) -> Path:
    """Copy an SQLite database, consistently even where another process writes to it, for its owner only."""
    copy = file.with_name(f"{file.name}.before-{stamp}")
    try:
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        source, target = sqlite3.connect(file), sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
    except (OSError, sqlite3.Error) as error:
        copy.unlink(missing_ok=True)
        raise ClusterError(f"{file} cannot be copied to {copy} ({error}): nothing was changed") from error
    return copy


def _dump(places: Places, stamp: str) -> Path:
    """Copy a PostgreSQL database to a file of this machine, for its owner only."""
    uri, program, where = make_url(places.store), shutil.which(PROGRAM), without_credentials(places.store)
    if program is None:
        raise UserError(
            f"{where} cannot be copied without {PROGRAM}: install it (Debian: apt-get install postgresql-client), or "
            "copy the database elsewhere and run `mlflow db upgrade` on it"
        )
    copy = places.folder / f"{uri.database or 'database'}.before-{stamp}.dump"
    bare = uri.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = os.environ | ({"PGPASSWORD": str(uri.password)} if uri.password is not None else {})
    with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        command = [program, "--format=custom", "--no-password", f"--dbname={without_credentials(bare)}"]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        copy.unlink()
        said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
        raise ClusterError(f"{where} cannot be copied, so nothing was changed: {said}")
    return copy
