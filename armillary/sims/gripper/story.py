"""What has been done on a gripper's table since the reset: what was set down where, what hangs in the air, who set whom in motion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armillary.sims.gripper.state import GAP, World, at_rest, below, between, inside, upon

MOVING = 1e-3  # metres in a frame from which on a thing is on the move
OFF = 0.02  # metres under a thing that the hand has taken off what it lay on


@dataclass(frozen=True)
class Deed:
    """A thing that was set down: in or on a target, on another thing, or, both being -1, on the table."""

    thing: int
    target: int = -1
    other: int = -1


def set_down(sim: World, k: int) -> Deed:
    """Where thing `k` rests now."""
    for other in range(len(sim.objects)):
        if other != k and upon(sim, k, other):
            return Deed(k, other=other)
    return Deed(k, next((t for t in range(len(sim.targets)) if inside(sim, k, t)), -1))


def neighbours(sim: World) -> frozenset[tuple[int, int]]:
    """Pairs of things that lie next to each other on the table, both ways round."""
    low = [k for k in range(len(sim.objects)) if below(sim, k) < 0.012]
    return frozenset((a, b) for a in low for b in low if a != b and between(sim, a, b) < GAP)


@dataclass
class Story:
    """Begins with the reset; `note` adds a frame.

    Args:
        begin: where things lay, `k 3` metres; near: what lay next to what.
        deeds: what has been set down, in that order.
        carried: things that have been lifted and not been set down yet.
        handled: bool `k`: ever touched by the arm; shoved: thing -> the one that touched it when it first began to move.
        travelled: path length of the tip, metres.
    """

    begin: np.ndarray
    near: frozenset[tuple[int, int]]
    deeds: list[Deed] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)
    handled: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    shoved: dict[int, int] = field(default_factory=dict)
    travelled: float = 0.0

    @classmethod
    def of(cls, sim: World) -> Story:
        return cls(sim.places.copy(), neighbours(sim), handled=np.zeros(len(sim.objects), bool))

    def note(self, sim: World, tip: np.ndarray, places: np.ndarray) -> None:
        """A frame has passed; `tip` (`3`) and `places` (`k 3`, metres) are those before it."""
        things = range(len(sim.objects))
        self.travelled += float(np.linalg.norm(sim.tip - tip))
        self.handled |= sim.touched
        moved = np.linalg.norm(sim.places - places, axis=1) > MOVING
        for k in np.flatnonzero(moved & ~self.handled):
            by = next((a for a in things if a != k and moved[a] and sim.touching(int(k), a)), None)
            if by is not None:
                self.shoved.setdefault(int(k), by)
        for k in np.flatnonzero(sim.held):
            stands = any(sim.touching(int(k), other) for other in range(-1, len(sim.objects)) if other != k)
            if k not in self.carried and below(sim, int(k)) > OFF and not stands:
                self.carried.append(int(k))
        for k in [k for k in self.carried if at_rest(sim, k)]:
            self.carried.remove(k)
            self.deeds.append(set_down(sim, k))
