"""SoftPool and its gradients."""

import pytest
import torch

from models.mtnet.soft_pool import backward, forward, soft_pool

pytestmark = pytest.mark.quick
SHAPES = [(2, 3, 4, 6, 8), (1, 1, 1, 2, 2), (3, 5, 2, 14, 14), (2, 2, 3, 2, 34), (2, 7, 3, 28, 30), (1, 2, 2, 4, 4100)]


def test_shapes_without_values_and_without_rows():
    assert soft_pool(torch.empty(2, 3, 4, 6, device="meta")).shape == (2, 3, 2, 3)
    assert soft_pool(torch.empty(0, 50, 3, 60, 8)).shape == (0, 50, 3, 30, 4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_both_passes_against_double_precision(shape, scale):
    x = scale * torch.randn(shape)
    pooled = soft_pool(x)
    torch.testing.assert_close(pooled, forward(x.double()).float(), rtol=1e-6, atol=1e-6 * scale)
    slope = torch.randn(pooled.shape[::-1]).permute(*reversed(range(pooled.ndim)))  # of any strides
    x.requires_grad_()
    (ours,) = torch.autograd.grad(soft_pool(x), x, slope)
    exact = backward(x.detach().double(), slope.double()).float()
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=2e-6 * scale)


def test_extremes():
    def of(*values):
        return soft_pool(torch.tensor(values).view(1, 1, 2, 2)).item()

    assert of(-1000.0, -1000.0, -1000.0, -999.0) == pytest.approx(-999.5246, abs=1e-3)
    assert of(-3e38, 3e38, 0.0, 1.0) == pytest.approx(3e38)
    assert torch.tensor(of(0.0, float("nan"), 1.0, 2.0)).isnan()
    assert not torch.tensor(of(0.0, float("inf"), 1.0, 2.0)).isfinite()


def test_gradients_of_both_orders():
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_pool, x)
    assert torch.autograd.gradgradcheck(soft_pool, x)
    x = x.detach().float().requires_grad_()

    def twice(pool):
        (first,) = torch.autograd.grad(pool(x).square().sum(), x, create_graph=True)
        return first, *torch.autograd.grad(first.square().sum(), x)

    torch.testing.assert_close(twice(soft_pool), twice(forward))


def test_only_the_input_is_saved():
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        soft_pool(x)
    assert [t.data_ptr() for t in kept] == [x.data_ptr()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    x = (40 * torch.randn(2, 3, 8, 8)).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    slope = torch.randn(2, 3, 4, 4)
    ours, theirs = soft_pool(x), forward(exact)
    torch.testing.assert_close(ours, theirs.to(dtype))
    (ours,), (theirs,) = (
        torch.autograd.grad(ours, x, slope.to(dtype)),
        torch.autograd.grad(theirs, exact, slope.double()),
    )
    torch.testing.assert_close(ours, theirs.to(dtype), rtol=2e-2, atol=1e-3)


def test_an_exported_graph_holds_only_public_operators():
    class Pool(torch.nn.Module):
        def forward(self, x):
            return soft_pool(x)

    x = torch.randn(2, 3, 4, 6)
    exported = torch.export.export(Pool(), (x,))
    targets = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert targets
    assert all(target.startswith("aten.") for target in targets)
    torch.testing.assert_close(exported.module()(x), soft_pool(x))
