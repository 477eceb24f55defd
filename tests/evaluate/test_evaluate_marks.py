"""A mark of three pixels is found after a blur that takes its colour, and not found where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.evaluate.objects import ColourTracker

GREY, MAGENTA, RED = np.array([150, 150, 155]), np.array([215, 40, 190]), np.array([205, 45, 40])
AT = np.array([20.5, 33.5])


def scene(at=AT, mark: float = 1.0, blur: int = 0) -> np.ndarray:
    """uint8 `h w 3`: a red block, noise, and a mark of 3 x 3 pixels with so much of its colour, blurred so many times."""
    frame = GREY + np.random.default_rng(0).normal(0, 3, (64, 64, 1)) * np.ones(3)
    frame[40:48, 44:54] = RED
    x, y = np.round(np.asarray(at) - 0.5).astype(int)
    frame[y - 1 : y + 2, x - 1 : x + 2] += mark * (MAGENTA - GREY)
    for _ in range(blur):
        p = np.pad(frame, ((1, 1), (1, 1), (0, 0)), mode="edge")
        p = p[:-2] + 2 * p[1:-1] + p[2:]
        frame = (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]) / 16
    return frame.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tracker():
    first = scene()
    points = np.array([[49.0, 44.0], AT])
    return ColourTracker.learn(np.stack([first, first]), points, np.array([80.0, 9.0]), ["block", "tip"], marks=("tip",))


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize("at", [(20.5, 33.5), (9.5, 12.5), (55.5, 20.5)])
def test_it_is_found_where_it_is_and_its_area_outlives_the_blur(tracker, at, blur):
    found = tracker.track(scene(at, blur=blur)[None])
    assert np.linalg.norm(found.position[0, 1] - at) < 0.7
    assert found.area[0, 1] == pytest.approx(9.0, rel=0.35)


def test_where_there_is_none_or_next_to_none_nothing_is_found(tracker):
    for mark in (0.0, 0.1):
        found = tracker.track(scene(mark=mark, blur=1)[None])
        assert found.area[0, 1] == 0 and np.isnan(found.position[0, 1]).all()
        assert found.area[0, 0] > 40  # the block is still there


def test_a_block_of_another_colour_does_not_pass_for_it(tracker):
    lone = scene(mark=0.0)
    lone[10:14, 10:14] = RED  # crumbs of the block's colour, away from it
    assert tracker.track(lone[None]).area[0, 1] == 0
