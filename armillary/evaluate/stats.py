"""Means with an interval that says how far to trust them: percentile bootstrap over whole episodes.

Frames of one episode are not independent, and neither are its objects; an episode is what is drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from armillary.errors import BadInput

RESAMPLES = 1000
SEED = 20250


class Estimate(TypedDict):
    """A mean, its 95 % interval, and how many values it is of; all three numbers are None when there are no values."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def _draws(n: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Mean of one value an episode; values that are not finite are left out and not counted."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return Estimate(mean=None, low=None, high=None, n=0)
    means = x[_draws(len(x))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean=float(x.mean()), low=float(low), high=float(high), n=len(x))


def estimate_ratio(above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray, floor: float = 0.0) -> Estimate:
    """Sum of `above` over the sum of `below` (at least `floor` an episode), episodes resampled: a share of counts, or a ratio of means.

    `n` is the number of episodes whose `below` is above zero, or of all when a floor keeps the ratio defined.
    """
    a, b = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise BadInput(f"A ratio wants two lists of one value an episode; got {a.shape} and {b.shape}.")
    keep = np.isfinite(a) & np.isfinite(b) & ((b > 0) | (floor > 0))
    a, b = a[keep], b[keep]
    if not len(a):
        return Estimate(mean=None, low=None, high=None, n=0)
    drawn = _draws(len(a))
    ratios = a[drawn].sum(1) / np.maximum(b[drawn].sum(1), floor * len(a))
    low, high = np.percentile(ratios, [2.5, 97.5])
    mean = a.sum() / max(b.sum(), floor * len(a))
    return Estimate(mean=float(mean), low=float(low), high=float(high), n=len(a))


def wilson(hits: float, n: int) -> tuple[float, float]:
    """95 % score interval of a share; wide where a bootstrap of few or unanimous counts would have no width."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def share(hits: Sequence[float] | np.ndarray, of: Sequence[float] | np.ndarray) -> Estimate:
    """A share of counts with episodes as the unit; the interval is never narrower than Wilson's over the counts themselves.

    The bootstrap alone gives «0 of 5, 0 % to 0 %», which nobody should believe.
    """
    made = estimate_ratio(hits, of)
    total = int(np.nansum(of))
    if made["mean"] is None or made["low"] is None or made["high"] is None:
        return Estimate(mean=None, low=None, high=None, n=0)
    low, high = wilson(float(np.nansum(hits)), total)
    return Estimate(mean=made["mean"], low=min(low, made["low"]), high=max(high, made["high"]), n=total)


def median(values: Sequence[float] | np.ndarray) -> float | None:
    """Median of the finite values, None when there are none."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    return float(np.median(x)) if len(x) else None
