"""What a gripper can be asked to do: how a task is drawn, when it stands solved, and how near it is to that.

The reward of a step is how much `potential` rose, so that the rewards of an episode add up to progress whatever the way taken. Potentials
are in metres still to go (negative), plus 5 cm for holding what is to be carried and 10 cm for having solved the task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from armillary.sims.gripper.state import (
    GAP,
    World,
    at_rest,
    below,
    between,
    inside,
    off_target,
    to_side,
    upon,
)
from armillary.sims.gripper.things import AREA, SHAPES, radius
from armillary.sims.language import SIDES

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
