"""SoftPool as an operator of torch, and its gradients."""

import pytest
import torch

from models.mtnet.soft_pool import forward, soft_pool

pytestmark = pytest.mark.quick


def test_it_is_a_well_formed_operator():
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    results = torch.library.opcheck(torch.ops.marey.soft_pool.default, (x,))
    assert set(results.values()) == {"SUCCESS"}
    assert soft_pool(x.detach().to("meta")).shape == (2, 3, 2, 3)


def test_gradients_of_both_orders():
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_pool, x)
    x = x.detach().float().requires_grad_()

    def twice(pool):
        (first,) = torch.autograd.grad(pool(x).square().sum(), x, create_graph=True)
        return first, *torch.autograd.grad(first.square().sum(), x)

    torch.testing.assert_close(twice(soft_pool), twice(forward))


def test_it_keeps_its_input_alone():
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


def test_exported_it_is_steps_that_everybody_knows():
    class Pool(torch.nn.Module):
        def forward(self, x):
            return soft_pool(x)

    x = torch.randn(2, 3, 4, 6)
    exported = torch.export.export(Pool(), (x,))
    assert not [node for node in exported.graph.nodes if "marey" in str(node.target)]
    torch.testing.assert_close(exported.module()(x), soft_pool(x))
