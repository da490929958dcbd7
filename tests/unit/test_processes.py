"""The helper that starts the processes of other tests: they get default signals, and all of them end."""

import re
import subprocess
import sys

import processes
import psutil
import pytest

pytestmark = pytest.mark.quick
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
"""


def test_children_get_default_signals_however_the_tests_were_started():
    code = "from signal import *; print(getsignal(SIGINT) is default_int_handler, getsignal(SIGHUP) is SIG_DFL)"
    assert processes.run([sys.executable, "-c", code]).stdout == "True True\n"


def test_a_block_ends_children_and_what_these_started():
    command = [sys.executable, "-c", PARENT + "child.wait()"]
    with processes.started(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(processes.find_line(parent.stdout, r"child (\d+)")[1])
        assert psutil.pid_exists(child)
    assert parent.returncode == -15
    assert not psutil.pid_exists(child)


def test_what_outlives_its_parent_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(processes, "ENDING_S", 0.2)
    with pytest.raises(AssertionError, match="left processes behind") as told:
        processes.run([sys.executable, "-c", PARENT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert not psutil.pid_exists(int(re.search(r"\['(\d+) ", str(told.value))[1]))


def test_a_command_whose_child_holds_its_pipes_ends_at_its_limit():
    assert processes.run([sys.executable, "-c", PARENT + "child.wait()"], limit=1.0).returncode == -9


def test_processes_are_found_by_their_mark(monkeypatch):
    monkeypatch.setenv("MAREY_TEST_MARK", "found")
    with processes.started([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        monkeypatch.setenv("MAREY_TEST_MARK", "another")
        assert [process.pid for process in processes.marked("MAREY_TEST_MARK", "found")] == [waiting.pid]
        assert "test_processes_are_found_by_their_mark" in processes.describe(psutil.Process(waiting.pid))
