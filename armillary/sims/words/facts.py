"""What is so in a scene, as plain facts: what captions are made from (`words.tell`), and what is read out of sentences (`words.read`).

Simulators fill a `Facts` from their true state. A prompt is read into one as well, with gaps where it says nothing, so that two texts can
be compared by what they state and not by how they say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

GRIPPER = "tabletop-gripper"
ARMS = ("tabletop", GRIPPER)  # where an arm does things
WORLDS = ("tabletop", "physics", "rooms", "driving", GRIPPER)  # whose facts are told and read


@dataclass(frozen=True)
class Thing:
    """Something with a colour and a shape; what is not known of it is empty."""

    colour: str = ""
    shape: str = ""

    def fits(self, other: Thing) -> bool:
        """Whether both may be the same thing."""
        return all(not a or not b or a == b for a, b in ((self.colour, other.colour), (self.shape, other.shape)))


@dataclass(frozen=True)
class Fact:
    """One statement.

    Args:
        kind: a name in `KINDS`.
        who: the thing it is about, or that acts; None where the world's own actor does (the arm, the camera, the car). Of `put` and
            `gather` it is the thing that was moved.
        whom: the thing acted upon, or related to; of `put` and `gather` where that was brought.
        way: a direction, or the value of a setting.
    """

    kind: str
    who: Thing | None = None
    whom: Thing | None = None
    way: str = ""


@dataclass(frozen=True)
class Kind:
    """How a kind of fact behaves.

    Args:
        slots: which of `who`, `whom`, `way` it fills.
        single: a scene has one value of it.
        ways: values of `way`, each of which another may take the place of.
    """

    slots: tuple[str, ...]
    single: bool = False
    ways: tuple[str, ...] = ()


SIDES = ("left", "right", "far", "near")
KINDS: dict[str, Kind] = {
    "there": Kind(("who",)),
    "left of": Kind(("who", "whom")),
    "behind": Kind(("who", "whom")),
    "on": Kind(("who", "whom")),
    "push": Kind(("whom", "way"), ways=SIDES),
    "shove": Kind(("who", "whom", "way"), ways=SIDES),
    "put": Kind(("who", "whom")),
    "gather": Kind(("who", "whom")),  # pushed next to
    "set down": Kind(("whom",)),  # lifted and put back on the table
    "lift": Kind(("whom",)),  # and still in the air
    "grasp": Kind(("whom",)),
    "drop": Kind(("whom",)),
    "strike": Kind(("who", "whom")),
    "throw": Kind(("who", "whom")),
    "face": Kind(("whom",)),
    "reach": Kind(("whom",)),
    "ahead": Kind(("who",)),
    "oncoming": Kind(("who",)),
    "following": Kind(("who",)),
    "empty": Kind(("way",), True),  # no other car: near, or in the view
    "move": Kind(("way",), True),  # of the actor: roam, rest, walk, stand, drive, halt
    "turn": Kind(("way",), True, ("left", "right")),
    "bend": Kind(("way",), True, ("left", "right")),
    "pace": Kind(("way",), True, ("faster", "slower")),
    "experiment": Kind(("way",), True, ("stable stack", "unstable stack")),  # the others differ in more than their name
    "table": Kind(("way",), True, ("grey", "wooden", "checkered")),
    "floor": Kind(("way",), True, ("wood", "tiles", "stone", "plain", "carpet")),
    "street": Kind(("way",), True, ("grass", "paving", "sand", "snow")),
    "weather": Kind(("way",), True, ("clear", "overcast", "rain", "fog", "dusk", "night")),
    "light": Kind(("way",), True, ("left", "right", "above")),
    "camera": Kind(("way",), True),
}
# A thing cannot be on either side of a relation.
ORDERED = ("left of", "behind", "on", "shove", "strike", "throw", "put", "gather")
# Where a setting has other values than `KINDS` says.
OWN_WAYS = {
    (GRIPPER, "table"): (
        "grey", "wooden", "checkered", "white", "dark", "marble", "striped", "dotted", "woven", "tiled",
    ),
}  # fmt: skip
PLACES = ("plate", "bin", "zone")  # shapes of what things are put in or on, and which stay where they are
DONE = ("put", "set down", "grasp", "lift", "drop", "push", "gather", "shove")  # what an arm does, or sets off
MOVES = {"tabletop": ("roam", "rest"), "rooms": ("walk", "stand"), "driving": ("drive", "halt"), GRIPPER: ("hover", "rest")}
STILL = ("roam", "hover", "rest")  # moves of an arm that does nothing


def ways_of(world: str, kind: str) -> tuple[str, ...]:
    """Values of a setting, or of a direction, that a world knows."""
    return OWN_WAYS.get((world, kind), KINDS[kind].ways)


@dataclass(frozen=True)
class Facts:
    """A scene: the world it belongs to ("" where that is not known) and its facts, in the order they would be told."""

    world: str
    facts: tuple[Fact, ...] = ()

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def of(self, *kinds: str) -> tuple[Fact, ...]:
        return tuple(f for f in self.facts if f.kind in kinds)

    def way(self, kind: str) -> str:
        """The value of a single-valued kind; "" without one."""
        return next((f.way for f in self.facts if f.kind == kind), "")

    @property
    def things(self) -> tuple[Thing, ...]:
        return tuple(f.who for f in self.facts if f.kind == "there" and f.who is not None)

    def without(self, *kinds: str) -> Facts:
        return replace(self, facts=tuple(f for f in self.facts if f.kind not in kinds))


def swap(fact: Fact, old: Thing, new: Thing) -> Fact:
    return replace(fact, who=new if fact.who == old else fact.who, whom=new if fact.whom == old else fact.whom)


def swapped(facts: Facts, old: Thing, new: Thing) -> Facts:
    """The same scene with one thing in another's place."""
    return replace(facts, facts=tuple(swap(f, old, new) for f in facts))


