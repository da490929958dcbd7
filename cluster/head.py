"""Whether the head of a Ray cluster answers."""

from __future__ import annotations

import os

from cluster import token
from cluster.errors import ClusterError

PROBE_SECONDS = 5.0
"""Time that a cluster has to answer; Ray itself would try for minutes."""


def probe(address: str) -> None:
    """Raise ClusterError unless a Ray cluster at `host:port` answers and accepts our token."""
    import grpc

    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ClusterError(
            f"{address} is not the address of a Ray cluster's head: give host:port, or from outside the cluster use "
            "`marey submit --address`"
        )
    if not can_be_asked():
        return
    try:
        ask(address, PROBE_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ClusterError(
                f"the Ray cluster at {address} refuses the token: set RAY_AUTH_TOKEN_PATH to the file with its "
                "token (`marey cluster status` prints the path for a local cluster)"
            ) from error
        raise ClusterError(
            f"no Ray cluster answers at {address}: start one (`marey cluster up`), "
            "or correct the address in --address or RAY_ADDRESS"
        ) from error


def can_be_asked() -> bool:
    """Return whether heads are asked at all: TLS needs the certificates that only Ray itself loads."""
    return os.environ.get("RAY_USE_TLS", "0") not in ("1", "true")


def answers(address: str, seconds: float) -> bool:
    """Return whether the head at `host:port` answers within so many seconds, be it with a refusal."""
    import grpc

    try:
        ask(address, seconds)
    except grpc.RpcError as error:
        return bool(error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))
    return True


def ask(address: str, seconds: float) -> None:
    """Raise `grpc.RpcError` unless the head at `host:port` says within so many seconds that it is alive."""
    call(address, "/ray.rpc.NodeInfoGcsService/CheckAlive", b"", seconds)


def call(address: str, method: str, request: bytes, seconds: float) -> bytes:
    """Return the answer of the head at `host:port`; raise `grpc.RpcError` if there is none within so many seconds."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(method)
        return bytes(ask(request, timeout=seconds, metadata=list(token.header(token.read()).items())))
