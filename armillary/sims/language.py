"""Sentences about a tabletop, made from its true state: the task in several wordings, and what was seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armillary.sims.base import SceneObject

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


def caption(table: str, objects: Sequence[SceneObject], shifts: np.ndarray, travelled: float) -> str:
    """What was seen since the reset.

    Args:
        table: `grey`, `wooden` ...
        shifts: how far each object has moved, `k 2` metres; less than 1.5 cm counts as still.
        travelled: path length of the tip, metres.
    """
    far = np.hypot(shifts[:, 0], shifts[:, 1])
    order = np.argsort(-far, kind="stable")
    moved = [k for k in order if far[k] >= 0.015]
    still = [objects[k].name for k in range(len(objects)) if k not in moved]
    if moved:
        sides: dict[str, list[str]] = {}
        for k in moved:
            sides.setdefault(direction(shifts[k]), []).append(f"the {objects[k].name}")
        what = f"pushes {listed([f'{listed(names)} {TOWARDS[side]}' for side, names in sides.items()])}"
    elif travelled > 0.02:
        what = "moves about without pushing anything"
    else:
        what = "stands still"
    rest = f"; {listed([article(n) for n in still])} {'lies' if len(still) == 1 else 'lie'} nearby" if still else ""
    return f"A robot arm on {article(table)} table {what}{rest}."
