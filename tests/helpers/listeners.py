"""What listens for TCP connections, and whether it answers a stranger."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
import psutil

METHODS = (
    "NodeInfoGcsService/CheckAlive",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Push",
    "CoreWorkerService/GetCoreWorkerStats",
    "ReporterService/HealthCheck",
    "RayletDriver/ClusterInfo",
)


@dataclass(frozen=True, order=True)
class Listener:
    """A listening socket."""

    process: str
    host: str
    port: int

    @property
    def on_loopback(self) -> bool:
        """Whether no other machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def address(self) -> str:
        """Its host, an IPv4 address as such."""
        mapped = getattr(ipaddress.ip_address(self.host), "ipv4_mapped", None)
        return str(mapped or self.host)

    def refuses_a_stranger(self, at: str = "127.0.0.1") -> bool:
        """Whether a request without a token, to that address, is turned away, by gRPC or by HTTP."""
        if (answers := self._answers_of_ray(at)) & {"OK", "UNAUTHENTICATED"}:
            return "OK" not in answers
        try:
            with urllib.request.urlopen(f"http://{at}:{self.port}/api/jobs/", timeout=5):
                return False
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except (OSError, http.client.HTTPException):
            return False

    def shows_counters(self, at: str = "127.0.0.1") -> bool:
        """Whether it answers with counters for Prometheus, whatever it is asked."""
        try:
            with urllib.request.urlopen(f"http://{at}:{self.port}/nothing/of/this/name", timeout=5) as answer:
                return b"# HELP" in answer.read()
        except (OSError, http.client.HTTPException):
            return False

    def _answers_of_ray(self, at: str) -> set[str]:
        """Call a method of each of Ray's services without a token, and return the status codes."""
        codes = set()
        with grpc.insecure_channel(f"{at}:{self.port}") as channel:
            for method in METHODS:
                try:
                    channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=5)
                    codes.add("OK")
                except grpc.RpcError as error:
                    codes.add(error.code().name)
        return codes


def of(processes: Iterable[psutil.Process]) -> list[Listener]:
    """All listening sockets of some processes; those that end meanwhile have none."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(Listener(process.name(), connection.laddr.ip, connection.laddr.port))
    return sorted(found)


def of_host() -> list[Listener]:
    """All listening sockets of the host that this process is on, as `ss` lists them."""
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    found = set()
    for line in lines:
        host, _, port = line.split()[3].rpartition(":")
        host = "::" if host == "*" else host.strip("[]").partition("%")[0]
        named = re.search(r'users:\(\("([^"]*)"', line)
        found.add(Listener(named[1] if named else "?", host, int(port)))
    return sorted(found)
