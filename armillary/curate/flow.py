"""Camera and object motion between two grey pictures: dense flow, and the similarity that explains most of it.

The flow is DIS (Kroeger et al., 2016; OpenCV), started from the shift that phase correlation finds, so that a fast pan is not lost. A
camera that pans, tilts, rolls or zooms moves every point by a similarity, `u = tx + s x - r y`, `v = ty + r x + s y` about the centre;
it is fitted by trying many pairs of points and then by reweighted least squares, so that what moves by itself does not pull on it. What
is left over is the motion of things.

A point on a straight edge says only how it moves across the edge (the aperture problem): each point counts by its structure tensor, so
that stripes along a pan do not vote for standing still. Two more things are read off: how much of the picture's rim stands still, which a
moving camera leaves no room for, and how unevenly the picture grows, which tells a camera that drives forward from one that zooms.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from armillary.errors import require

BARE = 3.0  # mean squared slope, 8-bit steps a pixel, under which a point carries no information
GUESSES = 48  # similarities through two points that are tried
CELLS = 6  # the picture is divided into as many rows and columns where its growth is mapped
UNKNOWN = np.full(CELLS * CELLS, np.nan, np.float32)
HALT = 0.45  # pixels a pair under which a point stands still


@dataclass(frozen=True)
class FlowRow:
    """One pair of pictures. Lengths are shares of the picture's longer side, angles radians, all a second.

    Args:
        time: of the later picture; seconds between the two is already divided out.
        x, y: how the picture's content moves (right, down). zoom: its growth. roll: its turn, clockwise as seen.
        objects: mean length of what the similarity leaves over. peak: 95th percentile of all motion.
        explained: share of points within a pixel of the similarity.
        still: share of the textured points near the rim that stand still.
        parallax: how far apart the middle two thirds of the points' own growth lie, in the unit of `zoom`; 0 for a lens that zooms.
        growth: the median of the points' own growth in each cell of `CELLS` x `CELLS`, row by row, in the unit of `zoom`, float32; NaN in a
            cell that knows too little.
    """

    time: float
    x: float
    y: float
    zoom: float
    roll: float
    objects: float
    peak: float
    explained: float
    still: float = 0.0
    parallax: float = 0.0
    growth: np.ndarray = field(default_factory=lambda: UNKNOWN, compare=False)


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
        start = np.empty((*grey.shape, 2), np.float32)
        start[:] = shift(before[1], grey)
        flow = self.engine.calc(before[1], grey, start)
        return summarise(flow, time, time - before[0], before[1])


def shift(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far (right, down; pixels) `b` as a whole lies from `a` by phase correlation; (0, 0) unless that explains `b` better."""
    cv2 = require("cv2", "optical flow")
    h, w = (max(8, s // 4) for s in a.shape)
    p, q = (cv2.resize(g, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) for g in (a, b))
    (dx, dy), _ = cv2.phaseCorrelate(p, q, _window(h, w))
    i, j = round(dy), round(dx)
    if max(abs(i), abs(j)) < 2 or abs(i) > h // 2 or abs(j) > w // 2:
        return 0.0, 0.0
    moved = np.abs(
        q[max(0, i) : h + min(0, i), max(0, j) : w + min(0, j)] - p[max(0, -i) : h - max(0, i), max(0, -j) : w - max(0, j)]
    )
    if moved.mean() > 0.7 * np.abs(q - p).mean():
        return 0.0, 0.0
    return dx * a.shape[1] / w, dy * a.shape[0] / h


@functools.lru_cache(maxsize=8)
def _window(h: int, w: int) -> np.ndarray:
    return np.outer(np.hanning(h), np.hanning(w)).astype(np.float32)


def summarise(flow: np.ndarray, time: float, seconds: float, grey: np.ndarray) -> FlowRow:
    """Fit the similarity to a flow field `h w 2` (pixels) and word the rest as a `FlowRow`.

    Points on bare surfaces carry no information; they are left out of the fit when enough textured ones remain.
    """
    h, w = flow.shape[:2]
    step = max(4, max(h, w) // 32)
    grid = (slice(step // 2, None, step), slice(step // 2, None, step))
    picked = np.ascontiguousarray(flow[grid]).astype(np.float64)
    tensor = _tensor(grey, grid)
    y, x = (a.ravel() * step + step // 2 for a in np.indices(picked.shape[:2]))
    x, y, u, v = x - w / 2, y - h / 2, picked[..., 0].ravel(), picked[..., 1].ravel()
    known = tensor[0] + tensor[2] > BARE
    if known.sum() < 24:
        known, tensor = np.ones(len(u), bool), np.ones((3, len(u)))
        tensor[1] = 0.0
    x, y, u, v, tensor = x[known], y[known], u[known], v[known], tensor[:, known]
    rough = tensor[0] + tensor[2]
    tensor = tensor * (2.0 / (rough + BARE))
    tx, ty, s, r = _similarity(x, y, u, v, tensor)
    du, dv = u - (tx + s * x - r * y), v - (ty + r * x + s * y)
    left, length = np.hypot(du, dv), np.hypot(u, v)
    scale = 1.0 / (max(h, w) * seconds)
    at, own = _growth(x, y, du, dv, s, tensor, 0.15 * max(h, w))
    low, high = _middle(own, 0.15, 0.85) if len(own) >= 24 else (0.0, 0.0)
    return FlowRow(
        time=time,
        x=tx * scale,
        y=ty * scale,
        zoom=s / seconds,
        roll=r / seconds,
        objects=float(left.mean()) * scale,
        peak=_middle(length, 0.95)[0] * scale,
        explained=float((left < 1.0).mean()),
        still=_still(x / w, y / h, length, tensor),
        parallax=(high - low) / seconds,
        growth=_cells(x[at] / w, y[at] / h, own / seconds) if len(own) >= 24 else UNKNOWN,
    )


def _still(x: np.ndarray, y: np.ndarray, length: np.ndarray, tensor: np.ndarray) -> float:
    """Share of the points near the rim (`x`, `y` in [-0.5, 0.5]) that stand still, of those with slopes in both directions.

    The least of the two halves and of top and bottom is not asked for: a thing may fill one side. The corners of a zoom or a roll move.
    """
    both = tensor[0] * tensor[2] - tensor[1] ** 2 > 0.15  # 1 for a corner, 0 for a straight edge
    rim = both & ((np.abs(x) > 0.28) | (np.abs(y) > 0.28))
    return float((length[rim] < HALT).mean()) if rim.sum() >= 12 else 0.0


def _growth(
    x: np.ndarray, y: np.ndarray, du: np.ndarray, dv: np.ndarray, s: float, tensor: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which points know their growth about the centre, and that growth. Only points `least` pixels or more away do.

    What is left over by the similarity (`du`, `dv`) has to point to the centre or away from it: depth does that, things that move by
    themselves seldom do. Of a point on an edge the growth is known only when the edge lies across the way to the centre.
    """
    away = x * x + y * y
    along = (tensor[0] * x * x + 2 * tensor[1] * x * y + tensor[2] * y * y) / np.maximum(away, 1e-6)
    out, aside = (du * x + dv * y), np.abs(dv * x - du * y)
    good = np.flatnonzero((away > least * least) & (along > 0.5) & (aside < np.maximum(np.sqrt(away), 0.35 * np.abs(out))))
    return good, s + out[good] / away[good]


def _cells(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Medians of `values` in the cells of the picture, whose points lie at `x`, `y` in [-0.5, 0.5]; NaN for under three values."""
    column, row = (np.clip(((p + 0.5) * CELLS).astype(np.int64), 0, CELLS - 1) for p in (x, y))
    cell = row * CELLS + column
    ordered = values[np.lexsort((values, cell))]
    count = np.bincount(cell, minlength=CELLS * CELLS)
    middle = np.minimum(np.cumsum(count) - count + count // 2, len(ordered) - 1)
    return np.where(count >= 3, ordered[middle], np.nan).astype(np.float32)


def _tensor(grey: np.ndarray, grid: tuple[slice, slice]) -> np.ndarray:
    """Structure tensor (xx, xy, yy) at the points of a grid: mean products of slopes over 9x9 pixels, float64 `3 n`."""
    cv2 = require("cv2", "optical flow")
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    parts = (across * across, across * down, down * down)
    return np.stack([cv2.blur(p, (9, 9))[grid].ravel() for p in parts]).astype(np.float64)


def _middle(values: np.ndarray, *shares: float) -> list[float]:
    """Order statistics, without `np.percentile`'s overhead: two thirds of the time on a few hundred numbers."""
    at = [min(len(values) - 1, int(share * len(values))) for share in shares]
    ordered = np.partition(values, at)
    return [float(ordered[i]) for i in at]


def _similarity(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, tensor: np.ndarray) -> tuple[float, ...]:
    """(tx, ty, scale - 1, rotation): the best of many guesses from two points each, then least squares with Cauchy weights from there."""
    xx, xy, yy = tensor
    size = max(1.0, float(np.abs(x).max()), float(np.abs(y).max()))
    x, y = x / size, y / size
    zero, one = np.zeros_like(x), np.ones_like(x)
    a, b = np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)
    near = 1.0 + 0.05 * _middle(np.hypot(u, v), 0.5)[0]
    guesses = _guesses(x, y, u, v, xx * yy - xy * xy > 0.15)
    some = slice(None, None, 2)  # to choose between guesses
    du, dv = guesses @ a[some].T - u[some], guesses @ b[some].T - v[some]
    fits = 1.0 / (1.0 + (xx[some] * du * du + 2 * xy[some] * du * dv + yy[some] * dv * dv) / (near * near))
    p = guesses[int(fits.sum(1).argmax())]
    for _turn in range(5):
        du, dv = a @ p - u, b @ p - v
        off = np.maximum(xx * du * du + 2 * xy * du * dv + yy * dv * dv, 0.0)
        weight = 1.0 / (1.0 + off / (near * near)) ** 2
        wxx, wxy, wyy = weight * xx, weight * xy, weight * yy
        left, right = wxx[:, None] * a + wxy[:, None] * b, wxy[:, None] * a + wyy[:, None] * b
        before, p = p, np.linalg.solve(a.T @ left + b.T @ right + 1e-6 * np.eye(4), left.T @ u + right.T @ v)
        if np.abs(p - before).max() < 0.02:
            break
    return float(p[0]), float(p[1]), float(p[2] / size), float(p[3] / size)


@functools.lru_cache(maxsize=64)
def _pairs(n: int) -> np.ndarray:
    """Indices of pairs out of `n`, int64 `2 k`, the same each time."""
    return np.random.default_rng(n).integers(0, n, (2, 4 * GUESSES))


def _guesses(x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Similarities `k 4` (tx, ty, s, r): standing still, the median shift, and those through two points that lie apart."""
    out = [[0.0] * 4, [_middle(u, 0.5)[0], _middle(v, 0.5)[0], 0.0, 0.0]]
    usable = np.flatnonzero(corner)
    if len(usable) < 12:
        return np.array(out)
    i, j = usable[_pairs(len(usable))]
    dx, dy = x[j] - x[i], y[j] - y[i]
    away = dx * dx + dy * dy
    apart = np.flatnonzero(away > 0.15)[:GUESSES]
    i, j, dx, dy, away = i[apart], j[apart], dx[apart], dy[apart], away[apart]
    du, dv = u[j] - u[i], v[j] - v[i]
    s, r = (du * dx + dv * dy) / away, (dv * dx - du * dy) / away
    mx, my = (x[i] + x[j]) / 2, (y[i] + y[j]) / 2
    tx, ty = (u[i] + u[j]) / 2 - s * mx + r * my, (v[i] + v[j]) / 2 - r * mx - s * my
    return np.concatenate([np.array(out), np.stack([tx, ty, s, r], 1)])
