"""Motion: does anything move, does the camera shake, and how does the camera move?

Paper section 3.2.1 drops static and shaky clips and tags the camera's movement. Here the movement is read off a similarity fitted to
dense flow (`curate.flow`). A camera that drives forward and one that zooms in look alike to it: both are tagged `zoom in`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.flow import FlowRow
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
        steady: camera speed (and zoom, roll in 1/s) under which the camera counts as standing.
    """

    min_active: float = 0.1
    max_shake: float = 0.12
    moving: float = 0.01
    stirring: float = 3.0
    steady: float = 0.012


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
        v = np.array([(r.x, r.y) for r in rows])
        shake = jitter(v)
        scores = {
            "motion": float(np.mean([r.peak for r in rows])),
            "active": active,
            "objects": float(np.mean([r.objects for r in rows])),
            "camera_speed": float(np.hypot(*v.mean(0))),
            "camera_zoom": float(np.mean([r.zoom for r in rows])),
            "camera_roll": float(np.mean([r.roll for r in rows])),
            "shake": shake,
        }
        return noted(
            clip,
            scores,
            {"camera": camera_of(rows, shake, c)},
            below("motion", active, c.min_active, "static: almost nothing moves")
            + above("motion", shake, c.max_shake, "the camera shakes"),
        )


def _largest(values: np.ndarray, times: np.ndarray, start: float, end: float) -> float:
    inside = values[(times > start - 1e-6) & (times <= end + 1e-6)]
    return float(inside.max()) if len(inside) else 0.0


def jitter(v: np.ndarray) -> float:
    """Mean distance of the camera's velocity `n 2` from its own running mean of five, widths a second; 0 for fewer than four rows."""
    if len(v) < 4:
        return 0.0
    wide = np.pad(v, ((2, 2), (0, 0)), mode="reflect")
    smooth = np.mean([wide[k : k + len(v)] for k in range(5)], axis=0)
    return float(np.hypot(*(v - smooth).T).mean())


def camera_of(rows: list[FlowRow], shake: float, c: MotionConfig) -> str:
    """`static`, `pan left|right`, `tilt up|down`, `zoom in|out`, `roll`, `shaky` or `moving` (several at once)."""
    x, y = float(np.mean([r.x for r in rows])), float(np.mean([r.y for r in rows]))
    zoom, roll = float(np.mean([r.zoom for r in rows])), float(np.mean([r.roll for r in rows]))
    if shake > c.max_shake:
        return "shaky"
    # a zoom of 1/s moves the picture's rim by half a width a second: halved, all four are speeds at the rim
    speeds = {
        "pan right" if x < 0 else "pan left": abs(x),  # the camera goes right when its picture goes left
        "tilt up" if y > 0 else "tilt down": abs(y),
        "zoom in" if zoom > 0 else "zoom out": abs(zoom) / 2,
        "roll": abs(roll) / 2,
    }
    (first, top), (_, second) = sorted(speeds.items(), key=lambda kv: -kv[1])[:2]
    if top < c.steady:
        return "static" if shake < c.steady * 2 else "moving"
    return first if top > 1.5 * second else "moving"
