"""The eight physics scenes of the paper's section 5.3.2 as MJCF: what stands still, what moves, and how it starts.

World axes: x right, y away from the front camera, z up, metres; the floor is z = 0. Everything is drawn from one generator, so a seed is a
scene. Shapes are MuJoCo primitives; what moves is in geom group 1, what never does in group 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.mjcf import text

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.82, 0.16, 0.14),
    "green": (0.18, 0.60, 0.24),
    "blue": (0.15, 0.36, 0.84),
    "yellow": (0.94, 0.78, 0.14),
    "orange": (0.93, 0.48, 0.11),
    "purple": (0.52, 0.24, 0.70),
    "white": (0.92, 0.92, 0.90),
    "black": (0.13, 0.13, 0.15),
    "cyan": (0.20, 0.74, 0.80),
    "pink": (0.92, 0.50, 0.66),
}
BOUNCE = 'solref="0.005 0.35" solimp="0.95 0.99 0.001"'  # under-damped contact: things spring back, and never by more than they brought
DEAD = 'solref="0.004 1" solimp="0.97 0.995 0.001"'


@dataclass
class Experiment:
    """One scene.

    Args:
        things: what moves, in the order of their bodies `object0`, `object1`, ...
        fixed, moving: MJCF of geoms that stand, and of bodies.
        middle, reach: of what happens, metres: the cameras look there.
        start: sets initial velocities, given `(model, data)`.
        facts: numbers a test can hold the run against (angles, heights).
    """

    things: list[SceneObject] = field(default_factory=list)
    fixed: str = ""
    moving: str = ""
    middle: tuple[float, float, float] = (0.0, 0.0, 0.35)
    reach: float = 0.8
    start: Callable[[Any, Any], None] | None = None
    facts: dict[str, float] = field(default_factory=dict)


def add(
    e: Experiment,
    thing: SceneObject,
    at: Sequence[float] | np.ndarray,
    turn: Sequence[float] | np.ndarray = (1, 0, 0, 0),
    touch: str = BOUNCE,
    friction: float = 0.6,
    density: float = 600.0,
) -> int:
    """A free body of one geom; returns its number."""
    k = len(e.things)
    x, y, z = thing.size
    geom = {
        "block": f'type="box" size="{x:.9g} {y:.9g} {z:.9g}"',
        "slab": f'type="box" size="{x:.9g} {y:.9g} {z:.9g}"',
        "ball": f'type="sphere" size="{x:.9g}"',
        "cylinder": f'type="cylinder" size="{x:.9g} {z:.9g}"',
        "wheel": f'type="cylinder" size="{x:.9g} {z:.9g}"',
        "pill": f'type="capsule" size="{x:.9g} {z - x:.9g}"',
    }[thing.shape]
    e.moving += (
        f'<body name="object{k}" pos="{text(at)}" quat="{text(turn)}"><freejoint/><geom name="object{k}" {geom} group="1" '
        f'rgba="{text(thing.rgb)} 1" density="{density:.9g}" friction="{friction:.9g} 0.003 0.0002" condim="4" {touch}/></body>'
    )
    e.things.append(thing)
    return k


def tilt(angle: float, axis: str = "y") -> np.ndarray:
    """Quaternion of a turn by `angle` radians about a world axis."""
    q = np.zeros(4)
    q[0], q["xyz".index(axis) + 1] = np.cos(angle / 2), np.sin(angle / 2)
    return q


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of two quaternions: first `b`, then `a`."""
    w, x, y, z = a
    p, q, r, s = b
    return np.array([
        w * p - x * q - y * r - z * s, w * q + x * p + y * s - z * r, w * r - x * s + y * p + z * q, w * s + x * r - y * q + z * p,
    ])  # fmt: skip


