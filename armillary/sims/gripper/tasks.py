"""What a gripper can be asked to do: how a task is drawn, when it stands solved, and how near it is to that.

The reward of a step is how much `potential` rose, so that the rewards of an episode add up to progress whatever the way taken. Potentials
are in metres still to go (negative), plus 5 cm for holding what is to be carried and 10 cm for having solved the task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.gripper.things import AREA, SHAPES, TARGETS, Target, radius
from armillary.sims.language import SIDES

BORDER = 0.065  # metres from the area's edge to a thing's centre that count as at that side
GAP = 0.025  # metres between two things (the circles that hold them) that count as next to each other
LIFTED = 0.08  # metres under a thing that count as lifted
HELD, SOLVED = 0.05, 0.10  # bonuses of the potential


@dataclass(frozen=True)
class Task:
    """One thing to do: `kind` of `TASKS`, the thing it is done with, and of what else its sentence speaks.

    Args:
        thing: index of the object to handle; other: of the one to put it next to or on, -1 for none.
        target: index of the place; -1 for none. side: of `language.SIDES`.
    """

    kind: str
    thing: int
    other: int = -1
    target: int = -1
    side: str = ""


@dataclass(frozen=True)
class Deed:
    """A thing that was set down: in or on a target, on another thing, or, both being -1, on the table."""

    thing: int
    target: int = -1
    other: int = -1


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


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Args:
        share: of all episodes.
        shapes: which shapes the scene has to hold at least, drawn from a generator.
        options: every task of this kind that makes sense in a scene.
        solved: whether it is done. left: metres still to go.
        carries: whether the thing has to be held on the way.
    """

    share: float
    shapes: Callable[[np.random.Generator], tuple[str, ...]]
    options: Callable[[World], list[Task]]
    solved: Callable[[World, Task], bool]
    left: Callable[[World, Task], float]
    carries: bool = False


def draw(sim: World, kind: str, rng: np.random.Generator) -> Task:
    """A task of that kind for the scene as it is; lifting where the scene has none."""
    options = TASKS[kind].options(sim) or TASKS["lift"].options(sim)
    return options[int(rng.integers(len(options)))]


def solved(sim: World, task: Task) -> bool:
    return bool(TASKS[task.kind].solved(sim, task))


def potential(sim: World, task: Task) -> float:
    """How near the task is to being solved; 0.10 when it is."""
    kind = TASKS[task.kind]
    if kind.solved(sim, task):
        return SOLVED
    value = -kind.left(sim, task) - 0.3 * float(np.linalg.norm(sim.tip - sim.places[task.thing]))
    return value + HELD * float(kind.carries and sim.held[task.thing])


# What is so -----------------------------------------------------------------------------------------------------------------------


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


def set_down(sim: World, k: int) -> Deed:
    """Where thing `k` rests now."""
    for other in range(len(sim.objects)):
        if other != k and upon(sim, k, other):
            return Deed(k, other=other)
    return Deed(k, next((t for t in range(len(sim.targets)) if inside(sim, k, t)), -1))


# The kinds ------------------------------------------------------------------------------------------------------------------------


def _clear(sim: World, at: np.ndarray, but: tuple[int, ...], room: float) -> bool:
    """Whether a spot is inside the arm's reach and `room` away from all things but those."""
    others = [k for k in range(len(sim.objects)) if k not in but]
    inside = bool((np.abs(at) < np.array(AREA) + 0.005).all())
    return inside and all(np.hypot(*(sim.places[k, :2] - at)) > radius(sim.objects[k]) + room for k in others)


def _lane(sim: World, k: int, way: np.ndarray, far: float, but: tuple[int, ...] = ()) -> bool:
    """Whether thing `k` can be pushed `far` metres along the unit vector `way`: room behind it, nothing and no walls before it."""
    at, wide = sim.places[k, :2], radius(sim.objects[k])
    if not _clear(sim, at - way * (wide + 0.02), (k,), 0.03):
        return False
    blocks = [(sim.places[i, :2], radius(sim.objects[i])) for i in range(len(sim.objects)) if i not in (k, *but)]
    blocks += [(np.array(t.place), 1.45 * t.reach if t.kind == "bin" else t.reach) for t in sim.targets if t.kind != "zone"]
    for middle, r in blocks:
        along, across = float((middle - at) @ way), abs(float((middle - at) @ (-way[1], way[0])))
        if -0.02 < along < far + wide + r and across < wide + r + 0.01:
            return False
    return True


