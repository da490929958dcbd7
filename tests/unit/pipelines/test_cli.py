"""The command line as a user meets it: sentences, exit codes, start-up."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pty
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from processes import run, started
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError

from cluster.errors import ClusterError
from pipelines import cli
from pipelines.errors import UserError, user_error
from tasks.video import VideoError

ROOT = Path(cli.__file__).parent.parent
pytestmark = pytest.mark.quick


def marey(*words: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *words]
    return run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables})


def sentence(*words: str) -> str:
    """The one line on stderr of a command line that must be refused."""
    done = marey(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("marey: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_of_the_table_is_a_module(verb: str) -> None:
    command = import_module(cli.module_of(verb))
    assert dataclasses.is_dataclass(command.Args)
    assert command.Args.__doc__
    assert callable(command.main)


def test_every_module_is_a_verb_of_the_table() -> None:
    modules = {file.stem for file in (ROOT / "pipelines/commands").glob("*.py")} - {"__init__"}
    assert modules == {verb.replace("-", "_") for verb in cli.verbs()}


@pytest.mark.parametrize("verb", cli.verbs())
def test_help_of_a_verb_loads_nothing_heavy(verb: str) -> None:
    code = f"""
import sys
from pipelines import cli
try:
    cli.main([{verb!r}, "--help"])
except SystemExit as stop:
    assert not stop.code
