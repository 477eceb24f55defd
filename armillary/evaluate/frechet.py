"""Fréchet distance between two sets of vectors: rFID of pictures, rFVD of clips (arXiv 1706.08500, 1812.01717).

|mean a - mean b|^2 + tr(A + B - 2 (A B)^1/2) for covariances A and B. With X and Y the centred rows, tr (A B)^1/2 is the sum of the
singular values of X Y^T over the root of the two counts: no matrix root is taken, and nothing of the size of the vectors squared is built.

With fewer clips than a few thousand the value is too high by what chance puts into the covariances. Truth and reconstruction share most of
that, so contenders on the same clips compare; with a value from elsewhere none of these does.
"""

from __future__ import annotations

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate.stats import Estimate

GROUPS = 40


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Distance between the rows of two float arrays `n d`, at least two rows each.

    Raises:
        BadInput: other shapes, or values that are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise BadInput(f"A Fréchet distance wants two sets of at least two vectors of one length; got {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadInput("A Fréchet distance wants finite vectors.")
    mean_a, mean_b = a.mean(0), b.mean(0)
    x, y = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    spread = (x**2).sum() + (y**2).sum()
    x, y = (np.asarray(np.linalg.qr(z, mode="r")) if len(z) > z.shape[1] else z for z in (x, y))  # their triangles are smaller
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, ((mean_a - mean_b) ** 2).sum() + spread - 2 * shared))


def frechet_estimate(a: np.ndarray, b: np.ndarray, clips: np.ndarray | None = None) -> Estimate:
    """The distance with a 95 % interval by the jackknife: groups of clips left out in turn, from truth and reconstruction together.

    (A bootstrap draws clips twice, which a covariance of few clips mistakes for less spread.)

    Args:
        clips: which clip each row of both sets is of; every row its own when absent. `n` counts clips; all is None below three.
    """
    owner = np.arange(len(a)) if clips is None else np.asarray(clips)
    names = np.unique(owner)
    if len(names) < 3:
        return Estimate(mean=None, low=None, high=None, n=len(names))
    whole = frechet(a, b)
    groups = np.array_split(names, min(GROUPS, len(names)))
    left = []
    for group in groups:
        keep = ~np.isin(owner, group)
        left.append(frechet(a[keep], b[keep]))
    g = len(groups)
    error = np.sqrt((g - 1) / g * ((np.array(left) - np.mean(left)) ** 2).sum())
    return Estimate(mean=whole, low=max(0.0, whole - 1.96 * error), high=whole + 1.96 * error, n=len(names))
