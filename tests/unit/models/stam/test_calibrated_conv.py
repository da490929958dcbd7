"""The equivalent forms of STAM's convolution (docs/papers/stam.md, section 7, points 2 and 8)."""

import pytest
import torch
from torch import Tensor, nn

from models.stam.calibrated_conv import by_input, by_patches, by_weights, calibrated_conv

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 7), (8, 5), (9, 14)])
def test_all_forms_of_the_convolution_are_equal(stride: int, size: tuple[int, int]) -> None:
    """Values and gradients; the reference mixes the outputs of N + 1 static convolutions."""
    torch.manual_seed(0)
    x = torch.randn(6, 8, *size).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(12, 8, 3, 3, requires_grad=True)
    filters, share = torch.randn(4, 8, 3, 3), torch.rand(6, 4).softmax(1)
    alpha = (1 + (share @ filters.flatten(1)).unflatten(1, (8, 3, 3))).requires_grad_()

    def static(kernel: Tensor) -> Tensor:
        return nn.functional.conv2d(x, kernel, stride=stride, padding=1)

    mixed = static(weight) + sum(
        share[:, n, None, None, None] * static(filters[n] * weight) for n in range(len(filters))
    )
    pull = torch.randn_like(mixed)
    (one_dx, one_dw) = torch.autograd.grad(mixed, (x, weight), pull, retain_graph=True)
    gradients = []
    for form in (by_weights, by_patches, calibrated_conv):
        y = form(x, alpha, weight, stride)
        torch.testing.assert_close(y, mixed, rtol=1e-4, atol=1e-4)
        dx, dalpha, dw = torch.autograd.grad(y, (x, alpha, weight), pull)
        torch.testing.assert_close(dx, one_dx, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(dw, one_dw, rtol=1e-4, atol=1e-4)
        gradients.append(dalpha)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-4, atol=1e-4)


def test_with_one_factor_a_channel_the_input_is_scaled() -> None:
    x, weight, alpha = torch.randn(6, 8, 9, 9), torch.randn(12, 8, 3, 3), torch.randn(6, 8, 1, 1)
    expected = by_weights(x, alpha.expand(-1, -1, 3, 3), weight, 2)
    torch.testing.assert_close(by_input(x, alpha, weight, 2), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(calibrated_conv(x, alpha, weight, 2), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_forms_are_equal_in_mixed_precision(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(6, 8, 9, 9), torch.randn(12, 8, 3, 3) / 8
    alpha = 1 + 0.01 * torch.randn(6, 8, 3, 3)
    expected = by_weights(x, alpha, weight, 1)
    with torch.autocast("cpu", dtype=precision):
        for form in (by_weights, by_patches):
            y = form(x.to(precision), alpha, weight, 1)
            torch.testing.assert_close(y.float(), expected, rtol=0, atol=2e-2 * expected.abs().max().item())
