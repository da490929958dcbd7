"""TV-L1 flow of many pairs at once as tensor operations, for GPUs: the scheme and results of the native kernel."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tasks.video.settings import TVL1

PAIRS_AT_ONCE = 32
"""Pairs in memory together; at 340 x 256 pixels they take some 500 MB."""
UNCHECKED = 5
"""Inner iterations between two checks of which pairs have converged: a check waits for the device."""
_SMALLEST, _FLAT = 16, 1.1920929e-07  # as in the native kernel
_OUTSIDE = 4
"""Zeros around an image: positions are clamped to 3 outside, and taps reach one further."""


def flow_of_stack(
    gray: NDArray[np.uint8], settings: TVL1, flow: NDArray[np.float32], device: str | None = None
) -> None:
    """Fill `flow`, float32 [T-1,2,H,W], from `gray`, uint8 [T,H,W]; by default on the first GPU, if there is one."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with torch.inference_mode():
        for start in range(0, len(flow), PAIRS_AT_ONCE):
            frames = torch.from_numpy(np.ascontiguousarray(gray[start : start + PAIRS_AT_ONCE + 1])).to(place)
            flow[start : start + PAIRS_AT_ONCE] = _flow(frames.float(), settings).cpu().numpy()


def _flow(frames: Tensor, s: TVL1) -> Tensor:
    """Return the flow [T-1,2,H,W] of frames [T,H,W]."""
    levels = [frames]
    for _ in range(1, s.scales):
        height, width = levels[-1].shape[1:]
        size = (round(height * s.scale_step), round(width * s.scale_step))
        if min(size) < _SMALLEST:
            break
        levels.append(_resize(levels[-1], size, (1 / s.scale_step, 1 / s.scale_step)))
    u = levels[-1].new_zeros(len(frames) - 1, 2, *levels[-1].shape[1:])
    for images in reversed(levels):
        size = (images.shape[1], images.shape[2])
        if u.shape[2:] != size:
            ratio = (u.shape[2] / size[0], u.shape[3] / size[1])
            u = _resize(u, size, ratio) * (1 / s.scale_step)
        u = _solve_level(images, u, s)
    return u


def _resize(x: Tensor, size: tuple[int, int], scale: tuple[float, float]) -> Tensor:
    """Resize the last two dimensions bilinearly; `scale` is source pixels per target pixel, edges are repeated."""
    for dim, to, ratio in ((-1, size[1], scale[1]), (-2, size[0], scale[0])):
        position = (torch.arange(to, dtype=torch.float64) + 0.5) * ratio - 0.5
        low = position.floor()
        fraction = (position - low).float().to(x.device)
        index = low.long()
        first, second = (x.index_select(dim, (index + k).clamp(0, x.shape[dim] - 1).to(x.device)) for k in (0, 1))
        x = first + (second - first) * (fraction if dim == -1 else fraction[:, None])
    return x


def _solve_level(images: Tensor, u: Tensor, s: TVL1) -> Tensor:
    """Iterate at one size, in each warp until a pair's mean squared change is at most epsilon^2."""
    height, width = images.shape[1:]
    enough = s.epsilon * s.epsilon * height * width
    around = functional.pad(images[1:, None], (1, 1, 1, 1), mode="replicate")
    dx = 0.5 * (around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2])
    dy = 0.5 * (around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1])
    planes = torch.cat([images[1:, None], dx, dy], 1)
    p = u.new_zeros(len(u), 2, 2, height, width)  # of x and y, to the right and down
    several, sampled, filtered = (_ready(part, u.device) for part in (iterations, sample, median))
    for _ in range(s.warps):
        moved = sampled(planes, u)
        gradient = moved[:, 1:]
        rho = moved[:, :1] - gradient[:, :1] * u[:, :1] - gradient[:, 1:] * u[:, 1:] - images[:-1, None]
        square = (gradient * gradient).sum(1, keepdim=True)
        inverse = torch.where(square > _FLAT, 1 / square, 0)
        live = torch.arange(len(u), device=u.device)
        for _ in range(s.outer_iterations):
            v = u[live] if s.median == 1 else filtered(u[live], s.median)
            q, fixed = p[live], (rho[live], gradient[live], inverse[live])
            moving = torch.ones(len(live), dtype=torch.bool, device=u.device)
            done = 0
            while done < s.inner_iterations and bool(moving.any()):
                count = min(UNCHECKED, s.inner_iterations - done)
                v, q, moving = several(
                    v, q, moving, *fixed, s.lambda_ * s.theta, s.theta, s.tau / s.theta, enough, count
                )
                done += count
            u[live], p[live] = v, q
            live = live[moving]
            if not len(live):
                break
    return u