# Comparing ------------------------------------------------------------------------------------------------------------------------


def agrees(wanted: Fact, said: Fact) -> bool:
    """Whether `said` says `wanted`, which may have gaps."""
    if wanted.kind != said.kind or (wanted.way and wanted.way != said.way):
        return False
    for a, b in ((wanted.who, said.who), (wanted.whom, said.whom)):
        if a is None:
            continue
        if b is None or (a.colour and a.colour != b.colour) or (a.shape and a.shape != b.shape):
            return False
    return True


def lost(wanted: Facts, said: Facts) -> list[Fact]:
    """Facts of `wanted` that `said` does not state."""
    return [w for w in wanted if not any(agrees(w, s) for s in said)]


def contradicted(wanted: Facts, said: Facts) -> list[Fact]:
    """Facts of `said` that cannot be so where `wanted` is."""
    out = []
    for s in said:
        for w in wanted:
            if _clash(w, s, said) and not any(agrees(x, s) for x in wanted):
                out.append(s)
                break
    return out


def _clash(w: Fact, s: Fact, said: Facts) -> bool:
    pushed = {"push", "shove"}
    if (w.kind in DONE and s.kind == "move" and s.way in STILL) or (s.kind in DONE and w.kind == "move" and w.way in STILL):
        return True
    if w.kind != s.kind:
        return False
    if KINDS[w.kind].single:
        return bool(w.way and s.way and w.way != s.way)
    if w.kind in ORDERED and w.who and w.whom and s.who == w.whom and s.whom == w.who:
        return True
    if w.kind == "put" and w.who == s.who and w.who and w.whom and s.whom and not w.whom.fits(s.whom):
        return not any(agrees(w, x) for x in said)
    same = w.whom == s.whom and (w.who == s.who or w.who is None)
    return bool(w.kind in pushed and same and w.way and s.way and w.way != s.way and not any(agrees(w, x) for x in said))


# Changing -------------------------------------------------------------------------------------------------------------------------


def altered(facts: Facts, rng: np.random.Generator, colours: tuple[str, ...], shapes: tuple[str, ...]) -> Facts:
    """The same scene but for one fact: a colour, a shape, a side, a setting, or who does it to whom.

    Args:
        colours, shapes: that the world knows.
    """
    options: list[tuple[str, Thing | Fact | None]] = []
    things = list(dict.fromkeys(t for f in facts for t in (f.who, f.whom) if t is not None))
    for thing in things:
        options += [("colour", thing), ("shape", thing)]
    if len(things) > 1:
        options += [("exchange", None)] * 3
    options += [("turn round", f) for f in facts if f.kind in ORDERED and f.who and f.whom and _alike(f.who, f.whom)] * 2
    options += [("way", f) for f in facts if f.way in ways_of(facts.world, f.kind)] * 2
    while options:
        what, it = options.pop(int(rng.integers(len(options))))
        if what == "colour" and isinstance(it, Thing):
            free = [c for c in colours if c not in {t.colour for t in things}] or [c for c in colours if c != it.colour]
            new = replace(it, colour=free[int(rng.integers(len(free)))]) if free else it
            made = swapped(facts, it, new)
        elif what == "shape" and isinstance(it, Thing):
            free = [s for s in shapes if s != it.shape and _alike(it, Thing("", s))]
            made = swapped(facts, it, replace(it, shape=free[int(rng.integers(len(free)))])) if free else facts
        elif what == "exchange":
            a, b = (things[int(i)] for i in rng.permutation(len(things))[:2])
            hold = Thing("*", "*")
            made = swapped(swapped(swapped(facts, a, hold), b, replace(b, colour=a.colour)), hold, replace(a, colour=b.colour))
        elif what == "turn round" and isinstance(it, Fact):
            made = replace(facts, facts=tuple(replace(f, who=f.whom, whom=f.who) if f == it else f for f in facts))
        elif isinstance(it, Fact):
            ways = [w for w in ways_of(facts.world, it.kind) if w != it.way]
            way = ways[int(rng.integers(len(ways)))]
            made = replace(facts, facts=tuple(replace(f, way=way) if f == it else f for f in facts))
        else:
            continue
        if set(made) != set(facts):
            return made
    return facts


def _alike(a: Thing, b: Thing) -> bool:
    """Whether both are things, or both places to put things."""
    return (a.shape in PLACES) == (b.shape in PLACES)
