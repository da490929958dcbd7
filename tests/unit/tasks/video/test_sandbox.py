"""What code that a video brings along could do in the decoding process: nothing outside its input and its parent."""

import ctypes
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from decoder_children import swap, write_noise

import tasks.video.child as child_module
from tasks.video import DecoderProcess, VideoError, decode
from tasks.video.sandbox import Held, seccomp

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


LANDLOCK = 444
BLOCKED = """
import ctypes, errno, json, os, resource, signal, socket, threading
import tasks.video.decoder_child as served
from tasks.video.errors import VideoError

libc = ctypes.CDLL(None, use_errno=True)
PARENT, FOLDER = os.getppid(), {folder!r}


def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def content(path):
    with open(path, "rb") as file:
        return file.read().hex()


def path(name):
    return os.path.join(FOLDER, name)


def raw(name):
    return ctypes.c_char_p(path(name).encode())


ATTEMPTS = dict(
    read=lambda: content(path("secret")),
    read_passwd=lambda: content("/etc/passwd"),
    read_memory=lambda: content("/proc/%d/environ" % PARENT),
    openat2=lambda: call(437, -100, raw("secret"), ctypes.byref((ctypes.c_uint64 * 3)()), 24),
    open_for_both=lambda: os.open(path("secret"), os.O_RDWR),
    open_path=lambda: os.open(path("secret"), os.O_PATH),
    by_handle=lambda: call(304, -100, raw("secret"), 0),
    list=lambda: os.listdir(FOLDER),
    status=lambda: os.stat(path("secret")),
    write=lambda: open(path("new"), "w"),
    append=lambda: open(path("secret"), "a"),
    truncate=lambda: os.truncate(path("secret"), 0),
    remove=lambda: os.unlink(path("secret")),
    rename=lambda: os.rename(path("secret"), path("new")),
    folder=lambda: os.mkdir(path("new")),
    link=lambda: os.link(path("secret"), path("new")),
    symlink=lambda: os.symlink(path("secret"), path("new")),
    mode=lambda: os.chmod(path("secret"), 0o777),
    owner=lambda: os.chown(path("secret"), 0, 0),
    pipe=lambda: os.mkfifo(path("new")),
    memory_file=lambda: os.memfd_create("more"),
    tcp=lambda: socket.socket(),
    udp=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    unix=lambda: socket.socket(socket.AF_UNIX),
    pair=lambda: socket.socketpair(),
    execute=lambda: os.execv("/bin/true", ["true"]),
    execute_at=lambda: call(322, -100, ctypes.c_char_p(b"/bin/true"), 0, 0, 0),
    fork=lambda: os.fork() or os._exit(0),
    vfork=lambda: call(58),
    clone=lambda: call(56, signal.SIGCHLD, 0, 0, 0, 0) or os._exit(0),
    clone3=lambda: call(435, ctypes.byref((ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD)), 88),
    spawn=lambda: os.posix_spawn("/bin/true", ["true"], {{}}),
    signal=lambda: os.kill(PARENT, 0),
    signal_group=lambda: os.killpg(os.getpgid(PARENT), 0),
    signal_thread=lambda: call(234, PARENT, PARENT, 0),
    signal_queue=lambda: call(129, PARENT, 0, ctypes.byref((ctypes.c_char * 128)())),
    signal_owner=lambda: __import__("fcntl").fcntl(0, 8, PARENT),
    process_descriptor=lambda: os.pidfd_open(PARENT),
    trace=lambda: call(101, 16, PARENT, 0, 0),
    foreign_memory=lambda: call(310, PARENT, 0, 0, 0, 0, 0),
    ring=lambda: call(425, 4, ctypes.byref((ctypes.c_char * 120)())),
    bpf=lambda: call(321, 0, 0, 0),
    keys=lambda: call(250, 0, -3, 1),
    namespace=lambda: call(272, 0x10000000),
    root=lambda: os.chroot(FOLDER),
    limit=lambda: resource.setrlimit(resource.RLIMIT_DATA, (-1, -1)),
    shared_memory=lambda: __import__("mmap").mmap(-1, 4096),
    control=lambda: __import__("fcntl").ioctl(0, 0x5401, bytes(64)),
)
EXPECTED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def outcome(attempt):
    try:
        return attempt() or "done"
    except OSError as error:
        return "refused" if error.errno in EXPECTED else "errno %d" % error.errno
    except ValueError as error:  # setrlimit
        return "refused" if "not allowed" in str(error) else repr(error)


def hostile(stack, source, **_):
    found = dict()
    run = lambda: found.update((name, outcome(attempt)) for name, attempt in ATTEMPTS.items() if name in {names!r})
    if {thread}:
        run = threading.Thread(target=run)
        run.start()
        run.join()
    else:
        run()
    raise VideoError("unreadable", json.dumps(found))


served.decode_into = hostile
"""
NAMES = re.findall(r"^    (\w+)=lambda", BLOCKED, re.MULTILINE)
needs_sandbox = pytest.mark.skipif(
    ctypes.CDLL(None).syscall(LANDLOCK, 0, 0, 1) < 6 or os.uname().machine != "x86_64",
    reason="this kernel has no landlock that holds signals, or the numbers above are not its own",
)


