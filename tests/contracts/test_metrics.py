"""Every metric: perfect on the truth itself, worse the worse the guess, one float64 a frame, the same for uint8 and float."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import METRICS, measure


def truth() -> np.ndarray:
    rng = np.random.default_rng(0)
    frames = np.kron(rng.integers(40, 200, size=(1, 8, 8, 3)), np.ones((5, 4, 4, 1))).astype(np.uint8)
    for i in range(5):
        frames[i, 12:20, 4 * i : 4 * i + 8] = (230, 20, 20)
    return frames


def blurred(frames: np.ndarray, times: int) -> np.ndarray:
    x = frames.astype(float)
    for _ in range(times):
        x = (x + np.roll(x, 1, 1) + np.roll(x, -1, 1) + np.roll(x, 1, 2) + np.roll(x, -1, 2)) / 5
    return x.round().astype(np.uint8)


@pytest.mark.parametrize("name", METRICS)
def test_metric(name):
    metric, clean = METRICS[name], truth()
    assert metric.line.endswith(".") and metric.better in ("higher", "lower", "one")
    values = metric.measure(clean, blurred(clean, 1))
    assert values.shape == (5,) and values.dtype == np.float64
    np.testing.assert_allclose(values, metric.measure(clean / 255.0, blurred(clean, 1) / 255.0), rtol=1e-9)
    series = np.array([measure(name, clean, clean), *(measure(name, clean, blurred(clean, n)) for n in (1, 4))])
    assert np.isfinite(series).all()
    badness = {"higher": -series, "lower": series, "one": np.abs(series - 1)}[metric.better]
    assert (np.diff(badness) > 0).all(), f"{name} does not tell a worse guess from a better one: {series}"
    with pytest.raises(BadInput):
        metric.measure(clean, clean[:2])


def test_an_unknown_metric_is_named():
    with pytest.raises(BadInput, match="psnr"):
        measure("psrn", truth(), truth())
