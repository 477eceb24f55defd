"""Exact twins of worlds: physics by MuJoCo, pixels by its rays, truth for the asking.

>>> sim = make("tabletop")
>>> sim.reset(seed=0)
>>> picture = sim.render(("front",), 128)["front"]
>>> reward, success = sim.step([1.0, 0.0])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from armillary.errors import BadInput, lookup
from armillary.sims.base import SceneObject, Sim
from armillary.sims.driving import Driving
from armillary.sims.gripper.sim import Gripper
from armillary.sims.physics import Physics
from armillary.sims.record import record_episode
from armillary.sims.rooms import Rooms
from armillary.sims.tabletop import Tabletop

SIMS: dict[str, Callable[..., Sim]] = {
    "tabletop": Tabletop,
    "tabletop-few": partial(Tabletop, fewest=1),
    "tabletop-gripper": Gripper,
    "tabletop-gripper-joints": partial(Gripper, actions="joints"),
    "physics": Physics,
    "rooms": Rooms,
    "driving": Driving,
}


def make(name: str, **options: Any) -> Sim:
    """The simulator of that name.

    Raises:
        BadInput: for a name that is in no table, or an option it does not take.
    """
    build = lookup(SIMS, name, "simulator")
    try:
        return build(**options)
    except TypeError as error:
        raise BadInput(f"{name} does not take {options}: {error}") from error


__all__ = ["SIMS", "SceneObject", "Sim", "make", "record_episode"]