print(*sorted({{"ray", "torch", "mlflow", "cv2", "pyarrow"}} & set(sys.modules)), file=sys.stderr)
"""
    done = run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"usage: marey {verb}" in done.stdout
    assert done.stderr.split() == []


def test_help_needs_no_imports() -> None:
    code = (
        "import sys; from pipelines import cli; cli.main(['--help']); assert not {'tyro', 'numpy'} & set(sys.modules)"
    )
    done = run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(f"  {verb} " in done.stdout for verb in cli.verbs())


def test_version() -> None:
    assert marey("--version").stdout.startswith("marey 0.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'?"),
        (["--workers", "2", "train"], "--workers comes before a verb"),
        (["prepare", "videos"], "missing: OUT"),
        (
            ["prepare", "videos", "out", "--shrot-side", "9"],
            "unknown flag '--shrot-side'; did you mean '--short-side'?",
        ),
        (["prepare", "--shrot-side=9"], "unknown flag '--shrot-side'; did you mean '--short-side'?"),
        (["prepare", "videos", "out", "more"], "unexpected argument: more"),
        (["prepare", "videos", "out", "--flow", "tvl2"], "--flow: unknown 'tvl2'; did you mean 'tvl1'?"),
        (["prepare", "videos", "out", "--short-side"], "--short-side needs a value"),
        (["prepare", "videos", "out", "--short-side", "many"], "--short-side: not a number: 'many'"),
        (["prepare", "videos", "out", "--short-side", "064"], "--short-side: not a number: '064'"),
        (["prepare", "videos", "out", "--short-side", "1_000"], "--short-side: not a number: '1_000'"),
        (["prepare", "videos", "out", "--short-side", "64.0"], "--short-side: not a whole number: '64.0'"),
        (["prepare", "videos", "out", "--short-side", "9" * 30], "--short-side: 999999999999999999999999999999 is out"),
        (["prepare", "videos", "out", "--max-failed", "nan"], "--max-failed: not a number: 'nan'"),
        (["prepare", "videos", "out", "--flow-bound", "1e999"], "--flow-bound: 1e999 is out of range"),
        (["evaluate", "run", "--clips", "0x3"], "--clips: not a number: '0x3' (`marey"),
        (["evaluate", "a", "b", "--weights", "1", "1_5"], "--weights: not all are numbers: '1', '1_5' (`marey"),
        (["prepare", "", "out"], "source is empty: give a path"),
        (["prepare", "videos", "out", "--short-side", "1"], "short_side must be at least 16, not 1"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(words: list[str], says: str) -> None:
    assert says in sentence(*words)


def test_debug_shows_the_traceback() -> None:
    done = marey("prepare", "videos", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "UserError: missing: OUT" in done.stderr


def test_debug_behind_two_dashes_belongs_to_the_submitted_verb() -> None:
    assert cli._take_debug(["submit", "--", "train", "--debug"]) == (["submit", "--", "train", "--debug"], False)
    assert cli._take_debug(["submit", "--debug", "--", "train"]) == (["submit", "--", "train"], True)


def test_a_users_error_is_found_below_what_ray_wraps_around_it() -> None:
    cause = UserError("the folder x is empty: name another")
    task = RayTaskError("work", "Traceback ...", cause).as_instanceof_cause()
    assert user_error(task) is cause
    assert user_error(WorkerGroupError("rank 0 failed", {0: task})) is cause
    video = VideoError("missing", "x.mp4 does not exist")
    assert user_error(RayTaskError("work", "Traceback ...", video).as_instanceof_cause()) is video


def test_of_users_errors_raised_from_one_another_the_last_counts() -> None:
    first, last = ClusterError("no server answers"), ClusterError("the run is trained, but no server answers")
    last.__cause__ = first
    assert user_error(last) is last
    assert user_error(RayTaskError("work", "Traceback ...", last).as_instanceof_cause()) is last


def test_a_defect_of_ours_is_not_taken_for_a_users_error() -> None:
    defect = KeyError("a defect while handling it")
    defect.__context__ = UserError("handled")
    assert user_error(defect) is None


def test_a_terminal_is_told_what_a_verb_waits_for(tmp_path: Path) -> None:
    source = tmp_path / "videos.csv"
    os.mkfifo(source)  # which nobody writes to
    command = [sys.executable, "-m", "pipelines", "prepare", str(source), str(tmp_path / "out"), "--layout", "csv"]
    ours, theirs = pty.openpty()
    with started(command, cwd=ROOT, stderr=theirs) as process, os.fdopen(ours) as terminal:
        os.close(theirs)
        assert terminal.readline().endswith(" waiting for libraries to load and files to be read\n")
        process.send_signal(signal.SIGINT)
        assert terminal.readline().startswith("marey: interrupted; ")
        assert process.wait(60) == 130


def test_interrupt_is_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "videos.csv"
    os.mkfifo(source)
    command = [sys.executable, "-m", "pipelines", "prepare", str(source), str(tmp_path / "out"), "--layout", "csv"]
    with started(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        with source.open("w"):  # opens when the other side does, which then waits for a line
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert process.stderr.read().startswith("marey: interrupted")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "pipelines", "--help"]
    with started(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_starts_from_a_folder_with_foreign_packages(tmp_path: Path) -> None:
    for package in ("models", "tasks", "cluster"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('a foreign package')")
    done = marey("prepare", "nowhere", "out", folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "foreign" not in done.stderr


WITHOUT_RESULT = {"submit", "logs", "ui", "mlflow-server"}


@pytest.mark.parametrize("verb", cli.verbs())
def test_shared_arguments_are_declared_once(verb: str) -> None:
    command = import_module(cli.module_of(verb))
    own = inspect.get_annotations(command.Args)
    assert not {"address", "set", "json"} & own.keys()
    known = {field.name for field in dataclasses.fields(command.Args)}
    assert ("json" in known) == (verb not in WITHOUT_RESULT)


def test_evaluates_arguments_are_those_of_its_settings() -> None:
    from pipelines.commands.evaluate import Args
    from pipelines.recipe import EvaluateSettings, ProtocolSettings

    shared = {field.name for field in dataclasses.fields(ProtocolSettings)}
    assert {field.name for field in dataclasses.fields(EvaluateSettings)} - shared == {"seed", "batch_size"}
    assert not inspect.get_annotations(Args).keys() & shared
    assert all(getattr(ProtocolSettings(), name) is None for name in shared)


def test_json_of_a_result(tmp_path: Path) -> None:
    done = marey("cluster", "status", "--json", MAREY_WORK=str(tmp_path))
    expected = {"cluster": None, "running": 0, "alive": 0, "cpus": 0, "gpus": 0, "jobs": {}}
    assert json.loads(done.stdout) == expected
    done = marey("cluster", "down", "--json", MAREY_WORK=str(tmp_path))
    assert json.loads(done.stdout) == {"ended": 0}
