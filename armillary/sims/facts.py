"""What a camera shows of things, exactly: the part of `Sim.truth` that every simulator says in the same way."""

from __future__ import annotations

import numpy as np

from armillary.sims import optics
from armillary.sims.raycast import Raycaster
from armillary.types import Camera

HIDDEN = 0.3  # an object that shows less than this share of itself counts as hidden


def shown(
    rays: Raycaster, view: Camera, owner: np.ndarray, pose: np.ndarray, geoms: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`object_pose`, `object_px`, `object_area`, `object_full` and `object_hidden` of `k` things that move (see `Sim.truth`).

    Args:
        owner: which thing a geom belongs to, -1 for none; the last entry answers for geom -1.
        pose: float64 `k 7`.
        geoms: what `rays.segment(view)` says, where it is known already.
    """
    seen = owner[rays.segment(view) if geoms is None else geoms]
    things = range(len(pose))
    area = np.array([int((seen == k).sum()) for k in things], np.int32)
    full = np.array([rays.alone(view, np.flatnonzero(owner[:-1] == k)) for k in things], np.int32)
    return {
        "object_pose": pose,
        "object_px": optics.project(view, pose[:, :3]).astype(np.float32),
        "object_area": area,
        "object_full": full,
        "object_hidden": area < HIDDEN * full,
    }
