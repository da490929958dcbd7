"""Ends this process, in one line, where the Ray that it works on is lost: Ray would end it too, in pages of its own."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence

from cluster import head

POLL_S = 2.0
AHEAD_S = 10.0
"""How long before Ray would end the process for its silent head we do."""
LIMIT = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Variable with how long Ray waits, 60 s by default."""
CODE = 2
AGAIN = "give the same command, which goes on from what was finished"


class Watch:
    """A thread that watches the processes of this machine's node, and whether the head answers."""

    def __init__(
        self,
        address: str,
        processes: Sequence[int],
        ended: str,
        is_in_use: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        """Begin to watch.

        Args:
            address: `host:port` of the head; empty for one that cannot be asked.
            processes: ids of those that Ray in this process does not outlive.
            ended: what is said where one of those has ended.
            is_in_use: whether this process still works on that Ray: it may have been disconnected meanwhile.
            end: called before this process ends.
        """
        self._address, self._processes, self._ended = address, processes, ended
        self._is_in_use, self._end = is_in_use, end
        self._stopped = threading.Event()
        threading.Thread(target=self._follow, name="ray-watch", daemon=True).start()

    def stop(self) -> None:
        """Let Ray end without this process."""
        self._stopped.set()

    def _follow(self) -> None:
        ends = select.poll()
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                with contextlib.suppress(OSError):  # it has ended already, which the head will say
                    descriptor = os.pidfd_open(process)
                    stack.callback(os.close, descriptor)
                    ends.register(descriptor, select.POLLIN)
            answered = time.monotonic()
            while not self._stopped.is_set():
                if ends.poll(1000 * POLL_S):
                    self._lost(f"{self._ended} {AGAIN}")
                    return
                if not self._address or head.answers(self._address, POLL_S):
                    answered = time.monotonic()
                elif (silent := time.monotonic() - answered) > patience():
                    self._lost(
                        f"the Ray cluster is lost, whose head at {self._address} has not answered for {silent:.0f} s: "
                        f"start a cluster, and {AGAIN}"
                    )
                    return

    def _lost(self, line: str) -> None:
        if self._stopped.is_set() or not self._is_in_use():
            return
        sys.stdout.flush()
        sys.stderr.write(f"marey: {line}\n")
        sys.stderr.flush()
        self._end()
        os._exit(CODE)  # what would clean up asks Ray, and waits for it


def patience() -> float:
    """Return for how many seconds the head may be silent."""
    return max(POLL_S, float(os.environ.get(LIMIT, "60")) - AHEAD_S)
