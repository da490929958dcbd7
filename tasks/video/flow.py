"""Dual TV-L1 optical flow and its 8-bit form, as made by the tools for two-stream networks."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import did_you_mean
from tasks.video.settings import TVL1

Backend = Literal["native", "opencv", "torch"]


def to_gray(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (BT.601) of uint8 RGB [T,H,W,3], as uint8 [T,H,W]."""
    gray = np.empty(images.shape[:3], np.uint8)
    for image, target in zip(images, gray, strict=True):
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY, dst=target)
    return gray


def tvl1(gray: NDArray[np.uint8], settings: TVL1 | None = None, backend: Backend = "native") -> NDArray[np.float32]:
    """Compute the motion from each frame to the next.

    Args:
        gray: uint8 [T,H,W].
        settings: Parameters of the scheme; OpenCV's by default.
        backend: `native`, compiled for this processor at first use, which gives the same bits on all of them;
            `opencv`, the reference (DualTVL1OpticalFlow); or `torch`, in batches on a GPU where there is one, whose
            last bits depend on the device. They differ by some 0.01 pixels.

    Returns:
        float32 [T-1,2,H,W] in pixels per frame, x (to the right) before y (down).

    Raises:
        ValueError: `gray` is not a stack of 8-bit images, or there is no such backend.

    Source: Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007.
    """
    if gray.ndim != 3 or gray.dtype != np.uint8 or 0 in gray.shape[1:]:
        raise ValueError(f"gray must be uint8 images [T,H,W], not {gray.dtype} {list(gray.shape)}")
    if backend not in get_args(Backend):
        raise ValueError(f"unknown flow backend {backend!r}{did_you_mean(backend, get_args(Backend))}")
    flow = np.empty((max(len(gray) - 1, 0), 2, *gray.shape[1:]), np.float32)
    if len(flow):
        {"native": _native, "opencv": _opencv, "torch": _torch}[backend](gray, settings or TVL1(), flow)
    return flow


def _native(gray: NDArray[np.uint8], s: TVL1, flow: NDArray[np.float32]) -> None:
    from tasks.video.native.kernels import solver  # numba takes half a second

    solve = solver()
    solve(
        np.ascontiguousarray(gray), s.tau, s.lambda_, s.theta, s.scales, s.warps, s.epsilon, s.inner_iterations,
        s.outer_iterations, s.scale_step, s.median, flow,
    )  # fmt: skip


def _torch(gray: NDArray[np.uint8], s: TVL1, flow: NDArray[np.float32]) -> None:
    from tasks.video.tvl1_torch import flow_of_stack  # torch takes seconds

    flow_of_stack(gray, s, flow)


def _opencv(gray: NDArray[np.uint8], s: TVL1, flow: NDArray[np.float32]) -> None:
    cv2.setNumThreads(1)  # a worker has one core: parallelism is over videos
    solver = cv2.optflow.DualTVL1OpticalFlow_create(  # type: ignore[attr-defined]
        tau=s.tau,
        lambda_=s.lambda_,
        theta=s.theta,
        nscales=s.scales,
        warps=s.warps,
        epsilon=s.epsilon,
        innnerIterations=s.inner_iterations,  # spelt so in OpenCV
        outerIterations=s.outer_iterations,
        scaleStep=s.scale_step,
        medianFiltering=s.median,
    )
    for pair in range(len(flow)):
        flow[pair] = solver.calc(gray[pair], gray[pair + 1], None).transpose(2, 0, 1)


def quantize(flow: NDArray[np.float32], bound: float = 20.0) -> NDArray[np.uint8]:
    """Map [-bound, bound] to 0..255, rounding to nearest and ties to even: no motion is 128.

    denseflow and OpenCV's tools round like this; scripts that truncate give 127 (docs/papers/tsn-protocol.md,
    section 3, equation (3)).
    """
    levels = np.clip(flow, -bound, bound)
    levels += np.float32(bound)
    levels *= np.float32(255 / (2 * bound))
    return np.rint(levels, out=levels).astype(np.uint8)


def dequantize(quantized: NDArray[np.uint8], bound: float = 20.0) -> NDArray[np.float32]:
    """Return quantised flow in pixels per frame, to within bound/255; no motion becomes +bound/255."""
    return quantized.astype(np.float32) * np.float32(2 * bound / 255) - np.float32(bound)
