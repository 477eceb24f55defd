"""What lies on the gripper's table, drawn and as MJCF: things of seven shapes to grasp, and plates, bins and zones to put them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.experiments import COLOURS
from armillary.sims.mjcf import text

AREA = (0.205, 0.165)  # half extents of where things lie, metres; its middle is the world's origin
WIDEST = 0.082  # metres across the fingers of what can be grasped
SIDES = 8  # of a cup and a ring


@dataclass(frozen=True)
class Shape:
    """A kind of thing.

    Args:
        size: half extents of the smallest and the largest, metres.
        round: nothing changes when it turns about the vertical.
        flat: another thing can stand on it; stands: it can stand on another thing.
    """

    size: tuple[tuple[float, float, float], tuple[float, float, float]]
    round: bool = False
    flat: bool = True
    stands: bool = True


SHAPES: dict[str, Shape] = {
    "block": Shape(((0.024, 0.024, 0.022), (0.033, 0.033, 0.032))),
    "bar": Shape(((0.052, 0.018, 0.018), (0.068, 0.022, 0.024))),
    "cylinder": Shape(((0.025, 0.025, 0.024), (0.033, 0.033, 0.040)), round=True),
    "ball": Shape(((0.026, 0.026, 0.026), (0.035, 0.035, 0.035)), round=True, flat=False, stands=False),
    "cup": Shape(((0.032, 0.032, 0.028), (0.038, 0.038, 0.037)), round=True, flat=False),
    "ring": Shape(((0.036, 0.036, 0.0115), (0.040, 0.040, 0.0135)), round=True, flat=False),
    "pill": Shape(((0.046, 0.020, 0.020), (0.060, 0.024, 0.024)), flat=False, stands=False),
}
# Target -> half width and the height of its floor above the table, metres.
TARGETS: dict[str, tuple[float, float]] = {"plate": (0.066, 0.008), "bin": (0.068, 0.004), "zone": (0.066, 0.001)}


@dataclass(frozen=True)
class Target:
    """Where things are put: `kind` of `TARGETS`, its colour, and its middle (x, y in metres)."""

    kind: str
    colour: str
    rgb: tuple[float, float, float]
    place: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def reach(self) -> float:
        """Metres from the middle within which a thing counts as in it."""
        return TARGETS[self.kind][0]


def _tinted(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
    r, g, b = np.clip(np.array(COLOURS[colour]) + rng.uniform(-0.05, 0.05, 3), 0.02, 0.98)
    return float(r), float(g), float(b)


def draw(rng: np.random.Generator, shapes: Sequence[str] = ()) -> tuple[list[SceneObject], list[Target], np.ndarray]:
    """Three to six things and one or two targets, no two of one colour, apart from each other by room for the fingers.

    Args:
        shapes: what the first things are to be.

    Returns:
        things, targets, and where the things lie: `k 3`, x and y in metres and the angle about the vertical in radians.
    """
    colours = [str(c) for c in rng.permutation(list(COLOURS))]
    kinds = [*shapes, *(str(s) for s in rng.choice(list(SHAPES), 6))][: int(rng.integers(3, 7))]
    things = []
    for kind in kinds:
        low, high = (np.array(s) for s in SHAPES[kind].size)
        size = low + (high - low) * rng.uniform(0.0, 1.0, 3)
        if SHAPES[kind].round:
            size[1] = size[0]
        if kind in ("ball", "pill"):
            size[2] = size[1]
        colour = colours.pop()
        things.append(SceneObject(kind, colour, _tinted(rng, colour), (float(size[0]), float(size[1]), float(size[2]))))
    kinds = [str(t) for t in rng.choice(list(TARGETS), int(rng.integers(1, 3)), replace=False)]
    radii = [TARGETS[t][0] * (1.3 if t == "bin" else 1.0) for t in kinds] + [radius(t) for t in things]
    places = _spread(rng, radii, len(kinds) + 3)
    things = things[: len(places) - len(kinds)]
    targets = []
    for kind, place in zip(kinds, places):
        colour = colours.pop()
        targets.append(Target(kind, colour, _tinted(rng, colour), (float(place[0]), float(place[1]))))
    turns = rng.uniform(-np.pi, np.pi, (len(things), 1))
    return things, targets, np.concatenate([places[len(kinds) :], turns], 1)


def radius(thing: SceneObject) -> float:
    """Of the circle about its middle that holds it, metres."""
    return thing.size[0] if SHAPES[thing.shape].round else float(np.hypot(thing.size[0], thing.size[1]))


def _spread(rng: np.random.Generator, radii: Sequence[float], least: int) -> np.ndarray:
    """Middles of discs in the area, `k 2`: 3 cm between them, less where that is too much, and maybe not the last ones, but `least`."""
    for attempt in range(1000):
        spots: list[np.ndarray] = []
        room = 0.03 * 0.97 ** max(0, attempt - 20)
        for r in radii:
            tries = rng.uniform(-1.0, 1.0, (40, 2)) * (np.array(AREA) - r)
            free = [t for t in tries if all(np.hypot(*(t - s)) > r + radii[i] + room for i, s in enumerate(spots))]
            if not free:
                break
            spots.append(free[0])
        if len(spots) == len(radii) or (attempt >= 20 and len(spots) >= least):
            break
    return np.array(spots)


# As MJCF --------------------------------------------------------------------------------------------------------------------------


def _octagon(common: str, thing: SceneObject, k: int, geom: Callable[[float], str]) -> str:
    """Eight pieces around the middle; `geom` gives the shape for half the length of a side."""
    apothem, half = thing.size[0] * np.cos(np.pi / SIDES), thing.size[0] * np.sin(np.pi / SIDES)
    out = ""
    for n in range(SIDES):
        angle = 2 * np.pi * n / SIDES
        thick = 0.1 * thing.size[0] if thing.shape == "cup" else thing.size[2]
        at = (apothem - thick) * np.array([np.cos(angle), np.sin(angle)])
        out += f'<geom name="object{k}_{n}" pos="{text(at)} 0" euler="0 0 {np.rad2deg(angle):.9g}" {geom(half)} {common}/>'
    return out


def geoms(k: int, thing: SceneObject) -> str:
    """The geoms of thing `k`, in group 3 to 5."""
    x, y, z = thing.size
    common = (
        f'group="{3 + k % 3}" rgba="{text(thing.rgb)} 1" density="300" contype="1" conaffinity="3" condim="6" '
        f'friction="0.8 0.01 0.0015" solref="0.006 1" solimp="0.95 0.99 0.001"'
    )
    if thing.shape == "ball":
        return f'<geom name="object{k}" type="sphere" size="{x}" {common}/>'
    if thing.shape == "cylinder":
        return f'<geom name="object{k}" type="cylinder" size="{x} {z}" {common}/>'
    if thing.shape == "pill":
        return f'<geom name="object{k}" type="capsule" fromto="{y - x} 0 0 {x - y} 0 0" size="{y}" {common}/>'
    if thing.shape == "cup":
        bottom = f'<geom name="object{k}" type="cylinder" size="{0.85 * x} 0.004" pos="0 0 {0.004 - z}" {common}/>'
        return bottom + _octagon(common, thing, k, lambda half: f'type="box" size="{0.1 * x} {half} {z}"')
    if thing.shape == "ring":
        # Lying capsules: their own z is turned along the side of the octagon.
        out = ""
        mid = x - z
        for n in range(SIDES):
            a, b = 2 * np.pi * n / SIDES, 2 * np.pi * (n + 1) / SIDES
            ends = mid * np.array([np.cos(a), np.sin(a), 0, np.cos(b), np.sin(b), 0])
            out += f'<geom name="object{k}{f"_{n}" if n else ""}" type="capsule" fromto="{text(ends)}" size="{z}" {common}/>'
        return out
    return f'<geom name="object{k}" type="box" size="{x} {y} {z}" {common}/>'


def bodies(things: Sequence[SceneObject], poses: np.ndarray) -> str:
    return "".join(
        f'<body name="object{k}" pos="{text(poses[k, :2])} {thing.size[2] + 0.001:.9g}" '
        f'quat="{text([np.cos(poses[k, 2] / 2), 0, 0, np.sin(poses[k, 2] / 2)])}"><freejoint/>{geoms(k, thing)}</body>'
        for k, thing in enumerate(things)
    )


def targets(those: Sequence[Target]) -> str:
    """Plates, bins and zones, fixed to the table."""
    out = ""
    for k, target in enumerate(those):
        (x, y), (half, high) = target.place, TARGETS[target.kind]
        paint = f'rgba="{text(target.rgb)} 1" contype="1" conaffinity="3"'
        if target.kind == "bin":
            out += f'<geom name="target{k}" type="box" size="{half} {half} {high / 2}" pos="{x} {y} {high / 2}" {paint}/>'
            for n, (dx, dy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
                size = (0.004, half + 0.004, 0.018) if dx else (half + 0.004, 0.004, 0.018)
                at = (x + dx * half, y + dy * half, 0.018)
                out += f'<geom name="target{k}_{n}" type="box" size="{text(size)}" pos="{text(at)}" {paint}/>'
        elif target.kind == "plate":
            out += f'<geom name="target{k}" type="cylinder" size="{half} {high / 2}" pos="{x} {y} {high / 2}" {paint}/>'
        else:  # paint on the table, which nothing feels
            flat = paint.replace('contype="1" conaffinity="3"', 'contype="0" conaffinity="0"')
            out += f'<geom name="target{k}" type="box" size="{half} {half} {high / 2}" pos="{x} {y} {high / 2}" {flat}/>'
    return out
