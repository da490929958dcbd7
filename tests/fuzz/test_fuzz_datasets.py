"""The short form of the fuzz test of prepared datasets: `make fuzz` is the long form."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

CASES = 250


@pytest.mark.campaign
def test_damaged_datasets_keep_every_promise(tmp_path):
    tests = [str(ROOT), str(ROOT / "tests" / "helpers")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "datasets.py"), str(CASES)],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(tests)},
    )
    assert done.returncode == 0, f"case {done.stdout.split()[-1:]}: {done.stderr[-3000:]}"
    found = re.search(r"\n(\d+) damaged datasets; (\d+) could not be read", done.stdout)
    assert int(found[1]) == CASES
    assert int(found[2]) > CASES / 2
