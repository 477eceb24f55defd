"""Do two pictures of one scene agree about it? The Sampson error of points that were matched between them, under cameras that are known.

A point seen at `x` in one picture lies in the other on a line, `F x`, that the two cameras alone decide. The Sampson error is to first
order how far, in pixels, a matched pair is from some pair that obeys the cameras. Points are matched by OpenCV's corners and pyramidal
Lucas-Kanade, there and back again. Neighbouring cameras share a narrow strip that each sees from a side: both pictures are first turned
(as if all were infinitely far) to one virtual camera that looks at the middle of the strip.

Published (spec sections 6.3 and 7.1): SuperPoint, LightGlue and a fundamental matrix fitted to the matches. Here cameras are exact, so
that a motion other than the one that was driven counts as an error too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from armillary.errors import require
from armillary.types import Camera

SCALE = 4  # pictures are made so much larger before points are matched
CORNERS, QUALITY, APART = 150, 0.01, 6  # of `goodFeaturesToTrack`, in pixels of the larger picture
WINDOW, LEVELS = 21, 3
BACK = 1.0  # of a larger pixel: how near a point must come to where it began, tracked there and back
NARROW = 12  # pixels of the larger picture: a strip not as wide is none


class Matches(NamedTuple):
    """Where points are in two pictures, float64 `n 2` each: (right, down) in pixels, the centre of the first one at (0.5, 0.5)."""

    first: np.ndarray
    second: np.ndarray


def fundamental(first: Camera, second: Camera) -> np.ndarray:
    """3x3 `F` with `x2ᵀ F x1 = 0` for what both see, points as (right, down, 1). Cameras of one moment each."""
    back = np.linalg.inv(second.pose) @ first.pose  # first's axes to second's
    turn, (x, y, z) = back[:3, :3], back[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.linalg.inv(second.intrinsics).T @ cross @ turn @ np.linalg.inv(first.intrinsics)


def sampson(matrix: np.ndarray, matches: Matches) -> np.ndarray:
    """Sampson error of each match in pixels (the root of the squared form), float64 `n`."""
    a, b = (np.concatenate([x, np.ones((len(x), 1))], axis=1) for x in matches)
    forth, back = a @ matrix.T, b @ matrix
    below = (forth[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)
    return np.abs((b * forth).sum(1)) / np.sqrt(np.maximum(below, 1e-18))


def by_depth(
    first: Camera, depth: np.ndarray, second: Camera, other: np.ndarray, every: int = 3, still: np.ndarray | None = None
) -> Matches:
    """Exact matches: what stands at each `every`-th pixel of the first picture, where the second sees it too.

    Args:
        depth, other: metres along the optical axis, `h w`, of the two. still: bool `h w`, pixels to take, all without.
    """
    rows, columns = (g.ravel() for g in np.mgrid[every // 2 : first.height : every, every // 2 : first.width : every])
    far = depth[rows, columns]
    keep = np.isfinite(far) & (True if still is None else still[rows, columns])
    x = np.stack([columns + 0.5, rows + 0.5], axis=1)[keep]
    rays = np.concatenate([x, np.ones((len(x), 1))], axis=1) @ np.linalg.inv(first.intrinsics).T
    there = (np.linalg.inv(second.pose) @ first.pose) @ np.concatenate([rays * far[keep, None], np.ones((len(x), 1))], axis=1).T
    there = there[:3].T
    shown = there @ second.intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        y = shown[:, :2] / shown[:, 2:]
    inside = (there[:, 2] > 0.1) & (y >= 0).all(1) & (y[:, 0] < second.width) & (y[:, 1] < second.height)
    column, row = (y[inside, i].astype(int) for i in (0, 1))
    same = np.abs(other[row, column] - there[inside, 2]) < 0.05 * there[inside, 2]
    return Matches(x[inside][same], y[inside][same])


def _grey(picture: np.ndarray, scale: int) -> np.ndarray:
    cv2 = require("cv2", "matching points")
    h, w = picture.shape[:2]
    large = cv2.resize(picture, (w * scale, h * scale), interpolation=cv2.INTER_CUBIC) if scale > 1 else picture
    return cv2.cvtColor(np.ascontiguousarray(large), cv2.COLOR_RGB2GRAY)


def _tracked(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> Matches:
    """Corners of grey `a`, found again in `b`, in places counted from the centre of the first pixel."""
    cv2 = require("cv2", "matching points")
    none = np.zeros((0, 2))
    corners = cv2.goodFeaturesToTrack(a, CORNERS, QUALITY, APART, mask=mask)
    if corners is None:
        return Matches(none, none)
    how = {"winSize": (WINDOW, WINDOW), "maxLevel": LEVELS}
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None, **how)
    again, kept, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None, **how)
    good = (found.ravel() > 0) & (kept.ravel() > 0) & (np.linalg.norm((again - corners)[:, 0], axis=1) < BACK)
    first, second = corners[good, 0].astype(np.float64), there[good, 0].astype(np.float64)
    if mask is not None and len(second):
        column, row = (np.clip(np.rint(second[:, i]).astype(int), 0, mask.shape[1 - i] - 1) for i in (0, 1))
        inside = mask[row, column] > 0
        first, second = first[inside], second[inside]
    return Matches(first, second)


def track(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> Matches:
    """Points matched between two pictures uint8 `h w 3` of one camera, moments apart; `mask`: of the larger picture, 255 to look there."""
    found = _tracked(_grey(first, SCALE), _grey(second, SCALE), mask)
    return Matches(*((x + 0.5) / SCALE for x in found))


@dataclass(frozen=True)
class Strip:
    """What two cameras on one body both see, as a virtual camera between them would.

    Args:
        size: width and height in pixels.
        to_first, to_second: 3x3, its places (counted from the first pixel's centre) to those of a picture.
        mask: uint8 `h w`, 255 where both pictures have something.
    """

    size: tuple[int, int]
    to_first: np.ndarray
    to_second: np.ndarray
    mask: np.ndarray

    def pair(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both pictures uint8 `h w 3` as the virtual camera's, grey."""
        cv2 = require("cv2", "matching points")
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        a, b = (cv2.warpPerspective(p, h, self.size, flags=how) for p, h in ((first, self.to_first), (second, self.to_second)))
        return _grey(a, 1), _grey(b, 1)

    def match(self, first: np.ndarray, second: np.ndarray) -> Matches:
        """Points of two pictures uint8 `h w 3`, matched in the strip, in pixels of the pictures."""
        found = _tracked(*self.pair(first, second), self.mask)
        return Matches(*(_moved(h, x) + 0.5 for x, h in zip(found, (self.to_first, self.to_second))))

    def agreement(self, first: np.ndarray, second: np.ndarray) -> float:
        """Correlation of the two pictures over the strip, in [-1, 1]; NaN where one of them is flat there."""
        a, b = (x[self.mask > 0].astype(np.float64) for x in self.pair(first, second))
        a, b = a - a.mean(), b - b.mean()
        below = np.sqrt((a * a).sum() * (b * b).sum())
        return float((a * b).sum() / below) if below > 1e-6 * len(a) else float("nan")


def strip(first: Camera, second: Camera) -> Strip | None:
    """What both cameras (of one moment) see of things far away; None where that is too little to match points in."""
    cv2 = require("cv2", "matching points")
    turn = second.pose[:3, :3].T @ first.pose[:3, :3]
    rows, columns = (g.ravel() for g in np.mgrid[0 : first.height, 0 : first.width])
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1) @ np.linalg.inv(first.intrinsics).T
    there = rays @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (there @ second.intrinsics.T)[:, :2] / there[:, 2:]
    both = (there[:, 2] > 1e-3) & (at >= 0).all(1) & (at[:, 0] < second.width) & (at[:, 1] < second.height)
    if both.sum() < first.height:
        return None
    shared = rays[both] / np.linalg.norm(rays[both], axis=1, keepdims=True)
    ahead = shared.mean(0) / np.linalg.norm(shared.mean(0))
    right = np.cross(np.array([0.0, 1.0, 0.0]), ahead)
    right /= np.linalg.norm(right)
    own = np.stack([right, np.cross(ahead, right), ahead])  # first's axes to the virtual camera's
    seen = shared @ own.T
    flat = SCALE * first.intrinsics[0, 0] * seen[:, :2] / seen[:, 2:]
    low, high = flat.min(0), flat.max(0)
    width, height = (int(v) for v in np.ceil(high - low) + 1)
    if min(width, height) < NARROW or max(width, height) > 4096:
        return None
    focal = SCALE * first.intrinsics[0, 0]
    lens = np.array([[focal, 0.0, -low[0]], [0.0, focal, -low[1]], [0.0, 0.0, 1.0]])
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    back = own.T @ np.linalg.inv(lens) @ half
    maps = [np.linalg.inv(half) @ k @ r @ back for k, r in ((first.intrinsics, np.eye(3)), (second.intrinsics, turn))]
    how = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    masks = [
        cv2.warpPerspective(np.full((c.height, c.width), 255, np.uint8), h, (width, height), flags=how)
        for c, h in zip((first, second), maps)
    ]
    return Strip((width, height), maps[0], maps[1], np.minimum(*masks))


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    there = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return there[:, :2] / there[:, 2:]
