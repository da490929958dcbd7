"""The motions: each makes a scene from a person, random numbers and the time [T] in 0..1.

Everybody faces right here; the camera mirrors half of the videos. Units are those of `body.py`.
"""

from __future__ import annotations

import numpy as np

from tasks.stickfigures.body import Person, Trunk, pose, reach, swing, trunk, vivid
from tasks.stickfigures.draw import Scene, Shape

ANKLE = 0.035  # height of the ankle above the ground
Rng = np.random.Generator


def ramp(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """Go smoothly from 0 before `start` to 1 after `end`."""
    u = np.clip((time - start) / (end - start), 0.0, 1.0)
    return u * u * (3 - 2 * u)


def span(rng: Rng) -> tuple[float, float]:
    """Return a random start and end of the action within the video."""
    return rng.uniform(0.0, 0.14), rng.uniform(0.86, 1.0)


def xy(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """Stack coordinates to points [..., 2]."""
    return np.stack(np.broadcast_arrays(x, y), axis=-1).astype(float)


def both(far: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Stack far and near [T, 2] to [T, 2, 2]."""
    return np.stack(np.broadcast_arrays(far, near), axis=1)


def blend(a: np.ndarray, b: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Go from points a to points b, both [T, ..., 2], as `u` [T] goes from 0 to 1."""
    u = u.reshape(-1, *[1] * (np.ndim(b) - 1))
    return (1 - u) * a + u * b


def still(time: np.ndarray, *points: tuple[float, float]) -> np.ndarray:
    """Repeat the points of an object that does not move: [T, N, 2]."""
    return np.broadcast_to(np.array(points, float), (len(time), len(points), 2))


def box(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return the corners [T, 4, 2] of an upright box around `centre` [T, 2]."""
    return centre[:, None] + 0.5 * np.array([[-width, -height], [width, -height], [width, height], [-width, height]])


def both_angles(outward: np.ndarray) -> np.ndarray:
    """Return the angles of the left and right arm [T, 2] for an outward angle [T], seen from the front."""
    return np.stack([-outward, outward], axis=-1)


def apart(time: np.ndarray, height: np.ndarray | float = 0.0) -> np.ndarray:
    """Return feet [T, 2, 2] side by side, seen from the front."""
    return both(xy(-0.085 + 0 * time, ANKLE + height), xy(0.085 + 0 * time, ANKLE + height))


def moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """Move points [..., 2] by (x, y)."""
    return points + np.array([x, y])


def hanging_hands(who: Person, body: Trunk) -> np.ndarray:
    """Return the hands [T, 2, 2] of arms that hang down."""
    return moved(body.shoulders, 0.03, -0.97 * who.arm)


def gait(
    who: Person, time: np.ndarray, stride: float, cycles: float, phase: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk right across x = 0: return pelvis [T, 2], feet [T, 2, 2] and the legs' phases in their cycles [T, 2].

    A planted foot stays where it is, and the pelvis moves around it on an arc.
    """
    turns = phase + cycles * time
    x = 2 * stride * (turns - turns.mean())
    steps = turns[:, None] + np.array([0.0, 0.5])
    phases, count = steps % 1.0, np.floor(steps)
    swinging = np.clip(2 * phases - 1, 0.0, 1.0)
    ahead = swinging * swinging * (3 - 2 * swinging)
    feet_x = 2 * stride * (count + ahead + 0.25 - np.array([0.0, 0.5]) - turns.mean())
    feet = xy(feet_x, ANKLE + 0.075 * np.sin(np.pi * swinging))
    standing = np.where(phases < 0.5, np.abs(feet_x - x[:, None]), 0.0).max(axis=1)
    y = ANKLE + np.sqrt((0.985 * who.leg) ** 2 - standing**2)
    return xy(x, y), feet, phases


def walk(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Walk right."""
    stride, cycles = rng.uniform(0.24, 0.29) * who.leg / 0.48, rng.uniform(1.4, 1.7)
    pelvis, feet, phases = gait(who, time, stride, cycles, rng.uniform(0, 1))
    body = trunk(who, pelvis, 0.06 + 0 * time, frontal=False)
    upper = -rng.uniform(0.4, 0.65) * np.cos(2 * np.pi * (phases - 0.02))
    return Scene(pose(who, body, swing(who, body, upper, upper + 0.35 + 0.25 * np.clip(upper, 0, 1)), feet))


def sit_down(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Sit down on a chair, and stay there."""
    start, end = span(rng)
    u = ramp(time, start, end)
    seat = 0.9 * who.shin + ANKLE
    pelvis = xy(-0.19 * np.sin(0.5 * np.pi * u), (1 - u) * (0.985 * who.leg + ANKLE) + u * (seat + 0.07))
    body = trunk(who, pelvis, 0.04 + rng.uniform(0.5, 0.75) * np.sin(np.pi * u) - 0.08 * u, frontal=False)
    feet = both(still(time, (0.07, ANKLE))[:, 0], still(time, (0.02, ANKLE))[:, 0])
    hanging = hanging_hands(who, body)
    lap = moved(feet, 0.02, 1.13 * who.shin)
    joints = pose(who, body, reach(who, body, blend(hanging, lap, ramp(time, start + 0.2, end))), feet)
    wood = vivid(rng, 0.35, 0.8)
    chair = [
        Shape(still(time, (-0.33, 0), (-0.33, seat), (-0.36, seat + 0.33)), wood, 0.04),
        Shape(still(time, (-0.08, 0), (-0.08, seat)), wood, 0.035),
        Shape(still(time, (-0.34, seat), (-0.07, seat)), wood, 0.06),
    ]
    return Scene(joints, behind=chair, centre=-0.1)


def raise_arms(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Raise both arms sideways until they point up."""
    u = ramp(time, *span(rng))
    lift = 0.15 + u * rng.uniform(2.5, 2.8)
    pelvis = xy(0.012 * np.sin(2 * np.pi * (time + rng.uniform())), 0.985 * who.leg + ANKLE - 0.006 * np.sin(np.pi * u))
    body = trunk(who, pelvis, 0 * time, frontal=True)
    upper, elbow = both_angles(lift), rng.uniform(-0.1, 0.3)
    return Scene(pose(who, body, swing(who, body, upper, upper + both_angles(elbow * u)), apart(time), frontal=True))


def open_door(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Take the handle of a door in the wall and open it towards the camera."""
    start, end = span(rng)
    grasp, u = ramp(time, start - 0.1, start + 0.2), ramp(time, start + 0.15, end)
    near, far, top, knob = 0.16, 0.16 + rng.uniform(0.4, 0.48), 1.1, 0.56
    angle = u * rng.uniform(1.2, 1.4)
    edge, swell = far - (far - near) * np.cos(angle), 0.16 * np.sin(angle)
    handle = xy(edge + 0.05 * np.cos(angle), knob)
    pelvis = xy(-0.06 + 0.2 * u, 0.97 * who.leg + ANKLE)
    body = trunk(who, pelvis, 0.08 + 0.16 * np.sin(0.5 * np.pi * u), frontal=False)
    near_step, far_step = ramp(time, 0.3, 0.6), ramp(time, 0.55, 0.85)
    feet = both(
        xy(-0.12 + 0.2 * far_step, ANKLE + 0.04 * np.sin(np.pi * far_step)),
        xy(0.0 + 0.2 * near_step, ANKLE + 0.04 * np.sin(np.pi * near_step)),
    )
    hanging = hanging_hands(who, body)
    hands = both(hanging[:, 0], blend(hanging[:, 1], handle, grasp))
    joints = pose(who, body, reach(who, body, hands), feet)
    wood, frame = vivid(rng, 0.4, 0.85), vivid(rng, 0.6, 0.95)
    hinge = far + 0 * edge
    panel = np.stack([xy(hinge, 0), xy(edge, -0.4 * swell), xy(edge, top + 0.6 * swell), xy(hinge, top)], axis=1)
    door = [
        Shape(still(time, (near, 0), (far, 0), (far, top), (near, top)), frame, 0.09, filled=True),
        Shape(still(time, (near, 0), (far, 0), (far, top), (near, top)), (34, 32, 44), 0.0, filled=True),
        Shape(panel, wood, 0.02, filled=True),
        Shape(handle[:, None], (236, 214, 120), 0.06),
    ]
    return Scene(joints, behind=door, centre=0.24)


def push_box(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Push a big box along the floor."""
    stride, cycles = rng.uniform(0.16, 0.21) * who.leg / 0.48, rng.uniform(1.2, 1.5)
    pelvis, feet, _ = gait(who, time, stride, cycles, rng.uniform(0, 1))
    lean, width, height = rng.uniform(0.35, 0.5), rng.uniform(0.3, 0.4), rng.uniform(0.42, 0.55)
    pelvis[:, 1] -= 0.02
    body = trunk(who, pelvis, lean + 0 * time, frontal=False)
    side = pelvis[:, 0] + who.torso * np.sin(lean) + 0.85 * who.arm
    hands = both(xy(side, 0.9 * height), xy(side - 0.01, 0.8 * height))
    joints = pose(who, body, reach(who, body, hands), feet)
    colour, tape = vivid(rng, 0.5, 0.95), vivid(rng, 0.2, 0.9)
    centre = xy(side + 0.5 * width + 0.03, 0.5 * height)
    crate = [
        Shape(box(centre, width, height), colour, 0.02, filled=True),
        Shape(box(moved(centre, 0.0, 0.25 * height), width, 0.04), tape, 0.0, filled=True),
    ]
    return Scene(joints, behind=crate, centre=0.27)


def pick_up(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Bend down, take a crate or ball from the floor and lift it."""
    start, end = span(rng)
    down, u = ramp(time, start, 0.5), ramp(time, 0.5, end)
    low = down * (1 - u)
    pelvis = xy(-0.15 * low, (0.985 - 0.44 * low) * who.leg + ANKLE)
    body = trunk(who, pelvis, 0.04 + 0.95 * low, frontal=False)
    feet = both(xy(0.03 + 0 * time, ANKLE), xy(-0.03 + 0 * time, ANKLE))
    size = rng.uniform(0.15, 0.2)
    rest, carried = xy(0.24 + 0 * time, 0.5 * size), moved(body.shoulders[:, 1], 0.25, rng.uniform(-0.14, -0.05))
    thing = blend(rest, carried, u)
    hanging = hanging_hands(who, body)
    grip = both(moved(thing, -0.3 * size, 0.3 * size), moved(thing, -0.15 * size, -0.1 * size))
    joints = pose(who, body, reach(who, body, blend(hanging, grip, ramp(time, start + 0.1, 0.48))), feet)
    colour = vivid(rng, 0.5, 0.95)
    if rng.integers(2):
        held = [Shape(box(thing, size, size), colour, 0.02, filled=True)]
    else:
        held = [Shape(thing[:, None], colour, 1.15 * size)]
    return Scene(joints, held=held, centre=0.08)


def throw_ball(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Throw a ball overarm, out of the picture."""
    release = rng.uniform(0.38, 0.5)
    u = ramp(time, release - 0.32, release + 0.3)
    upper = -2.2 - rng.uniform(3.2, 3.6) * u
    pelvis = xy(-0.07 + 0.14 * u, 0.96 * who.leg + ANKLE - 0.02 * np.sin(np.pi * u))
    body = trunk(who, pelvis, -0.2 + 0.5 * u, frontal=False)
    feet = both(xy(-0.14 + 0 * time, ANKLE), xy(0.14 + 0 * time, ANKLE))
    aim = 1.3 - 1.6 * u
    arms = swing(who, body, np.stack([aim, upper], -1), np.stack([aim + 0.2, upper - 0.9 * (1 - u)], -1))
    joints = pose(who, body, arms, feet)
    speed, rise = rng.uniform(1.0, 1.35), rng.uniform(0.15, 0.45)
    flown = np.clip(time - release, 0, 1)[:, None]
    hand = arms[1][:, 1]
    loose = np.array([np.interp(release, time, hand[:, 0]), np.interp(release, time, hand[:, 1])])
    flight = loose + flown * [speed, rise] - [0.0, 0.7] * flown**2
    ball = np.where(flown > 0, flight, moved(hand, 0.0, 0.015))
    held = [Shape(ball[:, None], vivid(rng, 0.6, 1.0), rng.uniform(0.12, 0.15))]
    return Scene(joints, held=held, centre=0.22)


def put_on_hat(who: Person, rng: Rng, time: np.ndarray) -> Scene:
    """Put on a hat and drop the arm."""
    start, end = span(rng)
    up, off = ramp(time, start, 0.55), ramp(time, 0.6, end)
    pelvis = xy(0.01 * np.sin(2 * np.pi * (time + rng.uniform())), 0.985 * who.leg + ANKLE)
    body = trunk(who, pelvis, 0.03 + 0.06 * np.sin(np.pi * up), frontal=False)
    feet = both(xy(0.04 + 0 * time, ANKLE), xy(-0.04 + 0 * time, ANKLE))
    worn = moved(body.head, 0.0, 0.75 * who.head)
    hat = blend(moved(body.shoulders[:, 1], 0.12, -0.85 * who.arm), worn, up) + xy(0.16 * np.sin(np.pi * up), 0.0)
    hanging = hanging_hands(who, body)
    hands = both(hanging[:, 0], blend(moved(hat, 0.085, 0.0), hanging[:, 1], off) + xy(0.2 * np.sin(np.pi * off), 0.0))
    joints = pose(who, body, reach(who, body, hands), feet)
    colour, band = vivid(rng, 0.3, 0.95), vivid(rng, 0.2, 0.95)
    tall = rng.uniform(0.07, 0.12)
    crown = np.array([[-0.07, 0.0], [0.07, 0.0], [0.055, tall], [-0.055, tall]])
    held = [
        Shape(hat[:, None] + crown, colour, 0.02, filled=True),
        Shape(hat[:, None] + np.array([[-0.06, 0.02], [0.06, 0.02]]), band, 0.03),
        Shape(hat[:, None] + np.array([[-0.12, 0.0], [0.12, 0.0]]), colour, 0.035),
    ]
    return Scene(joints, held=held)


def wave(who: Person, rng: Rng, time: np.ndarray, *, cycles: float) -> Scene:
    """Wave an arm `cycles` times, from a random phase on, so that a single frame does not show the tempo."""
    angle = 2 * np.pi * (rng.uniform() + rng.uniform(0.95, 1.08) * cycles * time)
    upper, swings = rng.uniform(1.95, 2.15), rng.uniform(0.9, 1.1)
    pelvis = xy(0.012 * np.sin(angle), 0.985 * who.leg + ANKLE)
    body = trunk(who, pelvis, 0.03 * np.sin(angle), frontal=True)
    hanging = -0.15 + 0 * time
    raised = upper + 0.5 * swings * np.sin(angle)
    forearm = 2.7 + swings * np.sin(angle + 0.2)
    arms = swing(who, body, np.stack([hanging, raised], -1), np.stack([hanging, forearm], -1))
    return Scene(pose(who, body, arms, apart(time), frontal=True))


def jump(who: Person, rng: Rng, time: np.ndarray, *, times: int) -> Scene:
    """Jump up `times` times within the same span, so that each pose takes as long for any number of jumps."""
    start, end = span(rng)
    turn = np.clip((time - start) / (end - start), 0, 1 - 1e-9) * times % 1.0
    air = np.clip((turn - 0.3) / 0.4, 0, 1)
    height = rng.uniform(0.16, 0.24) * 4 * air * (1 - air)
    crouch = np.sin(np.pi * np.clip(turn / 0.3, 0, 1)) + np.sin(np.pi * np.clip((turn - 0.7) / 0.3, 0, 1))
    dip = rng.uniform(0.09, 0.13) * crouch
    pelvis = xy(0 * time, 0.985 * who.leg + ANKLE + height - dip)
    body = trunk(who, pelvis, 0 * time, frontal=True)
    upper = both_angles(0.2 + 4.5 * height + 2.0 * dip)
    joints = pose(who, body, swing(who, body, upper, 1.15 * upper), apart(time, 1.05 * height), frontal=True)
    return Scene(joints)
