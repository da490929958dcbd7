"""The host's kernels for operators of networks, against the formulas that they stand for."""

import subprocess
import sys

import pytest
import torch

from models.mtnet import soft_pool
from tasks.learn import operators

pytestmark = pytest.mark.quick
SHAPES = [(2, 3, 4, 6, 8), (1, 1, 1, 2, 2), (3, 5, 2, 14, 14), (2, 2, 3, 2, 34), (2, 7, 3, 28, 30), (1, 2, 2, 4, 4100)]


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softpool_both_ways(shape, scale):
    torch.manual_seed(0)
    x = scale * torch.randn(shape)
    pooled = operators.soft_pool(x)
    torch.testing.assert_close(pooled, soft_pool.forward(x.double()).float(), rtol=1e-6, atol=1e-6 * scale)
    slope = torch.randn(pooled.shape[::-1]).permute(*reversed(range(pooled.ndim)))  # of any strides
    exact = soft_pool.backward(x.double(), slope.double()).float()
    torch.testing.assert_close(operators.soft_pool_backward(x, slope), exact, rtol=1e-5, atol=2e-6 * scale)
    half, slope = x.bfloat16(), slope.bfloat16()
    exact = soft_pool.backward(half.double(), slope.double()).bfloat16()
    torch.testing.assert_close(operators.soft_pool_backward(half, slope), exact, rtol=1e-2, atol=1e-5 * scale)
    torch.testing.assert_close(operators.soft_pool(half), soft_pool.forward(half), rtol=1e-2, atol=1e-5 * scale)


@pytest.mark.parametrize("threads", [1, 3], indirect=True)
def test_softpool_of_many_rows_and_none(threads):
    torch.manual_seed(0)
    x = torch.randn(3, 50, 3, 60, 8)
    assert x.numel() // 16 > 3 * operators.ROWS_A_THREAD
    torch.testing.assert_close(operators.soft_pool(x), soft_pool.forward(x))
    assert operators.soft_pool(x[:0]).shape == (0, 50, 3, 30, 4)


def test_softpool_of_extremes():
    def of(*values):
        return operators.soft_pool(torch.tensor(values).view(1, 1, 2, 2)).item()

    assert of(-1000.0, -1000.0, -1000.0, -999.0) == pytest.approx(-999.5246, abs=1e-3)
    assert of(-3e38, 3e38, 0.0, 1.0) == pytest.approx(3e38)
    assert torch.tensor(of(0.0, float("nan"), 1.0, 2.0)).isnan()
    assert not torch.tensor(of(0.0, float("inf"), 1.0, 2.0)).isfinite()


SETTLED = """
import sys
import torch
import models
from tasks.learn import host
from tasks.learn.native.kernels import differentiator, pooler

if sys.argv[1] == "settled":
    host.settle(threads=1)
torch.manual_seed(0)
network = models.build("mtnet_s", 3, tiny=True)
network(torch.randn(2, 3, 4, 64, 64)).square().sum().backward()
print(pooler.cache_info().currsize, differentiator.cache_info().currsize)
print(*(p.grad.norm().item() for p in network.parameters()))
"""


def test_a_settled_process_uses_them_and_trains_alike():
    def run(how):
        done = subprocess.run([sys.executable, "-c", SETTLED, how], capture_output=True, text=True, check=True)
        kernels, gradients = done.stdout.splitlines()
        return kernels, [float(norm) for norm in gradients.split()]

    (none, usual), (both, settled) = run("usual"), run("settled")
    assert (none, both) == ("0 0", "1 1")
    assert settled == pytest.approx(usual, rel=1e-2, abs=1e-6)