@needs_sandbox
@pytest.mark.parametrize("thread", [False, True])
def test_code_in_the_child_reaches_nothing_but_its_input(noise, tmp_path, monkeypatch, thread):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "input").write_text("input")
    found = {}
    for names in (NAMES[::2], NAMES[1::2]):  # an error's text is short
        with monkeypatch.context() as patch:
            swap(patch, BLOCKED.format(folder=str(tmp_path), names=names, thread=thread))
            with DecoderProcess(timeout_s=30) as child, pytest.raises(VideoError) as error:
                child.decode(str(tmp_path / "input"))
        assert error.value.kind == "unreadable", error.value
        found |= json.loads(error.value.message)
    assert found.keys() == set(NAMES)
    opened = {name for name, outcome in found.items() if outcome == b"input".hex()}
    assert opened == {"read", "read_passwd", "read_memory"}  # whatever it opens, it gets its input
    assert {name: outcome for name, outcome in found.items() if name not in opened and outcome != "refused"} == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "secret"]
    assert (tmp_path / "secret").read_text() == "secret"


PART = "import tasks.video.sandbox as sandbox\ndef missing(*_, **__): raise OSError(38, '')\n{break_it}\n"
MISSING = {
    "landlock": ("sandbox.landlock.restrict = missing", "seccomp", True),
    "seccomp": ("sandbox.seccomp.install = missing", r"landlock \d, but any file can be read", False),
    "both": (
        "sandbox.landlock.restrict = sandbox.seccomp.install = missing",
        "none: the kernel offers neither landlock nor seccomp",
        False,
    ),
    "gate": (
        "real = sandbox.seccomp.install\n"
        "sandbox.seccomp.install = lambda libc, gate: missing() if gate else real(libc, gate=False)",
        r"landlock \d, seccomp, but any file can be read",
        False,
    ),
}


@needs_sandbox
@pytest.mark.parametrize("part", MISSING)
def test_where_a_part_is_missing_videos_are_decoded_all_the_same(noise, monkeypatch, caplog, part):
    break_it, says, input_only = MISSING[part]
    child_module._report.cache_clear()
    swap(monkeypatch, PART.format(break_it=break_it))
    with DecoderProcess(timeout_s=30) as child:
        for decoder in ("decord", "pyav"):
            frames = child.decode(noise, decoder=decoder, short_side=20)
            assert np.array_equal(frames.images, decode(noise, decoder=decoder, short_side=20).images)
        held = child.sandbox()
    assert re.fullmatch(says, str(held))
    assert held.input_only == input_only
    assert [record.message for record in caplog.records] == [
        f"decoding has no whole sandbox here ({held}): decode videos from strangers in a container"
    ] * (not input_only)


@needs_sandbox
def test_all_parts_hold_although_imports_start_threads_that_end(monkeypatch):
    swap(monkeypatch, "import threading\nthreading.Timer(0.9, print).start()")
    with DecoderProcess() as child:
        assert child.sandbox() == Held(landlock=child.sandbox().landlock, seccomp=True, input_only=True)
        assert child.sandbox().landlock >= 6


def decide(program, number, *arguments, architecture=0xC000003E):
    """Run a filter as the kernel does; return the action."""
    data = np.zeros(16, np.uint32)
    data[:2] = number, architecture
    for index, argument in enumerate(arguments):
        data[4 + 2 * index : 6 + 2 * index] = argument & 0xFFFFFFFF, argument >> 32
    at, value = 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            value = int(data[operand // 4])
        else:
            true = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            at += yes if true else no


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_the_filter_of_each_machine(machine, architecture):
    allow, refuse, absent, kill = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
    program = seccomp.program(machine, 77, gate=True)
    x86 = machine == "x86_64"

    def action(on_x86, on_arm, *arguments):
        return decide(program, on_x86 if x86 else on_arm, *arguments, architecture=architecture)

    assert decide(program, 0, architecture=0x40000003) == kill  # 32-bit calls have other numbers
    assert action(0, 63) == allow  # read
    assert action(59, 221) == refuse  # execve
    assert action(41, 198) == refuse  # socket
    assert action(62, 129) == refuse  # kill
    assert action(234, 131, 77) == allow  # tgkill
    assert action(234, 131, 76) == refuse
    assert action(257, 56, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == 0x7FC00000  # openat
    assert action(257, 56, 0, 0, os.O_WRONLY) == 0x5000D
    assert action(56, 220, 0x3D0F00) == allow  # clone of a thread
    assert action(56, 220, 17) == refuse
    assert action(56, 220, 0x3D0F00 | 0x40000000) == refuse
    assert action(9, 222, 0, 0, 3, 0x22) == allow  # mmap, private
    assert action(9, 222, 0, 0, 3, 0x21) == refuse
    assert action(302, 261, 0, 2, 0, 1) == allow  # prlimit64
    assert action(302, 261, 0, 2, 1, 1) == refuse
    assert action(302, 261, 0, 2, 1 << 32, 1) == refuse
    assert action(435, 435) == absent  # clone3, for which libraries have a substitute
    if x86:
        assert action(0x40000000, 0) == absent  # x32


def test_the_environment_and_the_descriptors_of_the_child(noise, monkeypatch, tmp_path):
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with open(tmp_path / "open", "w") as file, DecoderProcess() as child:
        os.set_inheritable(file.fileno(), True)
        child.decode(noise, count=1)
        environment = Path(f"/proc/{child.pid}/environ").read_text().split("\0")
        held = [os.readlink(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")]
    assert "LC_ALL=C.UTF-8" in environment
    assert not [one for one in environment if "secret" in one]
    assert not [one for one in held if not re.fullmatch(r"/dev/null|socket:.*", one)]
