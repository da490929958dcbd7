"""Packages that import their public names when these are first used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("package", ["tasks.clips", "tasks.data", "tasks.learn", "tasks.video"])
def test_each_name_is_found_and_known_to_type_checkers(package):
    module = import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {alias.name: statement.module for statement in checked.body for alias in statement.names}
    assert declared == {name: f"{package}.{where}" for name, where in module._MODULES.items()}
    for name in module._MODULES:
        assert getattr(module, name).__module__.startswith("tasks.")
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'absent'"):
        _ = module.absent


def test_importing_a_package_loads_no_heavy_library():
    code = "import sys, tasks.clips, tasks.data, tasks.learn; print({'numpy', 'pyarrow', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
