"""Batch norm on a CPU: wrong gradients where an axis of length 1 has an unusual stride (torch 2.13; to be reported).

    python docs/upstream/batch_norm_strides.py    # exit status 1 where the fault is there

Both losses below are the same sum, and their gradients differ. In the first, the gradient of the output has the shape
[2, 2, 1, 2] and the strides (4, 1, 8, 2). The stride of the axis of length 1 means nothing, so that the gradient is
contiguous as `torch.channels_last`; but `suggest_memory_format`, which compares strides in order, suggests the usual
format. `batch_norm_backward_cpu` takes its fast path if input and gradient are each contiguous in some format and the
suggested ones are the same. So they are here, and the kernel reads the gradient, which is channels-last in memory, in
the order of the input, which is not. All three gradients are wrong, without a warning, in training and in evaluation,
in float32 and float64, for BatchNorm2d and BatchNorm3d. They are also wrong where the input has such strides and the
gradient has not.

Expected: the fast path asks whether the gradient is contiguous in the input's suggested format.
"""

import sys

import torch


def errors() -> list[float]:
    """Return the largest error of the gradients of input, weight and bias, relative to the largest right value."""
    torch.manual_seed(0)
    x = torch.randn(2, 2, 1, 2, requires_grad=True)
    norm = torch.nn.BatchNorm2d(2)
    pull = torch.randn(1, 2, 2, 2)
    permuted = (norm(x).permute(2, 0, 3, 1).contiguous() * pull).sum()
    plain = (norm(x) * pull.permute(1, 3, 0, 2).contiguous()).sum()
    found, right = (torch.autograd.grad(loss, [x, norm.weight, norm.bias]) for loss in (permuted, plain))
    return [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, right, strict=True)]


if __name__ == "__main__":
    print(f"torch {torch.__version__}, relative errors of the gradients of input, weight and bias: {errors()}")
    sys.exit(max(errors()) > 1e-5)
