"""A simulator as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from armillary.errors import BadInput, require
from armillary.sims.base import Sim

require("gymnasium", "the environment of a simulator")
import gymnasium  # noqa: E402


class SimEnv(gymnasium.Env):
    """The true world behind the interface that policies know.

    Observation: uint8 `size size 3`, one camera, drawn at twice the size and averaged down. Action: the simulator's own. Reward: the
    simulator's (for the tabletop, metres that the named object came nearer to its goal). An episode terminates when the task is
    solved; a time limit is the registry's. `info` has `success` (bool), `instruction`, and `truth` (see `Sim.truth`).

    Args:
        sim: a name of `SIMS`, or a simulator.
        size: pixels a side.
        camera: which one is observed.

    `reset(options=...)` knows `instruction_variant` (int: which wording `info` reports) and `seed_offset` (int: added to the seed the
    episode is drawn with); any other key is an error. Without a seed the environment draws one from its own generator.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self, sim: str | Sim = "tabletop", size: int = 64, camera: str = "front", render_mode: str | None = None, **options: Any
    ) -> None:
        from armillary.sims import make

        if render_mode not in (None, "rgb_array"):
            raise BadInput(f"render_mode is 'rgb_array' or None; got {render_mode!r}.")
        if size < 8:
            raise BadInput(f"A picture needs at least 8 pixels a side; got size={size}.")
        self.sim = make(sim, **options) if isinstance(sim, str) else sim
        if camera not in self.sim.cameras:
            raise BadInput(f"There is no camera {camera!r} here; there are {', '.join(self.sim.cameras)}.")
        self.size, self.camera, self.render_mode = size, camera, render_mode
        self.metadata = {**type(self).metadata, "render_fps": round(self.sim.fps)}
        spec = self.sim.spec
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(
            np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32), dtype=np.float32
        )
        self.instruction = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        given = dict(options or {})
        offset, variant = int(given.pop("seed_offset", 0)), int(given.pop("instruction_variant", 0))
        if given:
            raise BadInput(f"reset knows the options seed_offset and instruction_variant; got {', '.join(sorted(given))}.")
        self.sim.reset((int(seed) if seed is not None else int(self.np_random.integers(2**31))) + offset)
        self.instruction = self.sim.instructions[variant % len(self.sim.instructions)]
        return self._look(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward, success = self.sim.step(action)
        return self._look(), float(reward), bool(success), False, self._info(success)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The observed camera at four times the observation's size, at most 512 pixels."""
        if self.render_mode is None:
            return None
        return self.sim.render((self.camera,), min(512, 4 * self.size))[self.camera]

    def _look(self) -> np.ndarray:
        return halve(self.sim.render((self.camera,), 2 * self.size)[self.camera])

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": bool(success), "instruction": self.instruction, "truth": self.sim.truth(self.camera, self.size)}


def halve(picture: np.ndarray) -> np.ndarray:
    """Every 2 x 2 pixels averaged: uint8 `... 2h 2w 3` to `... h w 3`, halves rounded up."""
    x = picture.astype(np.uint16)
    x = x[..., 0::2, :, :] + x[..., 1::2, :, :]
    return ((x[..., 0::2, :] + x[..., 1::2, :] + 2) // 4).astype(np.uint8)
