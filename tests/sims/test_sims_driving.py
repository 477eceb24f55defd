"""A car that steers by the book, traffic that keeps its distance, and six views of one world."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from armillary.errors import BadInput
from armillary.sims import optics, street
from armillary.sims.driving import ACCEL, BRAKE, FPS, HORIZON, MOUNTS, POLICIES, STEER, WHEELBASE, Driving, trajectory
from armillary.sims.words.facts import Thing
from armillary.sims.words.read import read


def driven(seed, policy="cruise", frames=40):
    sim = Driving(smooth=False)
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    for _ in range(frames):
        sim.step(POLICIES[policy](sim, rng))
    return sim


def test_a_steady_wheel_makes_a_circle():
    """Radius of the rear axle's path: wheelbase over the tangent of the steering angle."""
    sim = Driving()
    sim.reset(1)
    sim.speed = 5.0
    for _ in range(8):
        sim.step(np.array([0.5, 0.0]))
    path = []
    for _ in range(30):
        sim.step(np.array([0.5, 0.0]))
        path.append(sim.ego[:2].copy())
    p = np.array(path)
    a = np.c_[2 * p, np.ones(len(p))]
    x, y, c = np.linalg.lstsq(a, (p * p).sum(1), rcond=None)[0]
    assert np.sqrt(c + x * x + y * y) == pytest.approx(WHEELBASE / np.tan(0.5 * STEER), rel=1e-3)


def test_pedals_mean_what_the_spec_says():
    sim = Driving()
    sim.reset(2)
    sim.speed = 5.0
    sim.step(np.array([0.0, 1.0]))
    assert sim.speed == pytest.approx(5.0 + ACCEL / FPS)
    sim.step(np.array([0.0, -0.5]))
    assert sim.speed == pytest.approx(5.0 + ACCEL / FPS - 0.5 * BRAKE / FPS)
    for _ in range(20):
        sim.step(np.array([0.0, -1.0]))
    assert sim.speed == 0.0
    with pytest.raises(BadInput, match="2 finite numbers"):
        sim.step(np.zeros(3))
    with pytest.raises(BadInput, match="no camera"):
        sim.camera("roof", 32)


@pytest.mark.parametrize("seed", range(6))
def test_who_cruises_keeps_the_lane_and_touches_nobody(seed):
    sim = Driving()
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    for _ in range(80):
        reward, solved = sim.step(POLICIES["cruise"](sim, rng))
        assert abs(sim.offset() - sim.lane * street.LANE / 2) < 1.3
        assert not sim.hit.any() and not solved and reward >= 0
    assert sim.driven > 10


@pytest.mark.parametrize("seed", range(6))
def test_the_others_never_run_into_each_other(seed):
    rng = np.random.default_rng(seed)
    rows = street.traffic(rng, 6, 30.0)
    for _ in range(400):
        rows = street.advance(rows, 0.05, (30.0, -1.8, 0.0))
        for side in (-1.0, 1.0):
            s = np.sort(rows[rows[:, 1] == side, 0])
            assert (np.diff(s) > 4.3).all()


def test_six_views_are_one_world():
    """A point that two neighbouring cameras see has one colour: the front's picture, lifted by its depth, is found in the left's."""
    sim = driven(3)
    one, two = sim.camera("front", 128), sim.camera("left", 128)
    first, second = sim.picture("front", 128), sim.picture("left", 128)
    rays = optics.directions(one)
    z = first.depth.ravel()
    near = np.isfinite(z) & (z < 40)
    points = one.pose[:3, 3] + (rays * (z / (rays @ one.pose[:3, 2]))[:, None])[near]
    at = optics.project(two, points)
    inside = np.isfinite(at[:, 0]) & (at >= 0).all(1) & (at < 128).all(1)
    assert inside.sum() > 60
    i, j = at[inside, 1].astype(int), at[inside, 0].astype(int)
    depth = (points[inside] - two.pose[:3, 3]) @ two.pose[:3, 2]
    same = np.abs(second.depth[i, j] - depth) < 0.05 * depth
    assert same.mean() > 0.7
    colour = np.abs(second.rgb[i, j].astype(int) - first.rgb.reshape(-1, 3)[near][inside].astype(int)).mean(1)[same]
    assert np.median(colour) < 8
    assert set(MOUNTS) == {"front", "left", "right", "rear", "rear_left", "rear_right"}


def test_captions_name_what_each_view_shows():
    sim = driven(0)
    for name, said in sim.captions.items():
        counted = sim.owner[sim.rays.segment(sim.camera(name, 96))]
        for k, thing in enumerate(sim.objects):
            there = Thing(thing.colour, thing.shape) in read(said, "driving").facts.things
            if (counted == k).sum() > 250:
                assert there
            if not (counted == k).any():
                assert not there


def test_a_trajectory_is_the_way_ahead():
    t = np.arange(100) / FPS
    straight = np.c_[3 + 8 * t * np.cos(0.7), 1 + 8 * t * np.sin(0.7), np.full(100, 0.7), np.full(100, 8.0)]
    way = trajectory(straight, 10)
    assert way.shape == (HORIZON, 3)
    np.testing.assert_allclose(way[:, 0], 0.8 * np.arange(1, HORIZON + 1), atol=1e-4)
    np.testing.assert_allclose(way[:, 1:], 0, atol=1e-5)
    np.testing.assert_allclose(trajectory(straight, 95)[-1], (0.8 * 4, 0, 0), atol=1e-4)
    bend = np.c_[10 * np.sin(t), 10 * (1 - np.cos(t)), t, np.full(100, 10.0)]
    assert trajectory(bend, 0)[14, 1] > 5  # a bend to the left goes to +y


def test_streets_differ():
    said = set()
    for seed in range(30):
        sim = Driving()
        sim.reset(seed)
        said.add(sim.street.said)
        assert 3 <= len(sim.objects) <= 6
    assert len(said) > 10
