"""Locks that admit one driver at a time to an output.

A local folder is locked by the operating system, and free as soon as its driver ends, however that happens.

On an object store, and in a folder that several machines may see, there are files `.locks/000001`, `.locks/000002`,
...: whoever created the one with the highest number holds the lock. Each is created on the condition that it does not
exist (S3: `If-None-Match`), so that of two drivers only one gets the next number, and nobody but its creator writes to
it again. It names that process and when it was last active. The holder refreshes it, marks it as released at the end,
and stops when there is a higher number. No number is used twice, so that a write which arrives late, as happens in
networks, changes nothing. The lock of a process of this machine that is dead is free at once.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from filelock import FileLock, Timeout

from tasks.data import exclusive, storage
from tasks.errors import UserError
from tasks.remote import reason

REFRESH_S = 15.0
"""How often a holder refreshes its lock."""
STALE_S = 120.0
"""A holder that has not refreshed its lock for this long has lost it, and knows so."""
WATCH_S = 40.0
"""How long a stale lock must stay unchanged before another driver takes over: two machines' clocks may differ."""

FILE = ".lock"
FOLDER = ".locks"

log = logging.getLogger(__name__)


class Held(UserError):
    """Another process holds the lock."""


class Lock:
    """Keeps other drivers out of an output folder, which it creates if need be, for the length of a `with` block.

    Args:
        root: the folder.
        machines: whether drivers on other machines are to be kept out of a local folder too, which they may share by a
            file system that keeps the locks of each machine's system to it.
        lost: called once, in a thread, when the lock is found to be lost.

    Raises:
        UserError: the folder cannot be created or written, or, as a `Held`, another process holds it.
    """

    def __init__(self, root: str, *, machines: bool = False, lost: Callable[[], object] | None = None) -> None:
        self.root = storage.absolute(root)
        self._machines = machines
        self._told = lost
        self._file: FileLock | None = None
        self._lease: Lease | None = None

    def __enter__(self) -> Lock:
        local = storage.is_local(self.root)
        if local:
            self._take_file()
        if self._machines or not local:
            self._lease = Lease(self.root, alone=local, lost=self._told)
            try:
                self._lease.take()
            except BaseException:
                if self._file:
                    self._file.release()
                raise
        return self

    def _take_file(self) -> None:
        try:
            storage.make_folder(self.root)
            self._file = FileLock(storage.join(self.root, FILE), blocking=False, thread_local=False)
            self._file.acquire()
        except Timeout:
            raise Held(f"{self.root} is being written by another marey process: wait for it to end") from None
        except OSError as error:
            raise UserError(f"{self.root} cannot be written: {reason(error)}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease:
            self._lease.give_back()
        if self._file:
            self._file.release()

    def check(self) -> None:
        """Raise UserError if the lock is known to be lost; asks nobody."""
        if self._lease:
            self._lease.check()

    def confirm(self) -> None:
        """Raise UserError if the lock is lost; asks the file system."""
        if self._lease:
            self._lease.refresh()
            self._lease.check()


@dataclass(frozen=True)
class Holder:
    """The content of a lock object."""

    host: str
    pid: int
    token: str
    """Random, so that no two holders have the same."""
    time: float
    """When it last refreshed the lock, in seconds since 1970 by its own clock."""
    free: bool = False
    """Whether it has released the lock."""
    machine: str = ""
    """This start of its machine, and there the set of processes that see one another's numbers."""
    started: str = ""
    """When the process started, in ticks since the machine did."""

    @classmethod
    def here(cls, token: str, free: bool = False) -> Holder:
        """Return what names this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, token, time.time(), free, _machine(), _started(pid))

    def is_dead(self, *, alone: bool) -> bool:
        """Return whether the process is known to have ended.

        Args:
            alone: whether this process has the folder's other lock, which no process of this machine can then hold.
        """
        boot, _, processes = self.machine.partition(" ")
        own_boot, _, own_processes = _machine().partition(" ")
        if not boot or boot != own_boot:
            return False
        return alone or (processes == own_processes and _started(self.pid) != self.started)


class Lease:
    """The lock of an output that other machines may see."""

    def __init__(self, root: str, *, alone: bool = False, lost: Callable[[], object] | None = None) -> None:
        self.root = root
        self._alone = alone
        self._told = lost
        self._number = 0
        self._token = secrets.token_hex(8)
        self._refreshed = 0.0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="marey-lock", daemon=True)

    def take(self) -> None:
        """Take the lock and keep it refreshed; UserError if another process holds it."""
        storage.make_folder(storage.join(self.root, FOLDER))
        numbers = self._numbers()
        if numbers:
            self._require_free(max(numbers))
        self._number = max(numbers, default=0) + 1
        self._refreshed = time.monotonic()
        path, content = self._path(self._number), self._content()
        if not exclusive.create(path, content):
            self._refuse(self._number)
        if not exclusive.creates_exclusively(path, content):
            log.warning(
                "%s is on a file system that cannot create a file only if it does not exist: a second driver is "
                "refused, but not one that starts at the same moment",
                self.root,
            )
        newest = max(self._numbers(), default=0)
        if newest != self._number:  # others have come and gone since the first listing
            storage.remove(path)
            self._refuse(newest)
        for number in numbers:
            storage.remove(self._path(number))
        self._thread.start()

    def refresh(self) -> None:
        """Refresh the lock, or find that it is lost."""
        asked = time.monotonic()
        newest = max(self._numbers(), default=0)
        held = self._read(self._number)
        if newest != self._number or held is None or held.token != self._token:
            other = self._read(newest) if newest else None
            how = f"to {_who(other)}" if other else f"because {self._path(self._number)} was removed"
            self._lost = f"this process lost its lock on {self.root} {how}, and stopped; what was committed is kept"
            return
        self._publish(self._content())
        self._refreshed = asked

    def check(self) -> None:
        """Raise UserError if the lock is known to be lost."""
        self._expire()
        if self._lost:
            raise UserError(self._lost)

    def _expire(self) -> None:
        silent = time.monotonic() - self._refreshed
        if not self._lost and silent > STALE_S:
            self._lost = (
                f"this process could not refresh its lock on {self.root} for {silent:.0f} s, so that another may hold "
                "it by now, and stopped; what was committed is kept, and the same command continues from there"
            )

    def give_back(self) -> None:
        """Stop refreshing, and admit the next driver at once."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            try:
                self._publish(self._content(free=True))
            except UserError as error:  # must not hide the error that ended the block
                log.warning("the lock could not be released, and expires in %.0f s: %s", STALE_S, error)

    def _publish(self, content: bytes) -> None:
        path = self._path(self._number)
        try:
            storage.publish(path, content)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {reason(error)}") from error

    def _content(self, free: bool = False) -> bytes:
        return json.dumps(asdict(Holder.here(self._token, free)), sort_keys=True).encode()

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(REFRESH_S):
            try:
                self.refresh()
            except UserError as error:
                log.warning("the lock could not be refreshed: %s", error)
                self._expire()
        if self._lost and self._told:
            self._told()

    def _require_free(self, number: int) -> None:
        holder = self._read(number)
        if holder and (holder.free or holder.is_dead(alone=self._alone)):
            return
        if holder is None or time.time() - holder.time < STALE_S:
            self._refuse(number)
        log.warning(
            "%s is locked by %s: taking over, unless it is active within %.0f s",
            self.root,
            _who(holder),
            WATCH_S,
        )
        time.sleep(WATCH_S)
        if self._read(number) != holder:
            self._refuse(number)

    def _refuse(self, number: int) -> NoReturn:
        holder = self._read(number)
        if holder is None:
            raise Held(f"{self.root} is being locked by another marey process: wait for it to end")
        until = _clock(holder.time + STALE_S)
        raise Held(
            f"{self.root} is being written by another marey process, {_who(holder)}: wait for it to end; if it has "
            f"died, the same command continues after {until}, or at once when {self._path(number)} is deleted"
        )

    def _path(self, number: int) -> str:
        return storage.join(self.root, FOLDER, f"{number:06d}")

    def _numbers(self) -> list[int]:
        folder = storage.join(self.root, FOLDER)
        if not storage.exists(folder):
            return []
        return [int(name) for name, _ in storage.entries(folder) if name.isdecimal()]

    def _read(self, number: int) -> Holder | None:
        path = self._path(number)
        try:
            return Holder(**json.loads(storage.read_bytes(path)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {reason(error)}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is not a lock of marey ({error}): delete it if no driver is running") from error


def _machine() -> str:
    """Return this start of the machine and its set of processes; "" where the system does not say."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process of this machine started; "" where there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # from the third one on: proc(5)
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _who(holder: Holder) -> str:
    return f"process {holder.pid} on {holder.host}, last seen at {_clock(holder.time)}"


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