class _Palette:
    """Colours of one scene, each used once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.names = [str(n) for n in rng.permutation(list(COLOURS))]
        self.rng = rng

    def thing(self, shape: str, size: Sequence[float]) -> SceneObject:
        name = self.names.pop()
        rgb = np.clip(np.array(COLOURS[name]) + self.rng.uniform(-0.03, 0.03, 3), 0.02, 0.98)
        return SceneObject(shape, name, tuple(rgb.tolist()), (float(size[0]), float(size[1]), float(size[2])))


def _some(rng: np.random.Generator, palette: _Palette, shapes: Sequence[str], low: float, high: float) -> SceneObject:
    shape, s = str(rng.choice(list(shapes))), rng.uniform(low, high)
    size = {
        "ball": (s, s, s),
        "block": (s, s * rng.uniform(0.8, 1.2), s * rng.uniform(0.8, 1.2)),
        "cylinder": (s, s, s * rng.uniform(0.8, 1.3)),
        "pill": (0.7 * s, 0.7 * s, 1.5 * s),
    }[shape]
    return palette.thing(shape, size)


def free_fall(rng: np.random.Generator) -> Experiment:
    """One to three things let go above the floor."""
    e, palette = Experiment(middle=(0.0, 0.0, 0.55), reach=1.0), _Palette(rng)
    count = int(rng.integers(1, 4))
    for k in range(count):
        thing = _some(rng, palette, ("ball", "block", "cylinder", "pill"), 0.07, 0.12)
        at = ((k - (count - 1) / 2) * 0.42 + rng.uniform(-0.05, 0.05), rng.uniform(-0.15, 0.15), rng.uniform(0.75, 1.25))
        turn = rng.normal(size=4)
        add(e, thing, at, turn / np.linalg.norm(turn))
    return e


def slope(rng: np.random.Generator) -> Experiment:
    """A thing at the top of a tilted plane."""
    angle, length, side = rng.uniform(np.deg2rad(16), np.deg2rad(34)), rng.uniform(1.0, 1.3), float(rng.choice([-1.0, 1.0]))
    e, palette = Experiment(middle=(0.0, 0.0, 0.32), reach=0.95, facts={"angle": float(angle)}), _Palette(rng)
    down = np.array([side * np.cos(angle), 0.0, -np.sin(angle)])
    up = np.array([side * np.sin(angle), 0.0, np.cos(angle)])
    middle = np.array([-side * 0.18, 0.0, length / 2 * np.sin(angle) + 0.02])
    turn = tilt(side * angle)
    e.fixed = (
        f'<geom name="ramp" type="box" size="{length / 2:.9g} 0.22 0.02" pos="{text(middle - 0.02 * up)}" quat="{text(turn)}" '
        f'rgba="0.62 0.60 0.56 1" friction="0.01 0.0001 0.0001" {DEAD}/>'
    )
    thing = _some(rng, palette, ("ball", "block"), 0.06, 0.09)
    # Of two surfaces the rougher counts: the ramp is smooth, the thing decides. A ball needs enough to roll.
    friction = float(rng.uniform(0.05, 0.2)) if thing.shape == "block" else 0.6
    add(e, thing, middle - down * (length / 2 - 0.12) + up * (thing.size[2] + 0.0005), turn, DEAD, friction=friction)
    e.facts["friction"] = friction
    return e


def u_slope(rng: np.random.Generator) -> Experiment:
    """A ball in a round trough."""
    radius, pieces, wide = rng.uniform(0.5, 0.7), 36, 0.16
    e, palette = Experiment(middle=(0.0, 0.0, 0.3), reach=0.9), _Palette(rng)
    half = radius * np.tan(np.pi / 2 / pieces) + 0.001
    for i in range(pieces):
        a = np.pi * (i + 0.5) / pieces - np.pi / 2  # from the left rim over the bottom to the right
        outward = np.array([np.sin(a), 0.0, -np.cos(a)])
        at = np.array([0.0, 0.0, radius + 0.02]) + outward * (radius + 0.01)
        e.fixed += (
            f'<geom name="trough{i}" type="box" size="{half:.9g} {wide} 0.01" pos="{text(at)}" quat="{text(tilt(-a))}" '
            f'rgba="0.58 0.62 0.66 1" friction="0.6" {DEAD}/>'
        )
    ball = palette.thing("ball", [rng.uniform(0.05, 0.075)] * 3)
    a = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.25))
    r = radius - ball.size[0]
    add(e, ball, (r * np.sin(a), 0.0, radius + 0.02 - r * np.cos(a) + 0.001), touch=DEAD)
    e.facts = {"radius": float(r), "angle": a}
    return e


def _stack(rng: np.random.Generator, steady: bool) -> Experiment:
    e, palette = Experiment(middle=(0.0, 0.0, 0.35), reach=0.75), _Palette(rng)
    count = int(rng.integers(3, 6))
    z, x, wide = 0.0, 0.0, rng.uniform(0.11, 0.14)
    tip = int(rng.integers(1, count)) if not steady else -1
    side = float(rng.choice([-1.0, 1.0]))
    for k in range(count):
        shape = str(rng.choice(["block", "cylinder"]))
        half = wide * rng.uniform(0.82, 1.0), rng.uniform(0.045, 0.075)
        size = (half[0], half[0], half[1])
        if k:
            below = e.things[-1].size[0]
            x += side * (below + 0.35 * half[0]) if k == tip else rng.uniform(-0.12, 0.12) * below
        add(e, palette.thing(shape, size), (x, rng.uniform(-0.005, 0.005), z + half[1] + 0.0002), touch=DEAD, friction=0.8)
        z, wide = z + 2 * half[1] + 0.0002, max(0.06, 0.93 * half[0])
    return e


def stable_stack(rng: np.random.Generator) -> Experiment:
    """Three to five things, each resting well on the one below."""
    return _stack(rng, True)


def unstable_stack(rng: np.random.Generator) -> Experiment:
    """A stack in which one thing's centre lies beyond the edge of the one below."""
    return _stack(rng, False)


