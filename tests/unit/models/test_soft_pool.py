"""SoftPool as an operator of torch, and its gradients."""

import pytest
import torch

from models.soft_pool import forward, soft_pool

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


def test_it_keeps_its_input_and_output_alone():
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        pooled = soft_pool(x)
    assert [t.data_ptr() for t in kept] == [x.data_ptr(), pooled.data_ptr()]


def test_half_precision_weighs_in_float32():
    x = 40 * torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(soft_pool(x.bfloat16()).float(), soft_pool(x), rtol=1e-2, atol=1e-1)


def test_exported_it_is_steps_that_everybody_knows():
    class Pool(torch.nn.Module):
        def forward(self, x):
            return soft_pool(x)

    x = torch.randn(2, 3, 4, 6)
    exported = torch.export.export(Pool(), (x,))
    assert not [node for node in exported.graph.nodes if "marey" in str(node.target)]
    torch.testing.assert_close(exported.module()(x), soft_pool(x))
