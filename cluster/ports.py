"""Free TCP ports of this machine."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from cluster.errors import ClusterError


def free(count: int) -> list[int]:
    """Return ports that nobody listens on, outside the range that the kernel assigns from."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    candidates = [port for port in range(20_000, 65_536) if not low <= port <= high] or range(20_000, 65_536)
    found: list[int] = []
    for port in random.sample(candidates, len(candidates)):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(f"fewer than {count} ports above 20,000 are free: stop what uses them")
