"""Inverse kinematics that several arms share."""

from __future__ import annotations

import numpy as np


def elbow_up(dx: float, dy: float, dz: float, link: float) -> tuple[float, float, float]:
    """A turntable and two equal links that hold the wrist at an offset from the shoulder, elbow up.

    Args:
        dx, dy, dz: from the shoulder to the wrist, metres; what is out of reach is aimed at as far as the links go.
        link: length of either, metres.

    Returns:
        the turn about the vertical (0 along +x), the upper link's angle above the horizontal, and the bend at the elbow (negative);
        radians. With a wrist angle of minus the sum of the last two a tool keeps upright.
    """
    r = np.hypot(dx, dy)
    d = min(np.hypot(r, dz), 2 * link * 0.9999)
    lift = np.arctan2(dz, r) + np.arccos(d / (2 * link))
    bend = -np.arccos(d * d / (2 * link * link) - 1.0)
    return float(np.arctan2(dy, dx)), float(lift), float(bend)
