"""A room is geometry: poses and depth agree with the pixels, and nobody walks through furniture."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from armillary.errors import BadInput
from armillary.sims import optics
from armillary.sims.rooms import FPS, POLICIES, ROOM, SPEED, TURN, Rooms


def walked(seed, policy="wander", frames=40):
    sim = Rooms(smooth=False)
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    for _ in range(frames):
        sim.step(POLICIES[policy](sim, rng))
    return sim


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_and_its_depth_predict_the_next_view(seed):
    """Points of one view, placed by depth and pose and seen from another pose, have the same colour there wherever they are visible."""
    sim = walked(seed)
    one, first = sim.camera("eye", 96), sim.picture("eye", 96)
    for _ in range(3):
        sim.step(np.array([0.6, 0.2, 0.3]))
    two, second = sim.camera("eye", 96), sim.picture("eye", 96)
    z = first.depth.ravel()
    points = one.pose[:3, 3] + optics.directions(one) * (z / (optics.directions(one) @ one.pose[:3, 2]))[:, None]
    at = optics.project(two, points)
    i, j = np.floor(at[:, 1]), np.floor(at[:, 0])
    inside = np.isfinite(i) & (i >= 0) & (i < 96) & (j >= 0) & (j < 96)
    i, j = i[inside].astype(int), j[inside].astype(int)
    depth = ((points[inside] - two.pose[:3, 3]) @ two.pose[:3, 2]).astype(np.float32)
    visible = np.abs(second.depth[i, j] - depth) < 0.03 * depth
    assert visible.mean() > 0.85
    difference = np.abs(second.rgb[i, j].astype(int) - first.rgb.reshape(-1, 3)[inside].astype(int)).mean(1)[visible]
    assert np.median(difference) < 4
    shuffled = np.abs(second.rgb[i, j].astype(int) - np.roll(first.rgb.reshape(-1, 3)[inside], 500, 0).astype(int)).mean(1)[
        visible
    ]
    assert np.median(difference) < 0.4 * np.median(shuffled)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_nobody_walks_through_things(policy, seed):
    sim = Rooms()
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        before, yaw = sim.place.copy(), sim.yaw
        sim.step(POLICIES[policy](sim, rng))
        assert sim.clear(sim.place, ROOM - 1e-6)
        assert np.hypot(*(sim.place - before)) <= 1.5 * SPEED / FPS
        assert abs((sim.yaw - yaw + np.pi) % (2 * np.pi) - np.pi) <= TURN / FPS + 1e-9
    assert sim.walked > 0.5


def test_commands_mean_what_the_spec_says():
    sim = Rooms()
    sim.reset(3)
    sim.place, sim.blocks = np.zeros(2), np.zeros((0, 4))
    sim.yaw = 0.0
    sim.step(np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(sim.place, (0, SPEED / FPS), atol=1e-9)
    sim.step(np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(sim.place, (SPEED / FPS, SPEED / FPS), atol=1e-9)
    sim.step(np.array([0.0, 0.0, 1.0]))
    assert sim.yaw == pytest.approx(TURN / FPS)
    pose = sim.camera("eye", 32).pose
    assert pose[0, 2] > 0 and abs(pose[2, 0]) < 1e-12  # it looks to the right now, and stands level
    with pytest.raises(BadInput, match="3 finite numbers"):
        sim.step(np.zeros(2))
    with pytest.raises(BadInput, match="no camera"):
        sim.camera("roof", 32)


def test_rooms_differ():
    pictures = []
    for seed in range(4):
        sim = Rooms()
        sim.reset(seed)
        pictures.append(sim.render(("eye",), 48)["eye"].astype(int))
        assert 3 <= len(sim.objects) <= 8 and len({o.colour for o in sim.objects}) == len(sim.objects)
        assert pictures[-1].std() > 12
    assert min(np.abs(a - b).mean() for k, a in enumerate(pictures) for b in pictures[:k]) > 15
