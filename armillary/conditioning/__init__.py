"""Conditions that are attached to a finished world: each a small module that turns something said into what a port takes.

A world has three ports: `modulation` (added to the noise level's vector), `channels` (a map added to the embedded latent, which is what
concatenating channels to the latent amounts to) and `context` (cross-attention; text goes there by itself). Every condition ends in a
layer of zeros, so that attaching one leaves the world's output as it was, to the bit.
"""

from armillary.conditioning.action import ActionCondition
from armillary.conditioning.attach import Attached, attach, load, save
from armillary.conditioning.base import Condition, Conditions
from armillary.conditioning.camera import CameraCondition
from armillary.conditioning.frames import FramesCondition
from armillary.conditioning.rays import RaysCondition
from armillary.conditioning.text import TextCondition
from armillary.conditioning.trajectory import TrajectoryCondition, onward
from armillary.conditioning.views import ViewsCondition
from armillary.errors import lookup

# Name -> its config; `CONDITIONERS[name](...).build(ports)` is the module.
CONDITIONERS: dict[str, type[Condition]] = {
    "text": TextCondition,
    "frames": FramesCondition,
    "action": ActionCondition,
    "camera": CameraCondition,
    "views": ViewsCondition,
    "trajectory": TrajectoryCondition,
    "rays": RaysCondition,
}


def condition(name: str, **settings: object) -> Condition:
    """A condition's config by name.

    Raises:
        BadInput: with the nearest name.
    """
    return lookup(CONDITIONERS, name, "condition")(**settings)


__all__ = [
    "CONDITIONERS",
    "ActionCondition",
    "Attached",
    "CameraCondition",
    "Condition",
    "Conditions",
    "FramesCondition",
    "RaysCondition",
    "TextCondition",
    "TrajectoryCondition",
    "ViewsCondition",
    "attach",
    "condition",
    "load",
    "onward",
    "save",
]
