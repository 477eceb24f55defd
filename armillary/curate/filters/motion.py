"""Motion: does anything move, does the camera shake, and how does the camera move?

Paper section 3.2.1 drops static and shaky clips and tags the camera's movement. Here the movement is read off a similarity fitted to
dense flow (`curate.flow`) and worded by `filters.camera`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armillary.curate.filters.camera import CameraConfig, camera_of
from armillary.curate.stage import Context, above, below, noted
from armillary.types import Clip


@dataclass(frozen=True)
class MotionConfig:
    """Speeds are picture widths a second.

    Args:
        min_active: least share of the time in which something moves; a clip below it is static.
        max_shake: most jitter of the camera.
        moving: speed of the fastest twentieth of the picture at which something counts as moving.
        stirring: least luma change of a cell, in 8-bit steps, that has to go with it: flow alone sees movement in noise.
        camera: when the camera counts as standing, panning and so on.
    """

    min_active: float = 0.1
    max_shake: float = 0.09
    moving: float = 0.01
    stirring: float = 3.0
    camera: CameraConfig = field(default_factory=CameraConfig)


class Motion:
    name = "motion"

    def __init__(self, config: MotionConfig | None = None) -> None:
        self.config = config or MotionConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c, s = self.config, context.segment
        rows = s.flow_within(clip.start, clip.end)
        inside = s.within(clip.start, clip.end)
        stir = s.change_peak[inside][1:]
        if not rows or not len(stir):
            return noted(clip, tags={"camera": "unknown"})
        times = s.times[inside][1:]
        stirred = [_largest(stir, times, a, b.time) >= c.stirring for a, b in zip([clip.start, *(r.time for r in rows)], rows)]
        active = float(np.mean([r.peak > c.moving and stirs for r, stirs in zip(rows, stirred)]))
        camera = camera_of(rows, c.max_shake, c.camera)
        pan, tilt, zoom, roll = camera.speeds
        scores = {
            "motion": float(np.mean([r.peak for r in rows])),
            "active": active,
            "objects": float(np.mean([r.objects for r in rows])),
            "camera_speed": camera.strength,
            "camera_pan": pan,
            "camera_tilt": tilt,
            "camera_zoom": zoom,
            "camera_roll": roll,
            "camera_straight": camera.straight,
            "camera_parallax": camera.parallax,
            "camera_relief": camera.relief,
            "shake": camera.shake,
        }
        return noted(
            clip,
            scores,
            {"camera": camera.tag},
            below("motion", active, c.min_active, "static: almost nothing moves")
            + above("motion", camera.shake if camera.tag == "shaky" else 0.0, c.max_shake, "the camera shakes"),
        )


def _largest(values: np.ndarray, times: np.ndarray, start: float, end: float) -> float:
    inside = values[(times > start - 1e-6) & (times <= end + 1e-6)]
    return float(inside.max()) if len(inside) else 0.0
