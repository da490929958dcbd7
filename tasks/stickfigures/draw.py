"""Drawing of a scene with a stick figure: background, clothes, camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from tasks.stickfigures.body import Colour, Joints, Person, vivid
from tasks.stickfigures.settings import FigureSettings

OVERSAMPLE = 2  # drawn at twice the size and averaged: half-pixel motion and smooth edges
SUBPIXEL = 4  # fractional bits of OpenCV's coordinates
OUTLINE = 0.012
INK: Colour = (24, 22, 26)


@dataclass(frozen=True)
class Shape:
    """A moving disc (one point), open line or filled polygon, in body units."""

    points: np.ndarray
    """[T, N, 2]"""
    colour: Colour
    width: float = 0.0
    """Thickness of the line or edge, or the diameter of the disc."""
    filled: bool = False


@dataclass(frozen=True)
class Scene:
    """A motion and the objects around it."""

    joints: Joints
    behind: list[Shape] = field(default_factory=list)
    """Painted before the figure."""
    held: list[Shape] = field(default_factory=list)
    """Painted between the body and the near arm."""
    centre: float = 0.0
    """The x that is shown in the middle of the picture."""


def figure(scene: Scene, who: Person, outfit: tuple[Colour, Colour, Colour]) -> list[Shape]:
    """Return all shapes of a scene in the order of painting."""
    joints, (shirt, trousers, shoes) = scene.joints, outfit
    trunk, leg = joints.trunk, 1.25 * who.limb

    def limb(root: np.ndarray, middle: np.ndarray, end: np.ndarray, near: int) -> np.ndarray:
        return np.stack([root[:, near], middle[:, near], end[:, near]], axis=1)

    def shaded(colour: Colour, near: int) -> Colour:
        dim = 1.0 if near or joints.frontal else 0.72
        red, green, blue = (int(dim * value) for value in colour)
        return red, green, blue

    def lower(near: int) -> list[Shape]:
        toe = np.array([0.035 * (2 * near - 1), -0.022] if joints.frontal else [0.062, -0.018])
        heel = np.array([0.0, -0.018] if joints.frontal else [-0.012, -0.018])
        ankle = joints.feet[:, near]
        shoe = np.stack([ankle + heel, ankle + toe], axis=1)
        return [
            Shape(limb(trunk.hips, joints.knees, joints.feet, near), shaded(trousers, near), leg),
            Shape(shoe, shaded(shoes, near), 0.85 * leg),
        ]

    def arm(near: int) -> list[Shape]:
        sleeve = joints.elbows + 0.3 * (joints.hands - joints.elbows)
        return [
            Shape(limb(sleeve, joints.elbows, joints.hands, near)[:, [0, 2]], shaded(who.skin, near), 0.8 * who.limb),
            Shape(limb(trunk.shoulders, joints.elbows, sleeve, near), shaded(shirt, near), who.limb),
            Shape(joints.hands[:, near, None], shaded(who.skin, near), 1.25 * who.limb),
        ]

    neck = trunk.shoulders.mean(axis=1)
    up = trunk.head - neck
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    right = np.stack([up[:, 1], -up[:, 0]], axis=-1)
    turn = 0.0 if joints.frontal else -0.3  # seen from the side the hair is at the back, and a nose at the front
    hair = trunk.head + who.head * (0.3 * up + turn * right)
    face = trunk.head + who.head * ((-0.28 * up) + (0.0 if joints.frontal else 0.24) * right)
    chest = np.concatenate([trunk.shoulders, trunk.hips[:, ::-1]], axis=1)
    torso = [
        Shape(np.stack([neck, trunk.head], axis=1), who.skin, 0.9 * who.limb),
        Shape(chest, shirt, (1.1 if joints.frontal else 2.0) * who.limb, filled=True),
    ]
    head = [
        Shape(trunk.head[:, None], who.hair, 2 * who.head),
        Shape(hair[:, None], who.hair, 1.75 * who.head),
        Shape(face[:, None], who.skin, 1.55 * who.head),
    ]
    if not joints.frontal:
        nose = trunk.head + who.head * (-0.15 * up + 1.02 * right)
        head.append(Shape(nose[:, None], who.skin, 0.45 * who.head))
    for side in (-0.32, 0.32) if joints.frontal else (0.55,):
        eye = trunk.head + who.head * (-0.12 * up + side * right)
        head.append(Shape(eye[:, None], INK, 0.26 * who.head))
    if joints.frontal:
        groups = [scene.behind, lower(0), lower(1), torso, head, scene.held, arm(0), arm(1)]
    else:
        groups = [scene.behind, arm(0), lower(0), lower(1), torso, head, scene.held, arm(1)]
    return [shape for group in groups for shape in outlined(group)]


def outlined(group: list[Shape]) -> list[Shape]:
    """Put a dark rim around a group as a whole, so that it stands out from any background."""
    rims = [Shape(shape.points, INK, shape.width + 2 * OUTLINE, shape.filled) for shape in group]
    return rims + group


def backdrop(rng: np.random.Generator, size: int, ground: int, clutter: float) -> np.ndarray:
    """Draw a wall with a pattern and objects on it, and a floor, from row `ground` on: uint8 [size, size, 3]."""
    tinge = 0.1 + 0.25 * clutter
    wall = np.array(vivid(rng, 0.55, 0.95)) * tinge + (1 - tinge) * rng.uniform(140, 225)
    floor = np.array(vivid(rng, 0.3, 0.75)) * 2 * tinge + (1 - 2 * tinge) * rng.uniform(80, 160)
    rows, columns = np.mgrid[0:size, 0:size] / size
    image = np.full((size, size, 3), wall, np.float32)

    pitch, contrast = rng.uniform(0.06, 0.2), clutter * rng.uniform(5, 16)
    kind = rng.choice(["plain", "stripes", "tiles", "bricks", "dots"])
    if kind == "stripes":
        pattern = np.sign(np.sin(2 * np.pi * columns / pitch))
    elif kind == "tiles":
        pattern = -1.0 * ((rows % pitch < 0.1 * pitch) | (columns % pitch < 0.1 * pitch))
    elif kind == "bricks":
        shift = (rows // (0.5 * pitch)) % 2 * 0.5 * pitch
        pattern = -1.0 * ((rows % (0.5 * pitch) < 0.08 * pitch) | ((columns + shift) % pitch < 0.08 * pitch))
    elif kind == "dots":
        pattern = np.sign(0.06 - ((rows / pitch) % 1 - 0.5) ** 2 - ((columns / pitch) % 1 - 0.5) ** 2)
    else:
        pattern = np.zeros_like(rows)
    image += contrast * pattern[..., None].astype(np.float32)

    for _ in range(round(clutter * rng.integers(0, 3))):  # pictures and windows
        left, top = (rng.uniform(0.02, [0.8, 0.4]) * size).astype(int).tolist()
        right, bottom = left + int(rng.uniform(0.1, 0.25) * size), top + int(rng.uniform(0.1, 0.25) * size)
        inside, frame = vivid(rng, 0.5, 0.9), vivid(rng, 0.2, 0.9)
        cv2.rectangle(image, (left, top), (right, bottom), inside, -1)
        cv2.rectangle(image, (left, top), (right, bottom), frame, max(1, size // 50), cv2.LINE_AA)

    image[ground:] = floor
    boards = np.sign(np.sin((columns[ground:] - 0.5) / (0.25 + rows[ground:] - ground / size) * rng.uniform(8, 20)))
    image[ground:] += (clutter * rng.uniform(0, 8) * boards[..., None]).astype(np.float32)
    image[max(ground - size // 40, 0) : ground] = wall * rng.uniform(0.6, 1.25)
    light = clutter * (rng.uniform(-25, 25) * (columns - 0.5) + rng.uniform(-25, 5) * (rows - 0.5))[..., None]
    cells = int(rng.integers(5, 16))
    blotches = cv2.resize(
        clutter * rng.normal(0, rng.uniform(2, 9), (cells, cells)), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(image + light + blotches[..., None], 0, 255).astype(np.uint8)


def shake(rng: np.random.Generator, frames: int, amplitude: float) -> np.ndarray:
    """Return camera displacements [T, 2]: a stationary Gaussian walk, which looks the same backwards."""
    steps = rng.normal(0, amplitude, (frames, 2))
    for t in range(1, frames):
        steps[t] = 0.8 * steps[t - 1] + 0.6 * steps[t]
    return steps


def grain(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """Return sensor noise [T, H, W, 3]: random cuts of one plate, which is far faster than new noise per frame."""
    frames, height, width, colours = shape
    plate = deviation * rng.standard_normal((height + 32, width + 32, colours), dtype=np.float32)
    cuts = rng.integers(0, 32, (frames, 2))
    return np.stack([plate[y : y + height, x : x + width] for y, x in cuts])


def photograph(
    scene: Scene, who: Person, settings: FigureSettings, rng: np.random.Generator, *, mirrored: bool
) -> np.ndarray:
    """Render a scene from a random position: uint8 RGB [T, size, size, 3]."""
    size, frames = OVERSAMPLE * settings.size, settings.frames
    scale = size * 0.66 * who.height * rng.uniform(0.9, 1.1)
    middle = size * (0.5 + rng.uniform(-0.06, 0.06))
    ground = size * rng.uniform(0.86, 0.91)
    outfit = who.wardrobe[rng.integers(len(who.wardrobe))]

    margin = int(np.ceil(4 * size * settings.shake / 100)) + 1
    moves = np.rint(np.clip(shake(rng, frames, size * settings.shake / 100), 1 - margin, margin - 1)).astype(int)
    scenery = backdrop(rng, size + 2 * margin, int(ground - 0.02 * scale) + margin, settings.clutter)
    gain, tint = rng.uniform(0.85, 1.12), rng.uniform(0.95, 1.05, 3)

    canvases = np.stack([scenery[margin + y : margin + y + size, margin + x : margin + x + size] for x, y in moves])
    one = 1 << SUBPIXEL
    for shape in figure(scene, who, outfit):
        pixels = (shape.points - [scene.centre, 0.0]) * [scale, -scale] + [middle, ground] - moves[:, None]
        fixed = np.ascontiguousarray(np.rint(pixels * one), np.int32)
        width = max(1, round(shape.width * scale))
        for canvas, points in zip(canvases, fixed, strict=True):
            if len(points) == 1:
                x, y = points[0].tolist()
                cv2.circle(
                    canvas, (x, y), int(0.5 * shape.width * scale * one), shape.colour, -1, cv2.LINE_AA, SUBPIXEL
                )
                continue
            if shape.filled:
                cv2.fillPoly(canvas, [points], shape.colour, cv2.LINE_AA, SUBPIXEL)
            cv2.polylines(canvas, [points], shape.filled, shape.colour, width, cv2.LINE_AA, SUBPIXEL)

    small = np.stack([cv2.resize(canvas, (settings.size,) * 2, interpolation=cv2.INTER_AREA) for canvas in canvases])
    images = small * (gain * tint).astype(np.float32)
    images += grain(rng, small.shape, settings.noise)
    images = np.clip(np.rint(images, out=images), 0, 255, out=images).astype(np.uint8)
    return np.ascontiguousarray(images[:, :, ::-1]) if mirrored else images
