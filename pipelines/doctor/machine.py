"""GPUs, disk, shared memory and ports of this machine."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from pipelines.doctor.finding import Finding

GIB = 2**30
LEAST_DISK = 1 * GIB
"""Free bytes below which a checkpoint may not fit."""
LITTLE_DISK = 20 * GIB
LITTLE_SHARED = 1 * GIB
"""Bytes of /dev/shm below which Ray keeps its objects in files; a container has 64 MiB by default."""
PORTS = {5000: "marey ui, marey mlflow-server"}
"""Ports that verbs take unless told otherwise; those of `marey cluster up` are chosen among the free ones."""
SHARED = Path("/dev/shm")


def gpus() -> Iterator[Finding]:
    """Ask torch for GPUs."""
    import torch

    count = torch.cuda.device_count()
    if count:
        names = ", ".join(sorted({torch.cuda.get_device_name(index) for index in range(count)}))
        yield Finding("gpu", "ok", f"torch {torch.__version__} sees {count}: {names}")
        return
    found = f"torch {torch.__version__} sees none"
    if not Path("/proc/driver/nvidia/version").exists():
        yield Finding("gpu", "warning", found, "trainings on this machine run on its CPUs")
    elif torch.version.cuda is None:
        yield Finding("gpu", "warning", f"{found}, as it is a build for CPUs", "install torch's CUDA build")
    else:
        yield Finding("gpu", "warning", found, "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES")


def disk() -> Iterator[Finding]:
    """Look whether the workspace can be written, and how much room it has; nothing is made in a folder."""
    from pipelines.tracking import local_folder, workspace
    from pipelines.tracking.workspace import make_workspace
    from tasks.data import storage

    place = workspace()
    if not storage.is_local(place):
        make_workspace(place)
        yield Finding("workspace", "ok", f"{place} can be written")
    folder = local_folder()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    what = f"{folder}" if there == folder else f"{folder}, which the first command makes"
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("workspace", "error", f"{folder} cannot be written", "set MAREY_WORK to a folder of yours")
        return
    free = shutil.disk_usage(there).free
    found, advice = f"{free / GIB:.1f} GiB free in {what}", "free some, or set MAREY_WORK to a larger disk"
    if free < LITTLE_DISK:
        yield Finding("disk", "error" if free < LEAST_DISK else "warning", found, advice)
    else:
        yield Finding("disk", "ok", found)


def shared_memory() -> Iterator[Finding]:
    """Look how large /dev/shm is, where Ray keeps its objects."""
    if not SHARED.is_dir():
        yield Finding("shared memory", "warning", f"there is no {SHARED}", "mount a tmpfs there")
        return
    usage = shutil.disk_usage(SHARED)
    found = f"{SHARED} has {usage.total / GIB:.1f} GiB, {usage.free / GIB:.1f} of them free"
    if usage.free < LITTLE_SHARED:
        advice = "Ray keeps objects on disk; start a container with --shm-size=4g"
        yield Finding("shared memory", "warning", found, advice)
    else:
        yield Finding("shared memory", "ok", found)


def ports() -> Iterator[Finding]:
    """Try to listen on the ports that verbs take by default."""
    for port, users in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port of one just ended
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Finding(f"port {port}", "warning", f"taken ({users})", "choose another with --port")
            else:
                yield Finding(f"port {port}", "ok", f"free ({users})")
