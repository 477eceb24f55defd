"""Scripted hands for a pushing simulator. A policy is `policy(sim, rng) -> action`; what it keeps between steps lies in `sim.memory`.

They read the true state, which no learner sees; they are there to fill data sets and to be the yardstick of a task.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from armillary.sims import language, scene
from armillary.sims.base import Policy, SceneObject

STEP = 0.028  # metres of a full command in one frame


class Pushable(Protocol):
    """What the scripted policies need of a simulator beyond `Sim`: where things are and what is wanted."""

    objects: tuple[SceneObject, ...]
    memory: dict[str, Any]
    goal: tuple[int, str]

    @property
    def tip(self) -> np.ndarray: ...

    def pose(self, k: int) -> tuple[np.ndarray, float]: ...

    def left_over(self, k: int, side: str) -> float: ...


def expert(sim: Pushable, rng: np.random.Generator) -> np.ndarray:
    """Go behind the named object and push it to its goal; once it is there, or will not go, retreat and push another. float32 `2`."""
    memory = sim.memory.setdefault("expert", {})
    if not memory:
        memory.update(speed=rng.uniform(0.75, 1.0), wobble=np.zeros(2), retreat=0)
        _take(sim, memory, sim.goal)
    k, side = memory["goal"]
    towards = np.array(language.SIDES[side])
    left = sim.left_over(k, side)
    # Not moved by 5 mm in 12 frames of pushing: it is jammed against something.
    if memory["pushing"] and left > memory["best"] - 0.005:
        memory["stuck"] += 1
    else:
        memory.update(best=min(left, memory["best"]), stuck=0 if memory["pushing"] else memory["stuck"])
    if left <= 0.0 or memory["stuck"] > 12:
        _take(sim, memory, _next_goal(sim, rng, k))
        memory.update(retreat=3, away=-towards)
    memory["wobble"] = 0.7 * memory["wobble"] + rng.normal(0.0, 0.06, 2)
    if memory["retreat"] > 0:
        memory["retreat"] -= 1
        return _command(0.8 * memory["away"] + memory["wobble"])
    k, side = memory["goal"]
    command, memory["pushing"] = push(sim, k, np.array(language.SIDES[side]), memory["pushing"])
    return _command(memory["speed"] * command + memory["wobble"])


def _take(sim: Pushable, memory: dict[str, Any], goal: tuple[int, str]) -> None:
    memory.update(goal=goal, best=sim.left_over(*goal), stuck=0, pushing=False)


def play(sim: Pushable, rng: np.random.Generator) -> np.ndarray:
    """Smooth aimless strokes, half of them through an object, at all speeds, with rests. float32 `2`."""
    memory = sim.memory.setdefault("play", {})
    tip = sim.tip[:2]
    if not memory:
        memory.update(left=0, action=np.zeros(2))
    to = memory.get("target", tip) - tip
    if memory["left"] <= 0 or (np.hypot(*to) < 0.02 and not memory["rest"]):
        target, rest = rng.uniform(-1.0, 1.0, 2) * scene.REACH, bool(rng.random() < 0.12)
        if rng.random() < 0.55:
            at = sim.pose(int(rng.integers(len(sim.objects))))[0]
            through = at - tip
            target = at + through / max(float(np.hypot(*through)), 1e-6) * rng.uniform(0.02, 0.14)
        memory.update(
            target=np.clip(target, -np.array(scene.REACH), scene.REACH),
            left=int(rng.integers(3, 6) if rest else rng.integers(8, 18)),
            speed=rng.uniform(0.35, 1.0),
            rest=rest,
        )
        to = memory["target"] - tip
    memory["left"] -= 1
    wanted = np.zeros(2) if memory["rest"] else memory["speed"] * _towards(to)
    memory["action"] = 0.5 * memory["action"] + 0.5 * wanted + rng.normal(0.0, 0.03, 2)
    return _command(memory["action"])


def mix(sim: Pushable, rng: np.random.Generator) -> np.ndarray:
    """Stretches of `expert` and of `play` in turn, 10 to 24 frames each, two thirds of them expert. float32 `2`."""
    memory = sim.memory.setdefault("mix", {"left": 0})
    if memory["left"] <= 0:
        memory.update(left=int(rng.integers(10, 25)), expert=bool(rng.random() < 0.67))
    memory["left"] -= 1
    return expert(sim, rng) if memory["expert"] else play(sim, rng)


def push(sim: Pushable, k: int, towards: np.ndarray, pushing: bool) -> tuple[np.ndarray, bool]:
    """The command, of length at most 1, that brings the tip behind object `k` and then pushes it along the unit vector `towards`.

    Args:
        pushing: whether the last command was a push: one goes on more readily than one begins.

    Returns:
        the command and whether it is a push.
    """
    at, angle = sim.pose(k)
    half = np.array(sim.objects[k].size)
    side = np.array([-towards[1], towards[0]])
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    depth = float(np.abs(axes @ towards) @ half[:2]) + scene.TIP_RADIUS
    offset = sim.tip[:2] - at
    along, across = float(offset @ towards), float(offset @ side)
    if (along < -0.012 and abs(across) < 0.05) if pushing else (along < -0.55 * depth and abs(across) < 0.022):
        # Off the line through the middle the object would turn away from the tip: steer back to that line.
        return _shortened(towards - 14.0 * across * side), True
    around = float(np.hypot(half[0], half[1])) + scene.TIP_RADIUS + 0.008
    behind = -(depth + 0.012) * towards
    if _crosses(offset, behind, around - 0.012) and along > -depth:
        have, want = np.arctan2(offset[1], offset[0]), np.arctan2(-towards[1], -towards[0])
        turn = (want - have + np.pi) % (2 * np.pi) - np.pi
        bearing = have + np.sign(turn) * min(abs(turn), 0.55)
        behind = around * np.array([np.cos(bearing), np.sin(bearing)])
    reach = np.array(scene.REACH)
    return _towards(np.clip(at + behind, -reach, reach) - sim.tip[:2]), False


def _next_goal(sim: Pushable, rng: np.random.Generator, last: int) -> tuple[int, str]:
    """Another object and a side that is at least 6 cm of pushing away."""
    options = [
        (k, side) for k in range(len(sim.objects)) if k != last for side in language.SIDES if sim.left_over(k, side) >= 0.06
    ]
    return options[int(rng.integers(len(options)))] if options else sim.goal


def _crosses(a: np.ndarray, b: np.ndarray, radius: float) -> bool:
    """Whether the segment from `a` to `b` comes nearer than `radius` to the origin."""
    d = b - a
    t = np.clip(-(a @ d) / max(float(d @ d), 1e-12), 0.0, 1.0)
    return float(np.hypot(*(a + t * d))) < radius


def _towards(offset: np.ndarray) -> np.ndarray:
    """The command that covers `offset` (metres) in a frame, or as much of it as full speed allows."""
    return _shortened(offset / STEP)


def _shortened(v: np.ndarray) -> np.ndarray:
    return v / max(1.0, float(np.hypot(*v)))


def _command(v: np.ndarray) -> np.ndarray:
    return np.clip(v, -1.0, 1.0).astype(np.float32)


POLICIES: dict[str, Policy] = {"mix": mix, "expert": expert, "play": play}
