"""Sentences about a gripper's table, made from its true state: the task in many wordings, and what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.gripper.story import neighbours
from armillary.sims.gripper.tasks import Task
from armillary.sims.gripper.things import Target
from armillary.sims.language import STILL, TOWARDS, direction, relations
from armillary.sims.words import lexicon
from armillary.sims.words.facts import GRIPPER, Fact, Facts, Thing

SHAPES = lexicon.SHAPES[GRIPPER]
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
IN = {"plate": ("on", "onto"), "bin": ("in", "into"), "zone": ("on", "onto")}


def instructions(task: Task, objects: Sequence[SceneObject], targets: Sequence[Target]) -> tuple[str, ...]:
    """The same task in all wordings, the plainest first: every sentence with every name of what it speaks of."""

    def names(colour: str, kind: str) -> tuple[str, ...]:
        return tuple(f"the {colour} {name}" for name in SHAPES[kind] if not lexicon.held(name))

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


def facts(sim: Any) -> Facts:
    """What was seen since the reset of a `Gripper`: what was set down where, what is in the hand, what was pushed, what lies where."""
    story = sim.story
    things = [Thing(o.colour, o.shape) for o in sim.objects]
    targets = [Thing(t.colour, t.kind) for t in sim.targets]
    done: list[Fact] = []
    about: set[int] = set()  # whose motion has been told, or follows from what has been
    for deed in dict.fromkeys(story.deeds):
        about |= {deed.thing, deed.other}
        place = targets[deed.target] if deed.target >= 0 else things[deed.other] if deed.other >= 0 else None
        thing = things[deed.thing]
        done.append(Fact("put", thing, place) if place else Fact("set down", whom=thing))
    for k, thing in enumerate(things):
        if k in story.carried or sim.held[k]:
            kind = "grasp" if k not in story.carried else "lift" if sim.held[k] else "drop"
            done.append(Fact(kind, whom=thing))
            about.add(k)
    shift = sim.places[:, :2] - story.begin[:, :2]
    far = np.hypot(shift[:, 0], shift[:, 1])
    moved = [int(k) for k in np.argsort(-far, kind="stable") if k not in about and far[k] >= STILL]
    near = neighbours(sim) - story.near
    for k in moved:
        way, by = direction(shift[k]), story.shoved.get(k)
        if not story.handled[k] and by is not None and (by in about or (by in moved and story.handled[by])):
            done.append(Fact("shove", things[by], things[k], way))
        elif story.handled[k] or by is not None:  # what is neither fell, or slid off what fell
            done.append(Fact("push", whom=things[k], way=way))
            done += [Fact("gather", things[k], things[o]) for a, o in sorted(near) if a == k and o not in moved][:1]
    if not done:
        done.append(Fact("move", way="hover" if story.travelled > 0.05 else "rest"))
    begin = np.concatenate([story.begin[:, :2], np.array([t.place for t in sim.targets])])
    now = np.concatenate([sim.places[:, :2], begin[len(things) :]])
    told = [*(Fact("there", t) for t in (*things, *targets)), *done, *relations([*things, *targets], begin, now)]
    told.append(Fact("table", way=sim.scene.table))
    x, y, _ = sim.scene.light.position
    light = "above" if np.hypot(x, y) < 0.35 else "left" if x < -0.45 else "right" if x > 0.45 else ""
    if light and len(sim.scene.light.lamps) == 1:
        told.append(Fact("light", way=light))
    return Facts(GRIPPER, tuple(dict.fromkeys(told)))
