"""Camera and object motion between two grey pictures: dense flow, and the similarity that explains most of it.

The flow is DIS (Kroeger et al., 2016; OpenCV). A camera that pans, tilts, rolls or zooms moves every point by a similarity,
`u = tx + s x - r y`, `v = ty + r x + s y` about the centre; it is fitted by iteratively reweighted least squares, so that what moves by
itself does not pull on it. What is left over is the motion of things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.errors import require


@dataclass(frozen=True)
class FlowRow:
    """One pair of pictures. Lengths are shares of the picture's width, angles radians, all a second.

    Args:
        time: of the later picture; seconds between the two is already divided out.
        x, y: how the picture's content moves (right, down). zoom: its growth. roll: its turn, clockwise as seen.
        objects: mean length of what the similarity leaves over. peak: 95th percentile of all motion.
        explained: share of points within a pixel of the similarity.
    """

    time: float
    x: float
    y: float
    zoom: float
    roll: float
    objects: float
    peak: float
    explained: float


class Flow:
    """Feeds on grey pictures `h w` in order; gives one `FlowRow` for each but the first."""

    def __init__(self) -> None:
        cv2 = require("cv2", "optical flow")
        self.engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.last: tuple[float, np.ndarray] | None = None

    def forget(self) -> None:
        """Start anew: the next picture is the first of another shot or stretch."""
        self.last = None

    def feed(self, time: float, grey: np.ndarray) -> FlowRow | None:
        before, self.last = self.last, (time, grey)
        if before is None or before[1].shape != grey.shape or time <= before[0]:
            return None
        if min(grey.shape) < 16:
            return None
        flow = self.engine.calc(before[1], grey, np.zeros((*grey.shape, 2), np.float32))
        return summarise(flow, time, time - before[0], before[1])


def summarise(flow: np.ndarray, time: float, seconds: float, grey: np.ndarray) -> FlowRow:
    """Fit the similarity to a flow field `h w 2` (pixels) and word the rest as a `FlowRow`.

    Points on bare surfaces carry no information; they are left out of the fit when enough textured ones remain.
    """
    h, w = flow.shape[:2]
    step = max(4, w // 40)
    ys, xs = np.mgrid[step // 2 : h : step, step // 2 : w : step]
    u, v = flow[ys, xs, 0].ravel().astype(np.float64), flow[ys, xs, 1].ravel().astype(np.float64)
    texture = _texture(grey, ys, xs)
    x, y = (xs.ravel() - w / 2), (ys.ravel() - h / 2)
    known = texture > 2.0
    weight = known.astype(np.float64) if known.sum() >= 24 else np.ones(len(u))
    tx, ty, s, r = _similarity(x, y, u, v, weight)
    du, dv = u - (tx + s * x - r * y), v - (ty + r * x + s * y)
    seen = weight > 0
    left, length = np.hypot(du, dv)[seen], np.hypot(u, v)[seen]
    scale = 1.0 / (w * seconds)
    return FlowRow(
        time=time,
        x=tx * scale,
        y=ty * scale,
        zoom=s / seconds,
        roll=r / seconds,
        objects=float(left.mean()) * scale,
        peak=float(np.percentile(length, 95)) * scale,
        explained=float((left < 1.0).mean()),
    )


def _texture(grey: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    g = grey.astype(np.int16)
    across, down = np.zeros_like(g), np.zeros_like(g)
    across[:, 1:-1] = np.abs(g[:, 2:] - g[:, :-2])
    down[1:-1] = np.abs(g[2:] - g[:-2])
    both = (across + down).astype(np.float32)
    total = np.zeros(ys.shape, np.float32)
    for dy in (-2, 0, 2):
        for dx in (-2, 0, 2):
            total += both[np.clip(ys + dy, 0, g.shape[0] - 1), np.clip(xs + dx, 0, g.shape[1] - 1)]
    return (total / 9).ravel()


def _similarity(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, weight: np.ndarray) -> tuple[float, ...]:
    """(tx, ty, scale - 1, rotation) by least squares with Cauchy weights, from the median shift on."""
    picked = weight > 0
    p = np.array([np.median(u[picked]), np.median(v[picked]), 0.0, 0.0])
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
    target = np.concatenate([u, v])
    for _ in range(8):
        left = rows @ p - target
        off = np.hypot(left[: len(x)], left[len(x) :])
        spread = max(0.25, 1.5 * float(np.median(off[picked])))
        w = weight / (1.0 + (off / spread) ** 2)
        both = np.concatenate([w, w])[:, None]
        p = np.linalg.solve(rows.T @ (both * rows) + 1e-9 * np.eye(4), (rows.T @ (both[:, 0] * target)))
    return tuple(float(q) for q in p)
