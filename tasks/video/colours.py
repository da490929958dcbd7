"""Optical flow as colours: hue is the direction, saturation the speed.

Source: Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A database and evaluation methodology for optical flow", IJCV
2011. Around their wheel, from red (to the right) clockwise, six pairs of primary colours blend linearly over arcs of
unequal length, longer where the eye distinguishes more hues.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ARCS: tuple[tuple[tuple[int, int, int], int], ...] = (
    ((1, 0, 0), 15),  # red to yellow
    ((1, 1, 0), 6),  # to green
    ((0, 1, 0), 4),  # to cyan
    ((0, 1, 1), 11),  # to blue
    ((0, 0, 1), 13),  # to magenta
    ((1, 0, 1), 6),  # to red
)
"""Colour at which an arc starts, and its length."""
BEYOND = 0.75
"""Brightness of motion faster than the scale, to tell it from motion that just reaches it."""

_LENGTHS = np.array([length for _, length in ARCS])
_STARTS = np.concatenate([[0], np.cumsum(_LENGTHS)]) * (2 * np.pi / _LENGTHS.sum())
_COLOURS = np.array([colour for colour, _ in (*ARCS, ARCS[0])], np.float32)


def flow_colours(flow: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Colour a flow field.

    Args:
        flow: [2,H,W] in pixels per frame, x (to the right) before y (down).
        scale: pixels per frame of a fully saturated colour.

    Returns:
        uint8 RGB [H,W,3]; no motion is white.
    """
    x, y = flow
    speed = np.hypot(x, y)[..., None] / scale
    angle = np.arctan2(y, x) % (2 * np.pi)
    hue = np.stack([np.interp(angle, _STARTS, _COLOURS[:, channel]) for channel in range(3)], -1)
    colour = np.where(speed <= 1, 1 - speed * (1 - hue), BEYOND * hue)
    return np.rint(255 * colour).astype(np.uint8)


def colour_wheel(size: int) -> NDArray[np.uint8]:
    """Draw the legend, uint8 RGBA [size,size,4]: each point has the colour of the motion from the centre to it.

    The rim is at the scale, and everything outside is transparent.
    """
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    field = np.stack(np.meshgrid(axis, axis))
    distance = np.hypot(*field)
    # The rim fades over a pixel. Points outside are drawn as the rim, just within the scale, beyond which it is dark.
    inside = np.clip((1 - distance) * (size / 2) + 0.5, 0, 1)
    colour = flow_colours(field / np.maximum(distance, 1), 1.0001)
    return np.concatenate([colour, np.rint(255 * inside).astype(np.uint8)[..., None]], -1)
