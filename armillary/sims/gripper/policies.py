"""Scripted hands for `tabletop-gripper`. A policy is `policy(sim, rng) -> action`; what it keeps between steps lies in `sim.memory`.

They read the true state. Each decides on a command at the end effector (velocities of tip, yaw and gap in [-1, 1]); where the simulator
is commanded by joints, that command is handed over as the joint targets which do it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from armillary.sims.base import Policy
from armillary.sims.gripper import tasks as gripper_tasks
from armillary.sims.gripper.skills import Hand, carry, push, release, take
from armillary.sims.gripper.state import height
from armillary.sims.gripper.tasks import TASKS, Task
from armillary.sims.gripper.things import TARGETS
from armillary.sims.language import SIDES

AFTER = 4  # frames that a solved task is left standing before the next one


def expert(sim: Any, rng: np.random.Generator) -> np.ndarray:
    """Do the task; once it is solved, or has failed for long, do another one of the same scene. The simulator's own kind of action."""
    memory = sim.memory.setdefault("expert", {})
    if not memory:
        memory.update(speed=rng.uniform(0.8, 1.0), wobble=np.zeros(5), task=sim.task, clock=0, rest=0, state={})
    memory["clock"] += 1
    memory["rest"] += gripper_tasks.solved(sim, memory["task"]) or memory["rest"] > 0
    if memory["rest"] > AFTER or memory["clock"] > 60:
        kinds = list(TASKS)
        kind = kinds[int(rng.choice(len(kinds), p=[TASKS[k].share for k in kinds]))]
        memory.update(task=gripper_tasks.draw(sim, kind, rng), clock=0, rest=0, state={})
    hand = Hand(sim, memory["state"], memory["speed"])
    command = _do(hand, memory["task"], memory["rest"] > 0)
    memory["wobble"] = 0.7 * memory["wobble"] + rng.normal(0.0, 1.0, 5) * (0.02, 0.02, 0.012, 0.02, 0.0)
    return _action(sim, command + memory["wobble"])


def _do(hand: Hand, task: Task, done: bool) -> np.ndarray:
    """The next command of a task."""
    if done and task.kind != "lift":
        return release(hand)
    other = [int(k) for k in np.flatnonzero(hand.sim.held) if k != task.thing]
    if other:  # first put down what is still in the hand
        return carry(hand, other[0], np.array([*hand.sim.places[other[0], :2], 0.0]))
    if task.kind == "push":
        way = np.array(SIDES[task.side])
        return push(hand, task.thing, way)
    if task.kind == "gather":
        way = hand.sim.places[task.other, :2] - hand.sim.places[task.thing, :2]
        return push(hand, task.thing, way / max(float(np.hypot(*way)), 1e-6))
    command = take(hand, task.thing)
    if command is not None:
        return command
    if task.kind == "lift":
        return hand.towards(np.array([*hand.sim.tip[:2], 0.17]), grip=-1.0)
    if task.kind == "place":
        target = hand.sim.targets[task.target]
        floor = TARGETS[target.kind][1]
        return carry(hand, task.thing, np.array([*target.place, floor]))
    under = hand.sim.places[task.other]
    return carry(hand, task.thing, np.array([*under[:2], under[2] + height(hand.sim, task.other)]))


def play(sim: Any, rng: np.random.Generator) -> np.ndarray:
    """Smooth aimless motions, half of them at a thing, with fingers that open and close and rests. The simulator's own kind of action."""
    memory = sim.memory.setdefault("play", {"left": 0, "action": np.zeros(5)})
    if memory["left"] <= 0:
        goal = rng.uniform((-0.2, -0.15, 0.02), (0.2, 0.15, 0.2))
        if rng.random() < 0.6:
            k = int(rng.integers(len(sim.objects)))
            goal = sim.places[k] + rng.normal(0.0, 1.0, 3) * (0.015, 0.015, 0.01)
        memory.update(
            goal=goal,
            left=int(rng.integers(4, 13)),
            speed=float(rng.uniform(0.3, 1.0)),
            rest=bool(rng.random() < 0.1),
            turn=float(rng.normal(0.0, 0.35)),
            grip=float(rng.choice([-1.0, 0.0, 1.0])),
        )
    memory["left"] -= 1
    hand = Hand(sim, {}, memory["speed"])
    wanted = np.zeros(5) if memory["rest"] else hand.towards(memory["goal"], grip=memory["grip"])
    wanted[3] = 0.0 if memory["rest"] else memory["turn"]
    memory["action"] = 0.5 * memory["action"] + 0.5 * wanted + rng.normal(0.0, 0.03, 5)
    return _action(sim, memory["action"])


def noise(sim: Any, rng: np.random.Generator) -> np.ndarray:
    """Commands that drift at random, in the simulator's own kind of action: what says least about what is wanted."""
    memory = sim.memory.setdefault("noise", {"drift": np.zeros(sim.spec.dim)})
    memory["drift"] = 0.85 * memory["drift"] + rng.normal(0.0, 0.35, sim.spec.dim)
    if sim.actions == "ee":
        return np.clip(memory["drift"], -1.0, 1.0).astype(np.float32)
    # Joint targets wander about the pose of the beginning.
    home = memory.setdefault("home", sim.commanded.copy())
    wide = (0.5, 0.35, 0.35, 0.4, 0.5, 0.8, 0.03)
    return np.clip(home + wide * memory["drift"], sim.spec.low, sim.spec.high).astype(np.float32)


def mix(sim: Any, rng: np.random.Generator) -> np.ndarray:
    """Mostly the expert; in a third of the episodes it begins with a stretch of play, or breaks off for one. The simulator's own action."""
    memory = sim.memory.setdefault("mix", {})
    if not memory:
        stray = rng.random() < 0.35
        begin = int(rng.integers(0, 20))
        memory.update(begin=begin if stray else 10**9, end=begin + int(rng.integers(8, 25)))
    if memory["begin"] <= sim.steps < memory["end"]:
        if "expert" in sim.memory:
            sim.memory["expert"].update(state={}, clock=0)
        return play(sim, rng)
    return expert(sim, rng)


def _action(sim: Any, command: np.ndarray) -> np.ndarray:
    command = np.clip(command, -1.0, 1.0)
    action = sim.joint_goal(command) if sim.actions == "joints" else command
    return np.clip(action, sim.spec.low, sim.spec.high).astype(np.float32)


POLICIES: dict[str, Policy] = {"mix": mix, "expert": expert, "play": play, "noise": noise}
