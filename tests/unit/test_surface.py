"""`import marey`: what it offers, how little it costs, and that it never mixes with packages of other people."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

import marey
import models
from cluster import submit

pytestmark = pytest.mark.quick
VERBS = ("prepare", "verify", "train", "tune", "evaluate", "predict", "run")
HEAVY = ("torch", "ray", "numpy", "pyarrow", "mlflow", "pydantic")


def python(code: str, folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that lies in `folder`."""
    (folder / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path or [ROOT]))}
    return subprocess.run(
        [sys.executable, str(folder / "script.py")], env=environment, capture_output=True, text=True, timeout=120
    )


def test_offers_what_the_verbs_call() -> None:
    assert {*VERBS, "open_dataset", "build", "describe", "networks"} <= set(dir(marey))
    for name in marey.__all__:
        assert getattr(marey, name).__doc__ or name == "USER_ERRORS"
    assert marey.networks() == models.names()
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it offers: .*train"):
        marey.trian  # noqa: B018


def test_arguments_are_the_same_among_verbs() -> None:
    for name in VERBS:
        arguments = inspect.signature(getattr(marey, name)).parameters
        address = arguments["address"]
        assert (address.default, address.kind) == (None, inspect.Parameter.KEYWORD_ONLY), name
        if name != "tune":
            assert arguments["progress"].default is True, name
    for name in ("train", "tune", "run", "evaluate"):
        assert "overrides" in inspect.signature(getattr(marey, name)).parameters


def test_settings_and_results_are_frozen_dataclasses() -> None:
    classes = [value for name in marey.__all__ if inspect.isclass(value := getattr(marey, name))]
    assert len(classes) >= 18
    for each in classes:
        assert dataclasses.is_dataclass(each), each
        assert each.__dataclass_params__.frozen, each


def test_type_checkers_see_every_name() -> None:
    tree = ast.parse((ROOT / "marey.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    seen |= {target.id for node in block.body if isinstance(node, ast.Assign) for target in node.targets}
    assert seen - {None} == set(marey.__all__)


def test_the_import_loads_nothing(tmp_path: Path) -> None:
    code = f"""
import sys, time
started = time.process_time()
import marey
import models
print(time.process_time() - started, *sorted({HEAVY} & sys.modules.keys()))
""".replace(str(HEAVY), str(set(HEAVY)))
    runs = [python(code, tmp_path) for _ in range(3)]
    assert all(run.returncode == 0 and len(run.stdout.split()) == 1 for run in runs), runs
    assert min(float(run.stdout) for run in runs) < 0.1  # of CPU: what else runs here is no matter of ours


@pytest.mark.parametrize("name", ["models", "tasks", "pipelines", "cluster"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_says_which_package_of_the_working_folder_is_in_the_way(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / name / "__init__.py" if kind == "package" else tmp_path / f"{name}.py"
    place.parent.mkdir(exist_ok=True)
    place.write_text("raise RuntimeError('was imported')")
    done = python("import marey", tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: marey needs its own package {name!r}, in {ROOT}, but Python finds {tmp_path}")
    assert last.endswith("rename that one, or start Python where it is not on the path")


def test_says_so_of_a_package_that_was_imported_before(tmp_path: Path) -> None:
    (tmp_path / "other" / "models").mkdir(parents=True)
    (tmp_path / "other" / "models" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'other')!r}); import models; sys.path.pop(0); import marey"
    assert f"but Python finds {tmp_path / 'other' / 'models'}: rename" in python(code, tmp_path).stderr


def test_a_folder_that_is_no_package_is_not_in_the_way(tmp_path: Path) -> None:
    """Where our packages are on the path by themselves, a plain folder of weights called `models` changes nothing."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.pt").write_text("")
    done = python("import marey; print(marey.networks()[0])", tmp_path)
    assert (done.returncode, done.stdout) == (0, "tsn\n"), done.stderr


def test_is_installed_and_sent_with_the_packages(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["py-modules"] == ["marey"]
    assert (ROOT / submit.SURFACE).samefile(marey.__file__)
    for name in submit.PACKAGES:
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / name / "__init__.py", tmp_path / name)
    shutil.copy(ROOT / submit.SURFACE, tmp_path)
    found = python("import marey; print(marey.__file__)", tmp_path, tmp_path)
    assert found.stdout.strip() == str(tmp_path / "marey.py"), found.stderr


def test_the_decoders_child_finds_it() -> None:
    from tasks.video import DecoderProcess

    with DecoderProcess() as decoder:
        decoder.sandbox()  # which starts it
        command = Path(f"/proc/{decoder.pid}/cmdline").read_text()
    (path,) = re.findall(r"sys\.path\[:\] = (\[.*?\]);", command)
    assert next(entry for entry in ast.literal_eval(path) if (Path(entry) / "models").is_dir()) == str(ROOT)
    assert (ROOT / "marey.py").exists()