def _free(sim: World, k: int) -> bool:
    """Whether a thing lies where the hand can take it and nothing stands on it."""
    inside = bool((np.abs(sim.places[k, :2]) < np.array(AREA)).all())
    return inside and not any(upon(sim, i, k) for i in range(len(sim.objects)) if i != k)


def _pushes(sim: World) -> list[Task]:
    out = []
    for k in range(len(sim.objects)):
        for side, way in SIDES.items():
            left = to_side(sim, k, side)
            if 0.06 <= left <= 0.28 and below(sim, k) < 0.01 and _lane(sim, k, np.array(way), left):
                out.append(Task("push", k, side=side))
    return out


def _gathers(sim: World) -> list[Task]:
    out = []
    for k in range(len(sim.objects)):
        for other in range(len(sim.objects)):
            far = between(sim, k, other) if k != other else 0.0
            if 0.05 <= far <= 0.28 and max(below(sim, k), below(sim, other)) < 0.01:
                way = sim.places[other, :2] - sim.places[k, :2]
                if _lane(sim, k, way / np.hypot(*way), far, (other,)):
                    out.append(Task("gather", k, other))
    return out


def _placings(sim: World) -> list[Task]:
    return [
        Task("place", k, target=t)
        for k in range(len(sim.objects))
        for t, target in enumerate(sim.targets)
        if _free(sim, k)
        and off_target(sim, k, t) > target.reach + 0.04
        and (target.kind != "bin" or radius(sim.objects[k]) < 0.056)
        and not any(off_target(sim, i, t) < target.reach for i in range(len(sim.objects)))
    ]


def _stackings(sim: World) -> list[Task]:
    """Onto something flat that is not much smaller, by a thing that stands."""
    out = []
    for k, thing in enumerate(sim.objects):
        for other, under in enumerate(sim.objects):
            fits = SHAPES[thing.shape].stands and SHAPES[under.shape].flat and min(under.size[:2]) > 0.018
            if k != other and fits and _free(sim, k) and _free(sim, other) and not upon(sim, k, other):
                out.append(Task("stack", k, other))
    return out


def _liftings(sim: World) -> list[Task]:
    free = [k for k in range(len(sim.objects)) if _free(sim, k)] or [0]
    return [Task("lift", k) for k in free]


def _none(rng: np.random.Generator) -> tuple[str, ...]:
    return ()


def _stackable(rng: np.random.Generator) -> tuple[str, ...]:
    return str(rng.choice(["block", "cylinder"])), str(rng.choice(["block", "cylinder", "cup", "ring"]))


def _lifted(sim: World, task: Task) -> bool:
    return bool(sim.held[task.thing]) and below(sim, task.thing) >= LIFTED


TASKS: dict[str, Kind] = {
    "place": Kind(
        0.38,
        _none,
        _placings,
        lambda sim, t: inside(sim, t.thing, t.target) and at_rest(sim, t.thing),
        lambda sim, t: off_target(sim, t.thing, t.target),
        carries=True,
    ),
    "stack": Kind(
        0.18,
        _stackable,
        _stackings,
        lambda sim, t: upon(sim, t.thing, t.other) and at_rest(sim, t.thing),
        lambda sim, t: float(np.hypot(*(sim.places[t.thing, :2] - sim.places[t.other, :2]))),
        carries=True,
    ),
    "lift": Kind(0.14, _none, _liftings, _lifted, lambda sim, t: max(0.0, LIFTED - below(sim, t.thing)), carries=True),
    "push": Kind(
        0.15,
        _none,
        _pushes,
        lambda sim, t: to_side(sim, t.thing, t.side) <= 0.0 and below(sim, t.thing) < 0.012,
        lambda sim, t: max(0.0, to_side(sim, t.thing, t.side)),
    ),
    "gather": Kind(
        0.15,
        _none,
        _gathers,
        lambda sim, t: between(sim, t.thing, t.other) < GAP and max(below(sim, t.thing), below(sim, t.other)) < 0.012,
        lambda sim, t: max(0.0, between(sim, t.thing, t.other)),
    ),
}
