"""The wheel in fresh environments outside the repository: what a user has who has no clone of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
from paths import ROOT

PYTHONS = ("python3.11", "python3.12", "python3.13")
"""Each is tried that is there; CI has the first."""
HOUR = 3600.0
TINY = [
    *("--videos.train-clips", "1", "--videos.val-clips", "1", "--videos.test-clips", "1"),
    *("--videos.train-people", "1", "--videos.val-people", "1", "--videos.test-people", "1"),
    *("--videos.size", "48", "--videos.frames", "12"),
    *("--set", "train.epochs=1", "--set", "train.batch_size=10", "--set", "prepare.short_side=48"),
    *("--set", "input.size=32", "--set", "compute.workers=1"),
]
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(HOUR)]


def done(command: list[object], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of this repository, nor of the environment that runs the tests."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "RAY_", "MAREY_WORK", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return processes.run(command, cwd=folder, env=kept | environment, limit=HOUR)


def works(command: list[object], folder: Path, **environment: str) -> str:
    """What such a command prints; it must end well."""
    ended = done(command, folder, **environment)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what the repository holds, so that nothing is left in it."""
    root = tmp_path_factory.mktemp("wheel")
    listed = works(["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / "source" / name)
    works([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", root, root / "source"], root)
    (built,) = root.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=PYTHONS)
def fresh(request, wheel: Path) -> Iterator[Path]:
    """Programs of an environment that has the wheel and its dependencies; gigabytes, so it goes after its tests."""
    python = shutil.which(request.param)
    # What is found may be a shim of a version that is not there.
    if python is None or done([python, "-c", "import ensurepip"], wheel.parent).returncode:
        pytest.skip(f"there is no {request.param}")
    with tempfile.TemporaryDirectory(prefix="marey-wheel-") as folder:
        root = Path(folder)
        works([python, "-m", "venv", root / "venv"], root)
        programs = root / "venv" / "bin"
        pip = [programs / "pip", "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt"]
        works([*pip, "torch"], root)  # first and alone: its CPU build is then what the others find
        works([*pip, wheel], root)
        skipped = "/(tests?|testing|examples|rllib)/"  # as the Makefile does; what does not compile are templates
        done([programs / "python", "-m", "compileall", "-qq", "-j", "0", "-x", skipped, root / "venv" / "lib"], root)
        yield programs


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with packages of our names."""
    for name in ("models", "tasks", "pipelines", "cluster"):
        (tmp_path / "foreign" / name).mkdir(parents=True)
        (tmp_path / "foreign" / name / "__init__.py").write_text("raise RuntimeError('the foreign one')\n")
    return tmp_path / "foreign"


def test_every_verb_of_the_demo(fresh: Path, foreign: Path, tmp_path: Path) -> None:
    """Also where the user's folder holds other packages of our names."""
    work = {"MAREY_WORK": str(tmp_path / "work")}

    def marey(*words: object) -> str:
        return works([fresh / "marey", *words], foreign, **work)

    assert "prepare" in marey("--help")
    assert "direction accuracy" in marey("demo", *TINY)
    made = tmp_path / "work" / "demo"
    dataset = next(made.rglob("dataset.json")).parent
    assert "no difference" in marey("verify", dataset)
    marey("preview", dataset, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert "top-1" in marey("evaluate", "demo-stm", dataset)
    (one,) = json.loads(marey("predict", "demo-stm", made / "videos" / "test" / "sit_down", "--json"))
    assert one["status"] == "ok"
    assert "stm" in marey("models")
    marey("cluster", "init", "kuberay", tmp_path / "kuberay", "--set", "images=a/b", "--set", "workspace=s3://b/w")
    assert "kind: RayJob" in (tmp_path / "kuberay" / "rayjob.yaml").read_text()


def test_import_marey(fresh: Path, foreign: Path, tmp_path: Path) -> None:
    code = "import sys, marey; print(sorted({'torch', 'ray'} & set(sys.modules)), marey.networks()[0], marey.__file__)"
    printed = works([fresh / "python", "-c", code], tmp_path)
    assert printed.startswith("[] ")
    assert str(fresh.parent) in printed
    mixed = done([fresh / "python", "-c", "import marey"], foreign)
    assert mixed.returncode == 1
    assert mixed.stderr.splitlines()[-1].startswith("ImportError: marey needs its own package 'models'")


def test_the_wheel_holds_what_it_needs_and_no_tests(wheel: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"marey.py", "models", "tasks", "pipelines", "cluster"}
    assert {"pipelines/recipes/demo_tsn.yaml", "models/py.typed"} <= set(names)
    assert {"cluster/images/Dockerfile", "cluster/kuberay/raycluster.yaml", "cluster/ray-up/aws.yaml"} <= set(names)
    assert any(name.startswith("pipelines/preview/") and not name.endswith(".py") for name in names)
