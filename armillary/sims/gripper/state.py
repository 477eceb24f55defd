"""What is so on a gripper's table, measured: how high things lie, how far apart, what stands in or on what."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.gripper.things import AREA, SHAPES, TARGETS, Target, radius
from armillary.sims.language import SIDES

BORDER = 0.065  # metres from the area's edge to a thing's centre that count as at that side
GAP = 0.025  # metres between two things (the circles that hold them) that count as next to each other


class World(Protocol):
    """What tasks need to know of the simulator."""

    objects: tuple[SceneObject, ...]
    targets: tuple[Target, ...]
    held: np.ndarray
    touched: np.ndarray

    @property
    def tip(self) -> np.ndarray: ...

    @property
    def places(self) -> np.ndarray: ...

    def axes(self, k: int) -> np.ndarray: ...

    def speed(self, k: int) -> float: ...

    def touching(self, k: int, other: int) -> bool: ...


def height(sim: World, k: int) -> float:
    """Half of thing `k`'s height as it lies now, metres."""
    return half_width(sim.objects[k], sim.axes(k), np.array([0.0, 0.0, 1.0]))


def half_width(thing: SceneObject, axes: np.ndarray, way: np.ndarray) -> float:
    """Half of a thing's extent along the unit vector `way`; `axes`: its own axes as columns."""
    x, y, z = thing.size
    a, b, c = np.abs(way @ axes)
    if thing.shape == "ball":
        return x
    if thing.shape == "pill":
        return float(y + (x - y) * a)
    if SHAPES[thing.shape].round:
        return float(x * np.sqrt(max(0.0, 1.0 - c * c)) + z * c)
    return float(x * a + y * b + z * c)


def below(sim: World, k: int) -> float:
    """Metres between the table and the thing's lowest point."""
    return float(sim.places[k, 2]) - height(sim, k)


def at_rest(sim: World, k: int) -> bool:
    return not sim.touched[k] and sim.speed(k) < 0.03


def to_side(sim: World, k: int, side: str) -> float:
    """Metres that thing `k` has to go to the zone at a side; zero or less inside it."""
    towards = np.array(SIDES[side])
    edge = AREA[0] if towards[0] else AREA[1]
    return float(edge - BORDER - sim.places[k, :2] @ towards)


def between(sim: World, k: int, other: int) -> float:
    """Metres between the outlines of two things, as circles seen from above."""
    apart = float(np.hypot(*(sim.places[k, :2] - sim.places[other, :2])))
    along = (sim.places[other, :2] - sim.places[k, :2]) / max(apart, 1e-6)
    way = np.array([*along, 0.0])
    return apart - half_width(sim.objects[k], sim.axes(k), way) - half_width(sim.objects[other], sim.axes(other), way)


def off_target(sim: World, k: int, target: int) -> float:
    return float(np.hypot(*(sim.places[k, :2] - sim.targets[target].place)))


def inside(sim: World, k: int, target: int) -> bool:
    """Whether the thing's centre is over the target and the thing lies on it."""
    place = sim.targets[target]
    over = np.abs(sim.places[k, :2] - place.place)
    within = bool((over < place.reach).all()) if place.kind != "plate" else float(np.hypot(*over)) < place.reach
    return within and below(sim, k) < TARGETS[place.kind][1] + 0.008


def upon(sim: World, k: int, other: int) -> bool:
    """Whether thing `k` stands on another thing."""
    off = float(np.hypot(*(sim.places[k, :2] - sim.places[other, :2])))
    rise = sim.places[k, 2] - sim.places[other, 2]
    return sim.touching(k, other) and off < radius(sim.objects[other]) and rise > 0.6 * (height(sim, k) + height(sim, other))
