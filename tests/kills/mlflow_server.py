"""MLflow's server in campaigns of kills."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from cluster import mlflow, ports


class Server:
    """MLflow's server, which can be killed, and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = ports.free(1)[0]
        self._running: contextlib.ExitStack | None = None
        self._process: int | None = None
        self.database = f"sqlite:///{folder / 'mlflow.db'}"
        (folder / "mlflow.db").touch()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{mlflow.HOST}:{self._port}"

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._running is None:
            stack = contextlib.ExitStack()
            self._process = stack.enter_context(mlflow.serve(self.database, self._port, self._folder)).process.pid
            self._running = stack

    def kill(self) -> bool:
        """Kill it, if it runs, and say whether it did."""
        if self._running is None or self._process is None:
            return False
        os.killpg(self._process, signal.SIGKILL)
        self.close()
        return True

    def close(self) -> None:
        """End it, if it runs."""
        if self._running is not None:
            self._running.close()
            self._running = None