def _ready(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Compile a function for a GPU, where each of its operations would pass through memory."""
    return function if device.type == "cpu" else _compiled(function)


def compiler_cache() -> str:
    """Return the folder of compiled code: TORCHINDUCTOR_CACHE_DIR, else one that this account alone can write.

    By default it would be in /tmp under a name that any account can take first, and fill with code.
    """
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return given
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/nonexistent"), ".cache")
    folder = Path(cache, "marey", "inductor")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return str(folder)
    temporary = tempfile.mkdtemp(prefix="marey-inductor-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiler_cache()
    return torch.compile(function, dynamic=True, fullgraph=True)


def iterations(
    u: Tensor,
    p: Tensor,
    moving: Tensor,
    rho: Tensor,
    gradient: Tensor,
    inverse: Tensor,
    limit: float,
    theta: float,
    step: float,
    enough: float,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `count` inner iterations of the pairs that move; a pair that has converged is not changed any more.

    Args:
        u: Flow [B,2,H,W].
        p: Dual fields [B,2,2,H,W].
        moving: bool [B].
        rho: Constant of the residual [B,1,H,W].
        gradient: Gradient of the warped image [B,2,H,W].
        inverse: 1 / its square, or 0, [B,1,H,W].
        limit: lambda * theta.
        theta: Coupling.
        step: tau / theta.
        enough: Sum of squared changes at which a pair has converged.
        count: Number of iterations.

    Returns:
        u, p and moving.
    """
    for _ in range(count):
        residual = rho + (gradient * u).sum(1, keepdim=True)
        d = (-residual * inverse).clamp(-limit, limit)
        right, down = p[:, :, 0], p[:, :, 1]
        left = functional.pad(right[..., :-1], (1, 0))
        above = functional.pad(down[..., :-1, :], (0, 0, 1, 0))
        new = (u + d * gradient) + theta * ((right - left) + (down - above))
        change = (new - u).square().sum((1, 2, 3))
        dx = functional.pad(new[..., 1:] - new[..., :-1], (0, 1))
        dy = functional.pad(new[..., 1:, :] - new[..., :-1, :], (0, 0, 0, 1))
        slope = torch.stack([dx, dy], 2)
        norm = 1 + step * slope.square().sum(2, keepdim=True).sqrt()
        update = moving[:, None, None, None]
        u = torch.where(update, new, u)
        p = torch.where(update[..., None], (p + step * slope) / norm, p)
        moving = moving & (change > enough)
    return u, p, moving


def sample(planes: Tensor, u: Tensor) -> Tensor:
    """Sample [B,C,H,W] at (x, y) + u, bicubically (a = -0.75), with zeros outside.

    It is exact for integer u, unlike torch's grid_sample: the flow of a still video stays 0.
    """
    height, width = planes.shape[2:]
    padded = functional.pad(planes, (_OUTSIDE,) * 4)
    line = padded.shape[3]
    x = torch.arange(width, device=u.device) + u[:, 0]
    y = torch.arange(height, device=u.device)[:, None] + u[:, 1]
    left, top = x.floor(), y.floor()
    wx, wy = _cubic(x - left), _cubic(y - top)
    column = left.clamp(-3, width + 1).long() + _OUTSIDE
    row = top.clamp(-3, height + 1).long() + _OUTSIDE
    first = ((row - 1) * line + column - 1).flatten(1)[:, None].expand(-1, planes.shape[1], -1)
    numbers = padded.flatten(2)
    result = torch.zeros_like(planes)
    for j in range(4):
        taps = [numbers.gather(2, first + (j * line + i)).view_as(planes) * wx[i][:, None] for i in range(4)]
        result = result + wy[j][:, None] * ((taps[0] + taps[1]) + (taps[2] + taps[3]))
    return result


def _cubic(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights of the taps -1 ... 2 for a remainder t in [0, 1)."""
    before, after = t + 1, 1 - t
    first = ((-0.75 * before + 3.75) * before - 6) * before + 3
    second = ((1.25 * t - 2.25) * t) * t + 1
    third = ((1.25 * after - 2.25) * after) * after + 1
    return first, second, third, 1 - first - second - third


def median(x: Tensor, window: int) -> Tensor:
    """Filter [B,C,H,W] by the median over window x window pixels (3 or 5), with the edge repeated.

    Columns are sorted once, and neighbouring ones merged once; a window is such pairs and a single column.
    """
    padded = functional.pad(x, (window // 2,) * 4, mode="replicate")
    height, width = x.shape[2:]
    columns = _sort([padded[:, :, y : y + height] for y in range(window)])
    pairs = _merge([c[..., :-1] for c in columns], [c[..., 1:] for c in columns])
    paired = [c[..., :width] for c in pairs]
    for first in range(2, window - 1, 2):
        paired = _merge(paired, [c[..., first : first + width] for c in pairs])
    # The k-th of two sorted lists is the minimum over i of max(i-th of one, (k - i)-th of the other).
    middle = window * window // 2
    result = paired[middle]
    for number, single in enumerate(columns, 1):
        result = torch.minimum(result, torch.maximum(paired[middle - number], single[..., -width:]))
    return result


def _sort(x: list[Tensor]) -> list[Tensor]:
    half = len(x) // 2
    return x if len(x) == 1 else _merge(_sort(x[:half]), _sort(x[half:]))


def _merge(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Merge two sorted lists of tensors, elementwise (Batcher's odd-even merge)."""
    if not a or not b:
        return a + b
    if len(a) == len(b) == 1:
        return [torch.minimum(a[0], b[0]), torch.maximum(a[0], b[0])]
    even, odd = _merge(a[::2], b[::2]), _merge(a[1::2], b[1::2])
    result = [even[0]]
    for high, low in zip(odd, even[1:], strict=False):
        result += [torch.minimum(high, low), torch.maximum(high, low)]
    return result + even[1 + len(odd) :] + odd[len(even) - 1 :]
