"""A trained world as a Gymnasium environment: what a policy can step.

`armillary/Tabletop-v0` is the dream, `armillary/Tabletop-sim-v0` the exact simulator, with the same spaces: what runs in one runs in
the other. A dream has no task knowledge: its reward is 0 and it never ends by itself (the registered id is cut at 200 steps); score it with
a reward of your own, or against the simulator.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Generator

from armillary import sims
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer, Going
from armillary.rollout.paths import follows, joystick, motion
from armillary.worlds import World


class WorldEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Step a world as an environment.

    Args:
        world: a loaded world or dreamer, a shipped name, or a checkpoint folder. It must take actions or follow a camera, and have a
            per-frame tokenizer. A camera is driven by two numbers, ahead and to the right, in the training data's usual steps.
        sim: the exact simulator that paints first frames (a name in `sims.SIMS`); None when every reset brings its own.
        steps: denoising steps for each frame, None for the world's default.
        render_mode: `rgb_array` or None.

    `reset(options=...)` takes `frames` (uint8 `t h w 3`: real first frames, of which the world uses the last) and `instruction` (text).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        world: World | Dreamer | str | Path = "tabletop",
        sim: str | None = "tabletop",
        steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.dreamer = world if isinstance(world, Dreamer) else Dreamer(world)
        spec, self.camera = self.dreamer.world.action_spec, None
        if spec is None:
            self.camera = follows(self.dreamer.world)
            if self.camera is None:
                raise BadInput(
                    f"World {self.dreamer.world.name!r} takes no actions and follows no camera, so there is nothing to step."
                )
            spec = joystick(self.camera, self.dreamer.fps)
        if self.dreamer.temporal != 1:
            raise BadInput(
                f"World {self.dreamer.world.name!r} dreams {self.dreamer.temporal} frames at a time; stepping wants one."
            )
        if render_mode not in (None, "rgb_array"):
            raise BadInput(f"render_mode is rgb_array or None; got {render_mode!r}.")
        self.spec_of_actions = spec
        self.sim_name, self.sim = sim, None
        self.options = {} if steps is None else {"steps": steps}
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.dreamer.fps}
        h, w = self.dreamer.size
        self.observation_space = gymnasium.spaces.Box(0, 255, (h, w, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(
            np.array(spec.low, np.float32), np.array(spec.high, np.float32), dtype=np.float32
        )
        self.live: Going | None = None
        self.generator = Generator()
        self.frame = np.zeros((h, w, 3), np.uint8)
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        options = dict(options or {})
        unknown = set(options) - {"frames", "instruction"}
        if unknown:
            raise BadInput(f"reset takes the options frames and instruction; got {', '.join(sorted(unknown))}.")
        draw = int(self.np_random.integers(2**31))
        self.generator.manual_seed(draw)
        instruction = str(options.get("instruction", ""))
        if options.get("frames") is not None:
            frames = np.asarray(options["frames"])
            source = "given frames"
        else:
            frames, instruction = self._paint(draw if seed is None else seed, instruction)
            source = f"simulator {self.sim_name}"
        frames = self.dreamer.fit(frames)
        self.conditioning = self.dreamer.condition([instruction])
        self.live = self.dreamer.live(self.dreamer.encode(frames), self.conditioning, **self.options)
        self.frame, self.age = frames[-1].copy(), 0
        return self.frame, {"source": source, "instruction": instruction, "frame": 0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.live is None:
            raise BadInput("Call reset() before step().")
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape:
            names = ", ".join(self.spec_of_actions.names)
            raise BadInput(f"This world takes actions of width {self.spec_of_actions.dim} ({names}); got shape {action.shape}.")
        action = np.clip(action, self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        if self.camera is None:
            conditioning = dataclasses.replace(self.conditioning, actions=torch.as_tensor(action)[None, None])
        else:  # a frame's rays are said in the axes of the frame before it: two poses say all
            step = np.stack([np.eye(4), motion(self.camera, *(float(a) for a in action))])
            conditioning = dataclasses.replace(self.conditioning, poses=torch.as_tensor(step, dtype=torch.float32)[None])
        made = self.live.more(1, conditioning, self.generator)
        self.frame = self.dreamer.decode(made)[0]
        self.age += 1
        return self.frame, 0.0, False, False, {"frame": self.age, "seconds": self.age / self.dreamer.fps}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        return self.frame.copy() if self.render_mode == "rgb_array" else None

    def _paint(self, seed: int, instruction: str) -> tuple[np.ndarray, str]:
        """One real first frame, drawn by the exact simulator."""
        if self.sim_name is None:
            raise BadInput("This environment has no simulator to draw a first frame: pass reset(options={'frames': ...}).")
        if self.sim is None:
            self.sim = sims.make(self.sim_name)
        self.sim.reset(seed)
        h, w = self.dreamer.size
        camera = self.sim.cameras[0]
        # Drawn larger and averaged down, as the training frames were.
        size = max(h, w) * math.ceil(128 / max(h, w))
        return self.sim.render([camera], size)[camera][None], instruction or self.sim.instruction

    def close(self) -> None:
        self.sim = None
