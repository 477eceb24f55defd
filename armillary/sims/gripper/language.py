"""Sentences about a gripper's table, made from its true state: the task in many wordings, and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.gripper.tasks import Task
from armillary.sims.gripper.things import Target
from armillary.sims.language import TOWARDS, article, direction, listed

STILL = 0.015  # metres: a thing that has moved less has not moved
# Kind of task -> sentences. `thing`, `other` and `target` stand with their article; `in` is `in` or `on`, `into` `into` or `onto`.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "push": (
        "push {thing} to the {side} side",
        "slide {thing} over to the {side} side of the table",
        "shove {thing} {towards}",
        "move {thing} {towards} until it is at the {side} side",
        "get {thing} to the {side} edge by pushing it",
        "without lifting it, bring {thing} to the {side} side",
        "{thing} belongs at the {side} side, push it there",
    ),
    "gather": (
        "push {thing} next to {other}",
        "slide {thing} up to {other}",
        "move {thing} beside {other}",
        "bring {thing} close to {other} without lifting it",
        "shove {thing} over to {other} so that the two stand together",
        "put {thing} and {other} side by side by pushing the first",
        "push {thing} until it nearly touches {other}",
    ),
    "place": (
        "put {thing} {in} {target}",
        "pick up {thing} and put it {in} {target}",
        "place {thing} {in} {target}",
        "take {thing} and set it down {in} {target}",
        "move {thing} {into} {target}",
        "grasp {thing}, carry it to {target} and let go",
        "{thing} belongs {in} {target}",
        "lift {thing} and drop it {into} {target}",
    ),
    "stack": (
        "stack {thing} on {other}",
        "put {thing} on top of {other}",
        "pick up {thing} and place it on {other}",
        "set {thing} down on top of {other}",
        "build a tower with {thing} on {other}",
        "balance {thing} on {other}",
        "{thing} goes on top of {other}",
    ),
    "lift": (
        "lift {thing}",
        "pick up {thing}",
        "raise {thing} off the table",
        "grasp {thing} and hold it up",
        "take {thing} into the air",
        "grab {thing} and lift it",
        "hold {thing} above the table",
    ),
}
# Shape or target -> what else it is called.
NAMES: dict[str, tuple[str, ...]] = {
    "block": ("block", "cube", "box"),
    "bar": ("bar", "long block", "stick"),
    "cylinder": ("cylinder", "can"),
    "ball": ("ball", "sphere"),
    "cup": ("cup", "mug", "beaker"),
    "ring": ("ring", "hoop"),
    "pill": ("pill", "capsule"),
    "plate": ("plate", "dish"),
    "bin": ("bin", "open box", "crate"),
    "zone": ("zone", "square", "patch"),
}
IN = {"plate": ("on", "onto"), "bin": ("in", "into"), "zone": ("on", "onto")}


def instructions(task: Task, objects: Sequence[SceneObject], targets: Sequence[Target]) -> tuple[str, ...]:
    """The same task in all wordings, the plainest first: every sentence with every name of what it speaks of."""

    def names(colour: str, kind: str) -> tuple[str, ...]:
        return tuple(f"the {colour} {name}" for name in NAMES[kind])

    thing = objects[task.thing]
    things = names(thing.colour, thing.shape)
    others, places, words = ("",), ("",), {"in": "", "into": ""}
    if task.other >= 0:
        others = names(objects[task.other].colour, objects[task.other].shape)
    if task.target >= 0:
        target = targets[task.target]
        places = names(target.colour, target.kind)
        words = dict(zip(("in", "into"), IN[target.kind]))
    words |= {"side": task.side, "towards": TOWARDS.get(task.side, "")}
    made = [
        template.format(thing=a, other=b, target=c, **words)
        for a, b, c in product(things, others, places)
        for template in TEMPLATES[task.kind]
    ]
    return tuple(dict.fromkeys(made))


def caption(sim: Any) -> str:
    """What was seen since the reset of a `Gripper`: what was set down where, what is in the hand, what was pushed, what lies about."""
    things, targets = sim.objects, sim.targets
    deeds = list(dict.fromkeys(sim.deeds))
    said, told = [], set()
    for deed in deeds:
        name = things[deed.thing].name
        told.add(name)
        if deed.target >= 0:
            target = targets[deed.target]
            said.append(f"puts the {name} {IN[target.kind][0]} the {target.name}")
            told.add(target.name)
        elif deed.other >= 0:
            said.append(f"puts the {name} on the {things[deed.other].name}")
            told.add(things[deed.other].name)
        else:
            said.append(f"picks the {name} up and sets it down")
    for k in range(len(things)):
        if k in sim.carried or sim.held[k]:
            verb = "grasps" if k not in sim.carried else "lifts" if sim.held[k] else "drops"
            again = bool(deeds) and deeds[-1].thing == k
            said.append(f"{verb} it again" if again else f"{verb} the {things[k].name}")
            told.add(things[k].name)
    shift = sim.places[:, :2] - sim.begin[:, :2]
    far = np.hypot(shift[:, 0], shift[:, 1])
    pushed: dict[str, list[str]] = {}
    for k in np.argsort(-far, kind="stable"):
        if things[k].name not in told and far[k] >= STILL:
            pushed.setdefault(direction(shift[k]), []).append(f"the {things[k].name}")
            told.add(things[k].name)
    what = ", then ".join(said)
    if pushed:
        pushes = f"pushes {listed([f'{listed(names)} {TOWARDS[side]}' for side, names in pushed.items()])}"
        what = f"{what} and {pushes}" if what else pushes
    if not what:
        what = "moves about without moving anything" if sim.travelled > 0.05 else "holds still"
    rest = [article(it.name) for it in (*things, *targets) if it.name not in told]
    nearby = f"; {listed(rest)} {'is' if len(rest) == 1 else 'are'} nearby" if rest else ""
    return f"A robot arm with a gripper over {article(sim.scene.table)} table {what}{nearby}."