def dominoes(rng: np.random.Generator) -> Experiment:
    """A row of slabs and a ball rolling at the first."""
    e, palette = Experiment(middle=(0.0, 0.0, 0.15), reach=0.85), _Palette(rng)
    count, side = int(rng.integers(5, 9)), float(rng.choice([-1.0, 1.0]))
    size = (0.016, 0.06, rng.uniform(0.11, 0.14))
    gap = float(rng.uniform(0.11, 0.15))
    bend = rng.uniform(-0.15, 0.15)
    for k in range(count):
        u = k - (count - 1) / 2
        add(
            e,
            palette.thing("slab", size),
            (side * u * gap, bend * u * u * gap * 0.3, size[2] + 0.0002),
            touch=DEAD,
            density=500,
        )
    first = -side * ((count - 1) / 2 * gap + 0.3), bend * ((count - 1) / 2) ** 2 * gap * 0.3
    ball = palette.thing("ball", [rng.uniform(0.055, 0.07)] * 3)
    number = add(e, ball, (*first, ball.size[0] + 0.0002), touch=DEAD, density=1200)
    speed = side * float(rng.uniform(0.9, 1.4))

    def roll(model: Any, data: Any) -> None:
        at = model.jnt_dofadr[model.body(f"object{number}").jntadr[0]]
        data.qvel[at], data.qvel[at + 4] = speed, speed / ball.size[0]

    e.start = roll
    return e


