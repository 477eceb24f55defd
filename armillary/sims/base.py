"""What every simulator is, whatever it simulates: something to reset, step and look at, that knows the exact truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from armillary.types import ActionSpec, Camera

Policy = Callable[[Any, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class SceneObject:
    """A thing that can be pushed.

    Args:
        shape: `block`, `cylinder` ...; `colour`: its name, unique within a scene.
        rgb: of its surface, sRGB in [0, 1].
        size: half extents in metres along its own axes.
    """

    shape: str
    colour: str
    rgb: tuple[float, float, float]
    size: tuple[float, float, float]

    @property
    def name(self) -> str:
        """`red block`."""
        return f"{self.colour} {self.shape}"


@runtime_checkable
class Sim(Protocol):
    """An exact world. Everything it shows and says is a function of the seed and the actions, bit for bit.

    Attributes:
        name: its name in `SIMS`; `fps`: frames, and actions, a second.
        spec: what an action means; `state_names`: what `state()` holds.
        cameras: names that `render` and `camera` know.
        objects: what lies in the scene; `instruction`: the task; `instructions`: the same task in other words.
        caption: what has been seen since the reset, told from the true state.
        steps: actions taken since the reset.
        policies: scripted ways to act in it, `policy(sim, rng) -> action`, by name; the first is what records it by default.
        memory: what a scripted policy keeps between steps; `reset` empties it.
    """

    name: str
    spec: ActionSpec
    state_names: tuple[str, ...]
    fps: float
    cameras: tuple[str, ...]
    objects: tuple[SceneObject, ...]
    steps: int
    memory: dict[str, Any]
    policies: Mapping[str, Policy]

    @property
    def instruction(self) -> str: ...

    @property
    def instructions(self) -> tuple[str, ...]: ...

    @property
    def caption(self) -> str: ...

    def reset(self, seed: int) -> None:
        """Start the episode that belongs to `seed`."""
        ...

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Act for one frame (`a`). Returns the reward and whether the task stands solved now."""
        ...

    def state(self) -> np.ndarray:
        """What the robot feels: float32 `s`."""
        ...

    def render(self, cameras: Sequence[str], size: int) -> dict[str, np.ndarray]:
        """Camera name -> uint8 `h w 3`, square."""
        ...

    def camera(self, name: str, size: int) -> Camera:
        """Where a camera stands now."""
        ...

    def truth(self, camera: str = "front", size: int = 64) -> dict[str, np.ndarray]:
        """Exact facts, for `k` objects, in the world and in a picture of `size` pixels:

        `object_pose` float64 `k 7` (x y z, then quaternion w x y z), `object_px` float32 `k 2` (projected centre; pixel centres are at
        half-integers), `object_area` int32 `k` (visible pixels), `object_full` int32 `k` (pixels if nothing stood before it),
        `object_hidden` bool `k` (less than 30 % of those are visible), `contact` bool `k` (the arm touched it during the last step),
        `tip` float64 `3` and `tip_px` float32 `2`.
        """
        ...
