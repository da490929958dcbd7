"""What listens for TCP connections, and whether it answers a stranger."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
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
        address = ipaddress.ip_address(self.host)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    def refuses_a_stranger(self) -> bool:
        """Whether a request without a token is turned away, by gRPC or by HTTP."""
        if (answers := self._answers_of_ray()) & {"OK", "UNAUTHENTICATED"}:
            return "OK" not in answers
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/jobs/", timeout=5):
                return False
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except (OSError, http.client.HTTPException):
            return False

    def shows_counters(self) -> bool:
        """Whether it answers with counters for Prometheus, whatever it is asked."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/nothing/of/this/name", timeout=5) as answer:
                return b"# HELP" in answer.read()
        except (OSError, http.client.HTTPException):
            return False

    def _answers_of_ray(self) -> set[str]:
        """Call a method of each of Ray's services without a token, and return the status codes."""
        codes = set()
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
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
