"""The same scene through OpenGL, for whoever has it: MuJoCo's own renderer, with its textures, reflections and driver-dependent pixels."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from armillary.errors import Failed, require

INSTALL = "apt-get install libegl1 libopengl0 libgl1-mesa-dri (MUJOCO_GL=egl), or apt-get install libosmesa6 (MUJOCO_GL=osmesa)"


def draw(sim: Any, camera: str, size: int) -> np.ndarray:
    """A picture of a simulator that has `model`, `data` and a slot `gl` for the renderer: uint8 `h w 3`.

    Raises:
        Failed: when OpenGL does not load; the message is the install line.
    """
    if sim.gl is None or sim.gl.height != size:
        if sim.gl is not None:
            sim.gl.close()
        sim.gl = _renderer(sim.model, size)
    sim.gl.update_scene(sim.data, camera=camera, scene_option=_everything())
    return sim.gl.render().copy()


def _everything() -> Any:
    """Geoms of all groups: MuJoCo shows the first three only, and things that move may be in any."""
    option = require("mujoco", "simulating").MjvOption()
    option.geomgroup[:] = 1
    return option


def _renderer(model: Any, size: int) -> Any:
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        # MuJoCo reads this once, when its OpenGL module is first imported.
        os.environ.setdefault("MUJOCO_GL", "egl")
    mujoco = require("mujoco", "simulating")
    try:
        return mujoco.Renderer(model, size, size)
    except Exception as error:  # the bindings raise AttributeError, ImportError or RuntimeError, by driver
        wanted = os.environ.get("MUJOCO_GL", "glfw")
        raise Failed(
            f"OpenGL does not work here (MUJOCO_GL={wanted}: {error}). Install it with {INSTALL}, or use renderer='ray', which needs none."
        ) from error
