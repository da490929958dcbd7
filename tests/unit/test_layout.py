"""The house rules: imports go one way, settings are light, built-in recipes load."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import pipelines
from pipelines import recipe

ROOT = Path(pipelines.__file__).parent.parent
OURS = {"models", "tasks", "pipelines", "cluster"}
FORBIDDEN = {
    "models": {"ray", "mlflow", "numpy", "torchvision"},
    "tasks": {"ray", "mlflow"},
    "tasks/learn": {"ray", "mlflow", "cv2", "pyarrow", "fsspec"},
    "cluster": {"torch"},
}
pytestmark = pytest.mark.quick


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} uses a relative import"
            found.add(str(node.module))
    return found


def packages(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for name in sorted(OURS)
    for file in sorted((ROOT / name).rglob("*.py"))
}
"""Our modules by their full names; a package is its `__init__`."""


def uses_of(file: Path) -> set[str]:
    """Our modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {defining_module(str(node.module), alias.name) for alias in node.names}
    return found & MODULES.keys()


@cache
def defining_module(module: str, name: str) -> str:
    """The module that `from module import name` is about: a package may hand on the names of its modules."""
    if f"{module}.{name}" in MODULES:
        return f"{module}.{name}"
    if MODULES.get(module, ROOT).name == "__init__.py":
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                origin = {alias.asname or alias.name: alias.name for alias in node.names}[name]
                return defining_module(str(node.module), origin)
    return module


def circles(uses: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another around a circle: each set once, in order of names."""
    reached = {name: reachable(name, uses) for name in uses}
    mutual = {name: tuple(sorted(other for other in reached[name] if name in reached[other])) for name in uses}
    return sorted(list(members) for members in set(mutual.values()) if members)


def reachable(start: str, uses: dict[str, set[str]]) -> set[str]:
    """What a module imports, directly or not; itself only around a circle."""
    found: set[str] = set()
    pending = [start]
    while pending:
        for name in uses[pending.pop()] - found:
            found.add(name)
            pending.append(name)
    return found


@pytest.mark.parametrize("package", ["models", "tasks", "cluster"])
def test_imports_go_one_way(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert packages(file) & OURS <= {package}, file


def test_no_module_imports_itself_around_a_circle() -> None:
    """Lazy imports and those for types count as well; of a package, the module that defines the name."""
    uses = {name: uses_of(file) for name, file in MODULES.items()}
    assert len(uses) > 100
    assert {"models.backbones.resnet", "models.backbones.shift"} <= uses["models.backbones.tpn"]
    assert circles(uses) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_backbones_and_what_all_networks_share_know_no_paper() -> None:
    for room, below in (("backbones", {"backbones", "common"}), ("common", {"common"})):
        for file in (ROOT / "models" / room).rglob("*.py"):
            above = {name for name in uses_of(file) if name.split(".")[1] not in below}
            assert not above, file


def test_nothing_imports_the_python_surface() -> None:
    for file in (file for name in OURS for file in (ROOT / name).rglob("*.py")):
        assert "marey" not in packages(file), file


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_packages_stay_with_their_libraries(folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        assert not packages(file) & FORBIDDEN[folder], file


def test_only_the_room_of_tracking_knows_mlflow() -> None:
    users = {file.relative_to(ROOT) for file in (ROOT / "pipelines").rglob("*.py") if "mlflow" in packages(file)}
    assert {str(user.parent) for user in users} == {"pipelines/tracking"}


def test_only_one_file_knows_decord() -> None:
    users = [str(f.relative_to(ROOT)) for name in OURS for f in (ROOT / name).rglob("*.py") if "decord" in packages(f)]
    assert users == ["tasks/video/decode.py"]


def test_only_one_file_knows_what_lies_in_the_folder_of_a_run() -> None:
    names = r"(run|sweep|average|workers|evaluation)\.json|progress\.jsonl|controller\.txt|best\.yaml"
    users = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "pipelines").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(names, node.value)
    }
    assert users == {"pipelines/tracking/run_folder.py"}


@pytest.mark.parametrize(
    ("library", "owner"), [("ray", "cluster/ray_internals.py"), ("tyro", "pipelines/arguments.py")]
)
def test_only_one_file_uses_private_parts_of(library: str, owner: str) -> None:
    private = re.compile(rf"\b{library}(\.\w+)*\._|\bfrom {library}(\.\w+)* import .*\b_")
    users = [
        str(file.relative_to(ROOT))
        for name in sorted(OURS)
        for file in (ROOT / name).rglob("*.py")
        if private.search(file.read_text())
    ]
    assert users == [owner]


def test_settings_need_the_standard_library_only() -> None:
    light = {"tasks.checks"}
    files = [file for name in OURS for file in (ROOT / name).rglob("*settings.py")]
    assert len(files) >= 4
    light |= {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    for file in [*files, ROOT / "tasks/checks.py"]:
        heavy = {name for name in imports(file) - light if name.partition(".")[0] not in sys.stdlib_module_names}
        assert not heavy, file


@pytest.mark.parametrize("file", sorted(recipe.BUILT_IN.glob("*.yaml")), ids=lambda file: file.stem)
def test_built_in_recipes_load_by_name(file: Path) -> None:
    assert recipe.load(file.stem) == recipe.load(file)
