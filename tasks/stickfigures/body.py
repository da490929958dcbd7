"""The body of a stick figure: proportions, clothes, and the joints of a pose.

Lengths are in units of the person's height, x to the right and y up from the ground; the figure faces right.
Arrays of a motion start with the time axis T; pairs of limbs are ordered (far, near) as seen by the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.seeds import generator

Colour = tuple[int, int, int]

SKIN: tuple[Colour, ...] = ((244, 208, 177), (224, 172, 138), (190, 133, 96), (141, 85, 54), (92, 58, 40))
HAIR: tuple[Colour, ...] = ((30, 24, 22), (84, 52, 30), (150, 96, 48), (214, 176, 104), (150, 150, 152))


@dataclass(frozen=True)
class Person:
    """Proportions, in units of the height, and looks of one person."""

    height: float
    """Height relative to the average person."""
    thigh: float
    shin: float
    torso: float
    upper_arm: float
    forearm: float
    head: float
    """Radius of the head."""
    shoulder: float
    """Half the distance between the shoulders, seen from the front."""
    limb: float
    """Thickness of an arm; legs are a quarter thicker."""
    skin: Colour
    hair: Colour
    wardrobe: tuple[tuple[Colour, Colour, Colour], ...]
    """Outfits: shirt, trousers, shoes."""

    @property
    def leg(self) -> float:
        """Length of the stretched leg."""
        return self.thigh + self.shin

    @property
    def arm(self) -> float:
        """Length of the stretched arm."""
        return self.upper_arm + self.forearm


def vivid(rng: np.random.Generator, low: float = 0.15, high: float = 0.95) -> Colour:
    """Return a random saturated colour, from `low` to `high` in brightness."""
    hue, saturation, value = rng.uniform(0, 6), rng.uniform(0.35, 0.95), rng.uniform(low, high)
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    red, green, blue = np.rint(255 * value * (1 - saturation + saturation * wheel)).astype(int).tolist()
    return red, green, blue


def person(seed: int, index: int) -> Person:
    """Return person number `index` of the world made from `seed`."""
    rng = generator(seed, "person", index)
    legs, arms, build = rng.uniform(0.94, 1.06), rng.uniform(0.94, 1.07), rng.uniform(0.8, 1.3)
    return Person(
        height=rng.uniform(0.86, 1.08),
        thigh=0.245 * legs,
        shin=0.235 * legs,
        torso=0.29 * rng.uniform(0.93, 1.07),
        upper_arm=0.17 * arms,
        forearm=0.18 * arms,
        head=0.078 * rng.uniform(0.9, 1.15),
        shoulder=0.095 * rng.uniform(0.9, 1.15),
        limb=0.05 * build,
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        wardrobe=tuple((vivid(rng, 0.4), vivid(rng, 0.15, 0.7), vivid(rng, 0.05, 0.4)) for _ in range(3)),
    )


@dataclass(frozen=True)
class Trunk:
    """Where the trunk is, before arms and legs are placed."""

    pelvis: np.ndarray
    """[T, 2]"""
    hips: np.ndarray
    """[T, 2 (far, near), 2]"""
    shoulders: np.ndarray
    """[T, 2 (far, near), 2]"""
    head: np.ndarray
    """[T, 2], centre."""


@dataclass(frozen=True)
class Joints:
    """The joints of a motion. Pairs are [T, 2 (far, near), 2]."""

    trunk: Trunk
    elbows: np.ndarray
    hands: np.ndarray
    knees: np.ndarray
    feet: np.ndarray
    """The ankles."""
    frontal: bool
    """Whether it is seen from the front, and not from the side, facing right."""


def trunk(who: Person, pelvis: np.ndarray, lean: np.ndarray, *, frontal: bool) -> Trunk:
    """Place the trunk: `pelvis` [T, 2], `lean` [T] radians from upright, positive to the right."""
    spine = np.stack([np.sin(lean), np.cos(lean)], axis=-1)
    across = np.stack([np.cos(lean), -np.sin(lean)], axis=-1)[:, None] * np.array([[[-1.0], [1.0]]])
    neck = pelvis + who.torso * spine
    nod = 0.4 * lean if not frontal else lean
    head = neck + (who.head + 0.035) * np.stack([np.sin(nod), np.cos(nod)], axis=-1)
    width = who.shoulder if frontal else 0.012
    return Trunk(
        pelvis=pelvis,
        hips=pelvis[:, None] + 0.55 * width * across,
        shoulders=(neck - 0.03 * spine)[:, None] + width * across,
        head=head,
    )


def bend(
    root: np.ndarray, target: np.ndarray, upper: float, lower: float, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle joint and the reached end by two-bone inverse kinematics, both shaped like `root` [..., 2].

    `side` (+1 or -1) is the side of the line root -> target to which the joint bends: +1 is left of it. A target out
    of reach is approached as far as the limb extends, so that bones never change length.
    """
    gap = target - root
    distance = np.linalg.norm(gap, axis=-1, keepdims=True)
    along = gap / np.maximum(distance, 1e-9)
    reach = np.clip(distance, abs(upper - lower) + 1e-3, 0.999 * (upper + lower))
    foot = (upper**2 - lower**2 + reach**2) / (2 * reach)
    rise = np.sqrt(np.maximum(upper**2 - foot**2, 0.0))
    normal = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    return root + foot * along + rise * normal * np.asarray(side)[..., None], root + reach * along


def swing(who: Person, place: Trunk, upper: np.ndarray, fore: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return elbows and hands [T, 2, 2] by forward kinematics of the arms.

    `upper` and `fore` [T, 2] are the angles of the bones in radians from hanging down, positive to the right.
    """
    elbows = place.shoulders + who.upper_arm * np.stack([np.sin(upper), -np.cos(upper)], axis=-1)
    return elbows, elbows + who.forearm * np.stack([np.sin(fore), -np.cos(fore)], axis=-1)


def reach(who: Person, place: Trunk, hands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return elbows and hands [T, 2, 2] for wanted `hands`, by inverse kinematics of the arms seen from the side."""
    return bend(place.shoulders, hands, who.upper_arm, who.forearm, np.array([-1.0, -1.0]))


def pose(
    who: Person, place: Trunk, arms: tuple[np.ndarray, np.ndarray], feet: np.ndarray, *, frontal: bool = False
) -> Joints:
    """Add the arms (from `swing` or `reach`) and legs that end at the ankles `feet` [T, 2, 2]."""
    knees, ankles = bend(place.hips, feet, who.thigh, who.shin, np.array([-1.0 if frontal else 1.0, 1.0]))
    return Joints(trunk=place, elbows=arms[0], hands=arms[1], knees=knees, feet=ankles, frontal=frontal)
