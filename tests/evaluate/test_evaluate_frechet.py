"""The Fréchet distance against its formula, and what its interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate.frechet import frechet, frechet_estimate


def by_formula(a, b):
    """The definition, with the eigenvalues of the product of covariances."""
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(c @ d).real, 0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c) + np.trace(d) - 2 * root


@pytest.mark.parametrize("n, m, d", [(50, 50, 4), (50, 30, 8), (6, 6, 12), (6, 40, 12)])
def test_it_is_the_formula_for_many_and_for_few_rows(n, m, d):
    rng = np.random.default_rng(n + d)
    a, b = rng.normal(size=(n, d)), rng.normal(0.3, 1.5, size=(m, d))
    assert frechet(a, b) == pytest.approx(by_formula(a, b), rel=1e-5, abs=1e-6)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_shift_and_scale_are_what_they_are_for_gaussians():
    x = np.random.default_rng(0).normal(size=(300, 5))
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + 0.5) == pytest.approx(5 * 0.25)
    assert frechet(x, x.mean(0) + 3 * (x - x.mean(0))) == pytest.approx(4 * np.trace(np.cov(x, rowvar=False)))


def test_the_interval_is_of_clips_not_of_frames():
    rng = np.random.default_rng(1)
    clips = np.repeat(np.arange(12), 8)
    a = rng.normal(size=(12, 3))[clips] + 0.05 * rng.normal(size=(96, 3))
    b = a + rng.normal(0.5, 0.5, size=(12, 3))[clips]
    one, frames = frechet_estimate(a, b, clips), frechet_estimate(a, b)
    assert one["n"] == 12 and frames["n"] == 96 and one["mean"] == frames["mean"]
    assert one["low"] <= one["mean"] <= one["high"]
    assert one["high"] - one["low"] > 1.5 * (frames["high"] - frames["low"])
    assert frechet_estimate(a[:2], b[:2])["mean"] is None


def test_what_has_no_distance_is_said():
    x = np.zeros((4, 3))
    for wrong in (x[:1], x[:, :2], x + np.nan):
        with pytest.raises(BadInput):
            frechet(x, wrong)
