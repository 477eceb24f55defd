"""Mechanics holds: closed forms where there are any, conservation laws, and outcomes that each experiment promises."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from armillary.errors import BadInput
from armillary.sims.experiments import EXPERIMENTS
from armillary.sims.physics import FPS, Physics

G = 9.81
SEEDS = (0, 1, 2)


def run(experiment, seed, frames=60):
    """(simulator, poses `t k 7`, energies `t k 2`) of one run; row 0 is the start."""
    sim = Physics(experiment, smooth=False)
    sim.reset(seed)
    poses, energies = [], []
    for _ in range(frames + 1):
        poses.append(np.concatenate([sim.data.xpos[sim.bodies], sim.data.xquat[sim.bodies]], 1))
        energies.append(sim.energy())
        sim.step(np.zeros(1))
    return sim, np.array(poses), np.array(energies)


def lean(quat):
    """Angle of a body's own z axis from the vertical, radians."""
    _, x, y, _ = np.moveaxis(quat, -1, 0)
    return np.arccos(np.clip(1 - 2 * (x * x + y * y), -1, 1))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_energy_is_never_created(experiment, seed):
    _, poses, energies = run(experiment, seed)
    total = energies.sum((1, 2))
    assert np.isfinite(poses).all()
    assert total.max() <= total[0] * 1.001 + 1e-3
    # A contact that is pressed holds energy which is counted nowhere and gives it back frames later, no more than it took.
    before = np.max([total[k : len(total) - 6 + k] for k in range(4)], axis=0)
    assert (total[6:] <= before + 2e-3 * total[0]).all()
    assert (energies[..., 0] >= 0).all() and (poses[..., 2] > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_falls_follows_the_parabola(seed):
    sim, poses, _ = run("free fall", seed, 9)
    t = np.arange(10) / FPS
    size = max(max(o.size) for o in sim.objects)
    for k in range(len(sim.objects)):
        free = poses[:, k, 2] > size + 0.02
        assert free.sum() >= 6
        np.testing.assert_allclose(poses[free, k, 2], poses[0, k, 2] - 0.5 * G * t[free] ** 2, atol=1e-6)
        np.testing.assert_allclose(poses[free, k, :2], np.broadcast_to(poses[0, k, :2], (free.sum(), 2)), atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_down_the_slope_at_the_acceleration_of_the_book(seed):
    """A block slides with g (sin - mu cos), a ball rolls with 5/7 g sin."""
    sim, poses, _ = run("slope", seed, 12)
    angle, mu = sim.scene.facts["angle"], sim.scene.facts["friction"]
    path = np.linalg.norm(poses[:, 0, :3] - poses[0, 0, :3], axis=1)
    want = 5 / 7 * G * np.sin(angle) if sim.objects[0].shape == "ball" else G * (np.sin(angle) - mu * np.cos(angle))
    t = np.arange(13) / FPS
    got = 2 * (path[12] - path[3]) / (t[12] ** 2 - t[3] ** 2)
    assert got == pytest.approx(want, rel=0.04)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_trough_keeps_its_ball_and_its_period(seed):
    """A ball that rolls without slipping in a trough swings like a pendulum of 7/5 of the length; a wide swing takes longer."""
    sim, poses, _ = run("u slope", seed, 90)
    x = poses[:, 0, 0]
    assert np.abs(x).max() <= abs(x[0]) + 0.01
    crossings = np.flatnonzero(np.diff(np.sign(x)) != 0)
    assert len(crossings) >= 2
    a = abs(sim.scene.facts["angle"])
    slow = 1 + a**2 / 16 + 11 * a**4 / 3072
    half = np.pi * np.sqrt(7 / 5 * sim.scene.facts["radius"] / G) * slow
    assert np.diff(crossings)[0] / FPS == pytest.approx(half, rel=0.08)


@pytest.mark.parametrize("seed", range(8))
def test_stacks_stand_or_come_down(seed):
    _, poses, _ = run("stable stack", seed, 90)
    assert np.linalg.norm(poses[-1, :, :3] - poses[0, :, :3], axis=1).max() < 0.02
    _, poses, _ = run("unstable stack", seed, 90)
    assert np.linalg.norm(poses[-1, :, :3] - poses[0, :, :3], axis=1).max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_every_domino_falls_one_after_the_other(seed):
    sim, poses, _ = run("dominoes", seed, 75)
    slabs = [k for k, o in enumerate(sim.objects) if o.shape == "slab"]
    tilted = lean(poses[:, slabs, 3:])
    assert (tilted[0] < 0.01).all() and (tilted[-1] > 0.6).all()
    first = np.array([np.flatnonzero(tilted[:, k] > 0.3)[0] for k in range(len(slabs))])
    assert (np.diff(first) >= 0).all() and first[-1] > first[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_seesaw_throws_the_light_one_up(seed):
    _, poses, _ = run("seesaw", seed, 40)
    assert poses[:, 1, 2].max() > poses[0, 1, 2] + 0.1
    assert poses[:, 2, 2].argmin() > 3


@pytest.mark.parametrize("seed", range(4))
def test_the_top_precesses_as_fast_as_it_should_and_does_not_fall(seed):
    """Slow precession: torque over spin, `m g l / (I3 w)`."""
    sim, poses, _ = run("gyroscope", seed, 60)
    assert lean(poses[..., 0, 3:]).max() < 0.75
    w, x, y, z = poses[:, 0, 3:].T
    bearing = np.unwrap(np.arctan2(2 * (y * z - w * x), 2 * (x * z + w * y)))
    rate = (bearing[45] - bearing[5]) / 40 * FPS
    body = sim.bodies[0]
    inertia, mass = sim.model.body_inertia[body], float(sim.model.body_mass[body])
    lift = float(sim.model.body_ipos[body][2]) + sim.scene.facts["lift"]
    want = mass * G * lift / (float(inertia.max()) * sim.scene.facts["spin"])
    assert rate == pytest.approx(want, rel=0.2)


def test_masks_count_what_truth_counts():
    sim = Physics("dominoes")
    sim.reset(4)
    truth = sim.truth("left", 64)
    seen = sim.segment("left", 64)
    np.testing.assert_array_equal(truth["object_area"], [(seen == k).sum() for k in range(len(sim.objects))])
    assert (truth["object_full"] >= truth["object_area"]).all() and (truth["object_full"] > truth["object_area"]).any()
    assert truth["object_velocity"].shape == (len(sim.objects), 6) and truth["object_velocity"].any()


def test_each_seed_draws_an_experiment_and_names_are_checked():
    sim, seen = Physics(), set()
    for seed in range(40):
        sim.reset(seed)
        seen.add(sim.experiment)
    assert seen == set(EXPERIMENTS)
    with pytest.raises(BadInput, match="Did you mean 'seesaw'"):
        Physics("sesaw")
    with pytest.raises(BadInput):
        sim.step(np.array([np.nan]))
