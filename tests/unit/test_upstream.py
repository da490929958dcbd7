"""Scripts for reports to other projects still show what they say; where one does not, what it made necessary can go."""

import subprocess
import sys

import pytest
from paths import ROOT

pytestmark = pytest.mark.quick


def test_batch_norm_gets_gradients_wrong_for_some_strides() -> None:
    """Since then, MTConvs join their branches before the gate of a block (`models.mtnet.mtconv.MTConvs`)."""
    script = ROOT / "docs" / "upstream" / "batch_norm_strides.py"
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "relative errors of the gradients of input, weight and bias" in ran.stdout
    assert not ran.stderr
