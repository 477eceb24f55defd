"""A tabletop's true state as words: the task in several wordings, and the facts that captions are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.words.facts import Fact, Facts, Thing

STILL = 0.015  # metres: a thing that has moved less has not moved
# Goal -> unit vector in the tray and how people say it.
SIDES: dict[str, tuple[float, float]] = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "far": (0.0, 1.0), "near": (0.0, -1.0)}
TOWARDS = {"left": "to the left", "right": "to the right", "far": "away to the back", "near": "towards the front"}
TEMPLATES = (
    "push the {thing} to the {side} edge",
    "slide the {thing} over to the {side} edge of the tray",
    "move the {thing} until it is at the {side} edge",
    "bring the {thing} to the {side} rim",
    "the {thing} belongs at the {side} edge, push it there",
)


def instructions(thing: SceneObject, side: str) -> tuple[str, ...]:
    """The same task in several wordings; the first is the plainest."""
    return tuple(t.format(thing=thing.name, side=side) for t in TEMPLATES)


def direction(shift: np.ndarray) -> str:
    """The side of `SIDES` that a displacement (`2`) points to most."""
    return max(SIDES, key=lambda side: float(np.dot(SIDES[side], shift)))


def article(name: str) -> str:
    """`a red block`, `an orange ball`."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def facts(
    table: str,
    objects: Sequence[SceneObject],
    begin: np.ndarray,
    now: np.ndarray,
    travelled: float,
    shoved: Mapping[int, int] | None = None,
    light: str = "",
) -> Facts:
    """What was seen since the reset.

    Args:
        table: `grey`, `wooden` ...
        begin, now: places of the objects, `k 2` metres; less than 1.5 cm apart counts as still.
        travelled: path length of the tip, metres.
        shoved: object -> the one that pushed it along; the arm itself never touched it.
        light: where from, as in `KINDS`.
    """
    things = [Thing(o.colour, o.shape) for o in objects]
    shifts, shoved = now - begin, shoved or {}
    far = np.hypot(shifts[:, 0], shifts[:, 1])
    moved = [int(k) for k in np.argsort(-far, kind="stable") if far[k] >= STILL]
    told = [Fact("there", thing) for thing in things]
    for k in moved:
        by = shoved.get(k)
        way = direction(shifts[k])
        told.append(
            Fact("push", whom=things[k], way=way) if by is None else Fact("shove", who=things[by], whom=things[k], way=way)
        )
    if not moved:
        told.append(Fact("move", way="roam" if travelled > 0.02 else "rest"))
    told += relations(things, begin, now)
    told.append(Fact("table", way=table))
    if light:
        told.append(Fact("light", way=light))
    return Facts("tabletop", tuple(told))


def relations(things: Sequence[Thing], begin: np.ndarray, now: np.ndarray, apart: float = 0.09) -> list[Fact]:
    """At most two: which thing lies left of, or behind, which, clearly and from first to last (`k 2` metres, x right, y away)."""
    out = []
    for i in range(len(things)):
        for j in range(len(things)):
            for kind, axis, sign in (("left of", 0, -1.0), ("behind", 1, 1.0)):
                gaps = [sign * (p[i] - p[j]) for p in (begin, now)]
                if i != j and min(g[axis] for g in gaps) > apart and all(abs(g[1 - axis]) < g[axis] for g in gaps):
                    out.append(Fact(kind, things[i], things[j]))
    return out[:2]
