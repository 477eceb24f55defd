"""How a simulator shows itself: what every one of them does with its ray caster, and OpenGL where one offers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.sims import optics
from armillary.sims.raycast import Picture, Raycaster
from armillary.types import Camera


class Pictured:
    """Pictures of a simulator that has `model`, `data`, `rays` (its ray caster) and `owner` (object of each geom, -1 for none; the last
    entry answers for geom -1). A camera that is not named is the first.
    """

    cameras: tuple[str, ...]
    renderer: str = "ray"
    model: Any
    data: Any
    rays: Raycaster
    owner: np.ndarray

    def camera(self, name: str, size: int) -> Camera:
        """Where a camera stands now."""
        return optics.view(self.model, self.data, name, size)

    def render(self, cameras: Sequence[str] = (), size: int = 128) -> dict[str, np.ndarray]:
        """Camera name -> uint8 `h w 3`, square."""
        names = cameras or self.cameras[:1]
        if self.renderer == "gl":
            from armillary.sims import gl

            return {name: gl.draw(self, name, size) for name in names}
        return {name: self.picture(name, size).rgb for name in names}

    def picture(self, camera: str = "", size: int = 128) -> Picture:
        """Colour with depth (metres along the optical axis) and geom ids from the ray caster."""
        return self.rays.render(self.camera(camera or self.cameras[0], size))

    def segment(self, camera: str = "", size: int = 128) -> np.ndarray:
        """Which object each pixel shows, int32 `h w`; -1 for none."""
        return self.owner[self.rays.segment(self.camera(camera or self.cameras[0], size))].astype(np.int32)
