"""Intervals that cover what they should, and that admit how little few counts say."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate.stats import estimate, estimate_ratio, median, share, wilson


def test_estimate_leaves_out_what_is_not_finite():
    made = estimate([1.0, 3.0, np.nan, np.inf])
    assert made["mean"] == 2.0 and made["n"] == 2 and made["low"] <= 2.0 <= made["high"]
    assert estimate([np.nan])["mean"] is None


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        made = estimate(rng.normal(5.0, 2.0, size=30))
        hits += made["low"] <= 5.0 <= made["high"]
    assert 0.88 <= hits / 200 <= 0.99


def test_interval_is_a_function_of_the_values():
    values = np.random.default_rng(1).normal(size=20)
    assert estimate(values) == estimate(values)


def test_ratio_with_a_floor_is_defined_for_a_silent_denominator():
    assert estimate_ratio([5.0, 5.0], [0.0, 0.0], floor=0.1)["mean"] == pytest.approx(50.0)
    assert estimate_ratio([5.0, 5.0], [0.0, 0.0])["mean"] is None
    with pytest.raises(BadInput):
        estimate_ratio([1.0], [1.0, 2.0])


def test_few_unanimous_counts_do_not_make_certainty():
    made = share([0, 0, 0], [2, 2, 1])
    assert made["mean"] == 0.0 and made["n"] == 5 and made["high"] > 0.4
    assert wilson(50, 100)[0] == pytest.approx(0.4038, abs=1e-3)  # the textbook value
    assert share([0], [0])["mean"] is None


def test_correlated_episodes_widen_a_share():
    together = share([10, 0] * 5, [10] * 10)
    spread = share([5] * 10, [10] * 10)
    assert together["high"] - together["low"] > 1.5 * (spread["high"] - spread["low"])


def test_median_of_nothing_is_nothing():
    assert median([np.nan]) is None and median([3.0, 1.0, np.nan]) == 2.0
