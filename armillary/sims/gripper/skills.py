"""What a scripted gripper can do: take hold of a thing, carry it somewhere, let go, push. Each is one function that gives the next command.

They look at where things are at every step, so a thing that slips away or is knocked over is gone after again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from armillary.sims.gripper import arm as gripper_arm
from armillary.sims.gripper.state import below, half_width, height
from armillary.sims.gripper.things import WIDEST

HOVER = 0.075  # metres over a thing from which the hand comes down on it
ABOVE = 0.13  # metres under what is carried
FLOOR = gripper_arm.TOUCH + 0.005  # metres: the lowest the tip is sent
UP = np.array([0.0, 0.0, 0.1])
STEP, TURNED, PARTED = 0.05, 0.4, 0.03  # metres, radians, metres of gap that a full command covers in a frame


class Hand:
    """One step of a skill: the simulator, what the skill remembers (`state`), and how fast to go (share of the full speed)."""

    def __init__(self, sim: Any, state: dict[str, Any], speed: float) -> None:
        self.sim, self.state, self.speed = sim, state, speed

    def towards(
        self, goal: np.ndarray, yaw: float | None = None, gap: float | None = None, grip: float = 0.0, speed: float = 1.0
    ) -> np.ndarray:
        """The command that brings the tip to `goal` (metres), the hand to `yaw`, and the fingers to `gap` (or drives them with `grip`)."""
        offset = (goal - self.sim.tip) / STEP
        offset *= min(1.0, self.speed * speed / max(float(np.linalg.norm(offset)), 1e-9))
        turn = 0.0 if yaw is None else self.turn(yaw) / TURNED
        part = grip if gap is None else (gap - self.sim.gap) / PARTED
        return np.array([*offset, np.clip(turn, -1.0, 1.0), np.clip(part, -1.0, 1.0)])

    def turn(self, yaw: float) -> float:
        """Radians to turn for the fingers to stand along `yaw`; either finger may stand on either side."""
        return float((yaw - self.sim.yaw + np.pi / 2) % np.pi - np.pi / 2)

    def clear_of(self, spot: np.ndarray, k: int) -> float:
        """Metres between a spot on the table and the nearest thing but `k`."""
        sim, room = self.sim, [0.1]
        for i, thing in enumerate(sim.objects):
            way = spot - sim.places[i, :2]
            far = float(np.hypot(*way))
            if i != k and sim.places[i, 2] < sim.places[k, 2] + 0.05:
                room.append(far - half_width(thing, sim.axes(i), np.array([*(way / max(far, 1e-6)), 0.0])))
        return min(room)


def grip_along(hand: Hand, k: int) -> tuple[float, float]:
    """How to grasp thing `k`: the yaw along which it is narrow and the fingers have room, with little turning; and its width there."""
    sim = hand.sim
    axes, thing, place = sim.axes(k), sim.objects[k], sim.places[k, :2]
    own = [float(np.arctan2(axes[1, i], axes[0, i])) for i in range(3) if abs(axes[2, i]) < 0.5]
    best = (np.inf, 0.0, 0.0)
    for yaw in [*own, *np.linspace(-np.pi / 2, np.pi / 2, 12, endpoint=False)]:
        way = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        wide = 2 * half_width(thing, axes, way)
        aside = 0.5 * wide + 0.018  # where the fingers come down
        room = min(hand.clear_of(place + side * aside * way[:2], k) for side in (-1.0, 1.0))
        cost = wide + 0.012 * abs(hand.turn(yaw)) + 3.0 * max(0.0, 0.014 - room) + 10.0 * max(0.0, wide - WIDEST)
        best = min(best, (cost, float(yaw), wide))
    return best[1], best[2]


def take(hand: Hand, k: int) -> np.ndarray | None:
    """Go over thing `k`, come down, close the fingers. None once it is held."""
    sim, state = hand.sim, hand.state
    if sim.held[k]:
        state["phase"] = "held"
        return None
    if state.get("phase") == "held":  # it slipped
        state.clear()
    if "yaw" not in state or state["thing"] != k:
        yaw, wide = grip_along(hand, k)
        state.update(thing=k, yaw=yaw, wide=wide, phase="over", clock=0)
    at, high = sim.places[k], height(sim, k)
    gap = min(gripper_arm.OPEN, state["wide"] + 0.026)
    low = np.array([*at[:2], max(FLOOR, min(at[2], at[2] + high - 0.012))])
    off = float(np.hypot(*(sim.tip[:2] - at[:2])))
    if state["phase"] == "over":
        over = np.array([*at[:2], at[2] + high + HOVER - 0.02])
        near = off < 0.012 and abs(hand.turn(state["yaw"])) < 0.15 and sim.gap > gap - 0.012
        if not near:
            # Rise first where things would be swept aside on the way.
            if off > 0.05:
                over[2] = max(over[2], 0.11)
            return hand.towards(over, state["yaw"], gap)
        state["phase"] = "down"
    if state["phase"] == "down":
        if off > 0.03:
            state["phase"] = "over"
        if sim.tip[2] - low[2] > 0.008 and state["clock"] < 12:
            state["clock"] += 1
            return hand.towards(low, state["yaw"], gap)
        state.update(phase="close", clock=0)
    state["clock"] += 1
    if state["clock"] > 7:  # nothing between the fingers: try again, another way
        state.clear()
        return hand.towards(sim.tip + UP, grip=1.0)
    return hand.towards(np.array([*sim.tip[:2], low[2]]), state["yaw"], grip=-1.0)


def carry(hand: Hand, k: int, goal: np.ndarray) -> np.ndarray:
    """Bring what is held up, over and down, so that thing `k` stands at `goal` (metres; its lowest point comes there), and let go."""
    sim = hand.sim
    offset = sim.places[k] - sim.tip  # how it hangs between the fingers
    bottom = sim.places[k, 2] - height(sim, k)
    away = goal[:2] - sim.places[k, :2]
    far = float(np.hypot(*away))
    lift = max(ABOVE if goal[2] < 0.02 else goal[2] + 0.05, 0.0)
    if far > 0.012:
        if bottom < lift - 0.03 - 0.25 * max(0.0, 0.1 - far):
            return hand.towards(sim.tip + np.array([*(0.15 * away), lift - bottom]), grip=-1.0)
        return hand.towards(np.array([*(goal[:2] - offset[:2]), sim.tip[2] + lift - bottom]), grip=-1.0)
    if bottom - goal[2] > 0.007 and not _stopped(hand, bottom):
        down = sim.tip[2] + goal[2] + 0.003 - bottom
        return hand.towards(np.array([*(goal[:2] - offset[:2]), down]), grip=-1.0, speed=0.7)
    return hand.towards(sim.tip.copy(), grip=1.0)


def _stopped(hand: Hand, bottom: float) -> bool:
    """Whether what is lowered no longer sinks: it stands on something."""
    was = hand.state.get("bottom", np.inf)
    hand.state["bottom"] = bottom
    return was - bottom < 0.002 and was < 0.08


def release(hand: Hand) -> np.ndarray:
    """Open the fingers and go up."""
    sim = hand.sim
    if sim.held.any() or (sim.touched.any() and sim.gap < gripper_arm.OPEN - 0.01 and sim.tip[2] < 0.1):
        return hand.towards(sim.tip.copy(), grip=1.0)
    return hand.towards(np.array([*sim.tip[:2], 0.17]), grip=0.3)


def push(hand: Hand, k: int, way: np.ndarray) -> np.ndarray:
    """Come down behind thing `k` with parted fingers across the unit vector `way` (`2`), and push it along."""
    sim, state = hand.sim, hand.state
    at, thing, axes = sim.places[k, :2], sim.objects[k], sim.axes(k)
    side = np.array([-way[1], way[0]])
    deep = half_width(thing, axes, np.array([*way, 0.0]))
    wide = half_width(thing, axes, np.array([*side, 0.0]))
    yaw, gap = float(np.arctan2(side[1], side[0])), float(np.clip(1.1 * wide - 0.012, 0.0, 0.07))
    offset = sim.tip[:2] - at
    along, across = float(offset @ way), float(offset @ side)
    low = max(FLOOR, min(0.035, below(sim, k) + 0.8 * height(sim, k)))
    behind = deep + 0.030  # the fingers are 12 mm thick that way
    if state.get("phase") != "push":
        spot = at - behind * way
        if np.hypot(*(sim.tip[:2] - spot)) < 0.012 and abs(hand.turn(yaw)) < 0.2 and abs(sim.gap - gap) < 0.015:
            if sim.tip[2] - low < 0.01:
                state["phase"] = "push"
            return hand.towards(np.array([*spot, low]), yaw, gap)
        return hand.towards(np.array([*spot, max(0.10, height(sim, k) * 2 + 0.03)]), yaw, gap)
    if abs(across) > 0.035 or along > 0.0 or along < -behind - 0.06:  # it has slipped away
        state.clear()
        return hand.towards(sim.tip + UP, yaw, gap)
    # Off the line through the middle the thing would turn away: steer back to that line.
    heading = way - 10.0 * across * side
    return hand.towards(np.array([*(sim.tip[:2] + 0.04 * heading), low]), yaw, gap, speed=0.75)
