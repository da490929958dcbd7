"""How the workers of a training find one another: on the address of their node, not on every interface.

Ray's own set-up has torch listen on all interfaces, and gloo on whichever interface the machine's name resolves to.
Neither asks for a token, so a training on one machine stays on loopback, and one on several within their network.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import ray
import torch
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

from cluster import ray_internals

SHUTDOWN_SECONDS = 3.0
"""How long workers may take to leave their group before they are ended; one whose machine has gone never does."""

_store: Any = None
"""The store of a group whose rank 0 is this process, from its opening until the group has it."""


@dataclass
class NodeAddresses(TorchConfig):
    """Ray Train's settings for torch, with the group below instead of Ray's."""

    umask: int = 0o077
    """With which Ray Train's processes copy checkpoints into the run's folder."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What sets up the group."""
        return _Group


class _Group(Backend):
    share_cuda_visible_devices = True  # NCCL connects the GPUs of a machine directly

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Connect the workers; a single one needs no group. Runs in Ray Train's controller."""
        ray_internals.count_what_stays()
        os.umask(backend_config.umask)
        ray.get(worker_group.execute_async(os.umask, backend_config.umask))
        world = len(worker_group)
        if world == 1:
            return
        kind = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo"
        timeout = timedelta(seconds=backend_config.timeout_s)
        host, port = worker_group.execute_single(0, open_store, world, timeout)
        joining = [
            worker_group.execute_single_async(rank, join, kind, rank, world, host, port, timeout)
            for rank in range(world)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Disconnect the workers."""
        ray.wait(worker_group.execute_async(leave), num_returns=len(worker_group), timeout=SHUTDOWN_SECONDS)


def open_store(world: int, timeout: timedelta) -> tuple[str, int]:
    """Open the store of a group on this node's address, and return its host and port."""
    global _store
    host = _node_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))
        port = bound.getsockname()[1]
        descriptor = bound.detach()
    _store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, world, is_master=True, timeout=timeout, wait_for_workers=False, master_listen_fd=descriptor
    )
    return host, port


def join(kind: str, rank: int, world: int, host: str, port: int, timeout: timedelta) -> None:
    """Join the group of the store at `host:port`; its traffic takes the interface of this node's address."""
    global _store
    if name := interface(_node_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
    store = _store or dist.TCPStore(  # type: ignore[attr-defined]
        host, port, world, is_master=False, timeout=timeout
    )
    _store = None
    dist.init_process_group(kind, store=store, rank=rank, world_size=world, timeout=timeout)


def leave() -> None:
    """Leave the group, if this worker is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def interface(host: str) -> str | None:
    """Return the name of the network interface that has an address; None where none has it."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            return name
    return None


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