def seesaw(rng: np.random.Generator) -> Experiment:
    """A plank on a pivot, a light thing on one end, a heavy one falling on the other."""
    e, palette = Experiment(middle=(0.0, 0.0, 0.4), reach=0.95), _Palette(rng)
    half, high, side = rng.uniform(0.5, 0.62), rng.uniform(0.12, 0.17), float(rng.choice([-1.0, 1.0]))
    lean = np.arcsin(min(0.95, (high - 0.012) / half))
    post = high / 2 - 0.01
    e.fixed = f'<geom name="pivot" type="box" size="0.02 0.12 {post:.9g}" pos="0 0 {post:.9g}" rgba="0.3 0.3 0.33 1" {DEAD}/>'
    plank = palette.thing("slab", (half, 0.1, 0.012))
    e.things.append(plank)
    e.moving = (
        f'<body name="object0" pos="0 0 {high:.9g}" quat="{text(tilt(side * lean))}"><joint name="pivot" type="hinge" axis="0 1 0" '
        f'damping="0.004"/><geom name="object0" type="box" size="{text(plank.size)}" group="1" rgba="{text(plank.rgb)} 1" density="450" '
        f'friction="0.9" condim="4" {DEAD}/></body>'
    )
    along = np.array([side * np.cos(lean), 0.0, -np.sin(lean)])
    up = np.array([side * np.sin(lean), 0.0, np.cos(lean)])
    light = palette.thing("block", [rng.uniform(0.045, 0.06)] * 3)
    low = np.array([0.0, 0.0, high]) + along * (half - 0.09) + up * (0.0125 + light.size[2])
    add(e, light, low, tilt(side * lean), DEAD, friction=0.9, density=250)
    heavy = _some(rng, palette, ("ball", "block"), 0.075, 0.095)
    top = np.array([0.0, 0.0, high]) - along * (half - 0.12)
    add(e, heavy, (top[0], 0.0, top[2] + heavy.size[2] + rng.uniform(0.3, 0.55)), touch=DEAD, density=1500)
    return e


def gyroscope(rng: np.random.Generator) -> Experiment:
    """A spinning top, leaning: it goes round instead of falling."""
    e, palette = Experiment(middle=(0.0, 0.0, 0.15), reach=0.42), _Palette(rng)
    disc = palette.thing("wheel", (rng.uniform(0.10, 0.13), 0.0, 0.012))
    mark = palette.thing("block", (0.02, 0.02, 0.014))
    lift, lean, spin = 0.11, float(rng.uniform(0.15, 0.35)), float(rng.choice([-1.0, 1.0]) * rng.uniform(70, 110))
    e.things.append(disc)
    turn = product(tilt(float(rng.uniform(-np.pi, np.pi)), "z"), tilt(lean))
    marks = "".join(
        f'<geom type="box" size="0.03 0.012 0.0135" pos="{0.065 * np.cos(a):.9g} {0.065 * np.sin(a):.9g} 0" '
        f'euler="0 0 {np.rad2deg(a):.9g}" mass="0" group="1" contype="0" conaffinity="0" rgba="{text(mark.rgb)} 1"/>'
        for a in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)
    )
    centre = np.array([0.0, 0.0, 0.0085 + lift * np.cos(lean)])
    e.moving = (
        f'<body name="object0" pos="{text(centre)}" quat="{text(turn)}"><freejoint/>'
        f'<geom name="object0" type="cylinder" size="{disc.size[0]:.9g} {disc.size[2]}" density="900" group="1" '
        f'rgba="{text(disc.rgb)} 1" {DEAD}/>'
        f'{marks}<geom type="capsule" fromto="0 0 {-lift} 0 0 0.07" size="0.008" density="500" group="1" rgba="0.25 0.25 0.28 1" '
        f'friction="0.4 0.0001 0.00001" condim="3" {DEAD}/></body>'
    )

    def whirl(model: Any, data: Any) -> None:
        data.qvel[5] = spin  # about the body's own axis

    e.start = whirl
    e.facts = {"lean": lean, "spin": spin, "lift": lift}
    return e


EXPERIMENTS: dict[str, Callable[[np.random.Generator], Experiment]] = {
    "free fall": free_fall,
    "slope": slope,
    "u slope": u_slope,
    "stable stack": stable_stack,
    "unstable stack": unstable_stack,
    "dominoes": dominoes,
    "seesaw": seesaw,
    "gyroscope": gyroscope,
}
