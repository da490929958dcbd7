"""A real PostgreSQL, and the driver that MLflow needs for it; skips the test where they cannot be had."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import processes
import pytest
from paths import ROOT

Within = Callable[[Sequence[object]], list[str]]
"""Returns the command line that runs a command elsewhere, as on one of several hosts."""
PASSWORD, QUOTED = "s3cret/&%", "s3cret%2F%26%25"
"""As it is, and as an address has it."""
INSTALLING_S = 180
STARTING_S = 60


def driver(place: Path) -> str:
    """Return what PYTHONPATH needs for the driver; it is installed in a folder where the environment lacks it."""
    if importlib.util.find_spec("psycopg2"):
        return str(ROOT)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, "psycopg2-binary"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING_S)
    if done.returncode:
        pytest.skip(f"psycopg2-binary cannot be installed: {done.stderr.splitlines()[-1:]}")
    return f"{ROOT}:{place}"


def here(words: Sequence[object]) -> list[str]:
    """Return the command line of a command on this machine."""
    return [str(word) for word in words]


@contextmanager
def running(within: Within = here) -> Iterator[int]:
    """Run PostgreSQL on loopback, as a user without privileges and with the role `marey`, and give its port."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    root = os.geteuid() == 0
    if root and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no account postgres")
    if not root and within is not here:
        pytest.skip("PostgreSQL does not run as root, which a user without its rights is on a host of a test")
    place = Path(tempfile.mkdtemp(prefix="marey-postgres-"))
    account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    if root:
        shutil.chown(place, "postgres", "postgres")
    (place / "password").write_text(PASSWORD)
    (place / "password").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(name: str, *words: str) -> None:
        subprocess.run(
            within([*account, programs[-1] / name, "-D", place / "data", *words]),
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=STARTING_S,
        )

    try:
        run("initdb", "-U", "marey", "-A", "scram-sha-256", f"--pwfile={place / 'password'}", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "-w", "-l", str(place / "log"), "-o", options)
        try:
            yield port
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(place)


def address(port: int, password: str = QUOTED, database: str = "postgres") -> str:
    return f"postgresql://marey:{password}@127.0.0.1:{port}/{database}"


def query(driver: str, uri: str, statement: str, within: Within = here) -> list[tuple[str, ...]]:
    code = (
        "import json, sys, psycopg2; c = psycopg2.connect(sys.argv[1]); c.autocommit = True; k = c.cursor(); "
        "k.execute(sys.argv[2]); print(json.dumps(k.fetchall() if k.description else []))"
    )
    command = within([sys.executable, "-c", code, uri, statement])
    done = processes.run(command, env=os.environ | {"PYTHONPATH": driver})
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in json.loads(done.stdout)]
