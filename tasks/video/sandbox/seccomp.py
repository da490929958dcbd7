"""The system calls that a decoding process may make, as a filter for the kernel (seccomp(2)).

Whatever is not listed fails with EPERM, or with ENOSYS if it is newer than this list: libraries then do without it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_Instruction = tuple[int, int, int, int]
"""Code, how many instructions to skip if true, if false, and an operand."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _ASK, _KILL = 0x7FFF0000, 0x00050000, 0x7FC00000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they stand in struct seccomp_data
_NEWER = 424
"""System calls from this number on are the same everywhere, and were added since 2019."""

_SET_FILTER = 1
_ALL_THREADS, _SPECULATE, _GATE, _ALL_THREADS_AND_GATE = 1, 4, 8, 16  # SPECULATE: older kernels slow a filtered process

_MACHINES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
"""Machine -> AUDIT_ARCH, column of the tables below, number of seccomp itself."""

_ALWAYS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "poll": (7, None), "lseek": (8, 62),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "nanosleep": (35, 101), "alarm": (37, None),
    "setitimer": (38, 103), "getpid": (39, 172), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "exit": (60, 93), "uname": (63, 160), "ftruncate": (77, 46), "gettimeofday": (96, 169),
    "getrlimit": (97, None), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "sigaltstack": (131, 132), "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "restart_syscall": (219, 128), "fadvise64": (221, 223),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99), "dup3": (292, 24), "getcpu": (309, 168),
    "getrandom": (318, 278), "membarrier": (324, 283), "rseq": (334, 293), "close_range": (436, 436),
    "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446),
}  # fmt: skip
"""Numbers on x86_64 and aarch64; None where there is no such call. Landlock can only take more away."""

_OPEN, _OPENAT = (2, None), (257, 56)
_SOMETIMES = {
    "mmap": (9, 222), "clone": (56, 220), "fcntl": (72, 25), "prctl": (157, 167), "tgkill": (234, 131),
    "newfstatat": (262, 79), "prlimit64": (302, 261), "statx": (332, 291),
}  # fmt: skip

_MAP_SHARED = 1
_CLONE_THREAD, _NEW_NAMESPACES = 0x10000, 0x7E020000
_OF_DESCRIPTOR = 0x1000  # AT_EMPTY_PATH
_HARMLESS_FCNTL = (0, 1, 2, 3, 4, 1030, 1034)  # not F_SETOWN, which sends signals, nor F_ADD_SEALS
_HARMLESS_PRCTL = (15, 16, 0x53564D41)  # names of threads and of mappings


def install(libc: ctypes.CDLL, *, gate: bool) -> int | None:
    """Filter the system calls of all threads of this process from now on.

    Args:
        libc: with `use_errno`; no_new_privs is set.
        gate: suspend each opening of a file for reading until the holder of the gate decides; else they are allowed.

    Returns:
        The descriptor of the gate.

    Raises:
        OSError: no such filters on this machine, or the kernel's only gate is taken.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    number = _MACHINES[machine][2]
    instructions = program(machine, os.getpid(), gate=gate)
    code = b"".join(struct.pack("HBBI", *one) for one in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    flags = _ALL_THREADS | _SPECULATE | (_GATE | _ALL_THREADS_AND_GATE if gate else 0)
    result: int = libc.syscall(ctypes.c_long(number), _SET_FILTER, flags, ctypes.c_char_p(head))
    if result < 0:
        code_of_error = ctypes.get_errno()
        raise OSError(code_of_error, os.strerror(code_of_error))
    return result if gate else None


def program(machine: str, pid: int, *, gate: bool) -> list[_Instruction]:
    """Return the filter for a process on a machine, `x86_64` or `aarch64`."""
    architecture, column, _ = _MACHINES[machine]
    lines: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), _end(_KILL)]
    lines.append((_LOAD, 0, 0, _NUMBER))

    def rule(numbers: tuple[int, int | None], body: list[_Instruction]) -> None:
        number = numbers[column]
        if number is not None:
            lines.extend([(_EQUAL, 0, len(body), number), *body])

    for numbers in _ALWAYS.values():
        rule(numbers, [_end(_ALLOW)])
    opened = _end(_ASK if gate else _ALLOW)
    rule(_OPEN, _lacks(1, ~_read_only(), opened, errno.EACCES))
    rule(_OPENAT, _lacks(2, ~_read_only(), opened, errno.EACCES))
    for name, body in {
        "mmap": _lacks(3, _MAP_SHARED),  # memory that the limit does not count, or that the parent reads
        "clone": [_load(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), _deny(), *_has(0, _CLONE_THREAD)],
        "fcntl": _one_of(1, _HARMLESS_FCNTL),
        "prctl": _one_of(0, _HARMLESS_PRCTL),
        "tgkill": _one_of(0, (pid,)),
        "newfstatat": _has(3, _OF_DESCRIPTOR),
        "statx": _has(2, _OF_DESCRIPTOR),
        "prlimit64": _null(2),  # limits can be read
    }.items():
        rule(_SOMETIMES[name], body)
    return [*lines, (_AT_LEAST, 0, 1, _NEWER), _deny(errno.ENOSYS), _deny()]


def _read_only() -> int:
    """Return the flags of open(2) that do no harm; O_RDONLY is none."""
    return os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_LARGEFILE


def _end(action: int) -> _Instruction:
    return _RETURN, 0, 0, action


def _deny(code: int = errno.EPERM) -> _Instruction:
    return _end(_ERROR | code)


def _load(argument: int, *, high: bool = False) -> _Instruction:
    return _LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * high


def _has(argument: int, bits: int) -> list[_Instruction]:
    return [_load(argument), (_ANY_BIT, 0, 1, bits), _end(_ALLOW), _deny()]


def _lacks(
    argument: int, bits: int, then: _Instruction = (_RETURN, 0, 0, _ALLOW), code: int = errno.EPERM
) -> list[_Instruction]:
    return [_load(argument), (_ANY_BIT, 1, 0, bits & 0xFFFFFFFF), then, _deny(code)]


def _one_of(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    tests = [(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [_load(argument), *tests, _deny(), _end(_ALLOW)]


def _null(argument: int) -> list[_Instruction]:
    low, high = _load(argument), _load(argument, high=True)
    return [low, (_EQUAL, 0, 3, 0), high, (_EQUAL, 0, 1, 0), _end(_ALLOW), _deny()]
