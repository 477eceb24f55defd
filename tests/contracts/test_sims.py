"""Every entry of the simulators' tables keeps its contract."""

from __future__ import annotations

import numpy as np
import pytest

from armillary import sims
from armillary.errors import BadInput
from armillary.sims import texture
from armillary.sims.words import facts as words
from armillary.sims.words.read import read

pytest.importorskip("mujoco")

TRUTH = {"object_pose", "object_px", "object_area", "object_full", "object_hidden", "contact", "tip", "tip_px"}


@pytest.mark.parametrize("name", sims.SIMS)
def test_sim(name):
    sim = sims.make(name)
    sim.reset(4)
    assert isinstance(sim, sims.Sim) and sim.name == name and sim.steps == 0
    assert sim.spec.rate == sim.fps and len(sim.spec.low) == len(sim.spec.units) == sim.spec.dim
    assert sim.instruction == sim.instructions[0] and len(set(sim.instructions)) >= 5
    k = len(sim.objects)
    pictures = sim.render(sim.cameras, 32)
    assert list(pictures) == list(sim.cameras)
    for camera in sim.cameras:
        assert pictures[camera].shape == (32, 32, 3) and pictures[camera].dtype == np.uint8 and pictures[camera].std() > 5
        view = sim.camera(camera, 32)
        rotation = view.pose[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) > 0
    action = np.array(sim.spec.high, np.float32)
    reward, success = sim.step(action)
    assert isinstance(reward, float) and isinstance(success, bool) and sim.steps == 1
    truth = sim.truth(sim.cameras[0], 64)
    assert set(truth) >= TRUTH
    for key in ("object_pose", "object_px", "object_area", "object_full", "object_hidden", "contact"):
        assert len(truth[key]) == k
    assert truth["object_pose"].shape == (k, 7) and truth["contact"].dtype == bool and truth["object_hidden"].dtype == bool
    assert sim.state().shape == (len(sim.state_names),) and sim.state().dtype == np.float32
    assert sim.caption.endswith(".")
    said = read(sim.caption, sim.facts.world).facts  # a caption states what is so, all of it, and nothing else
    assert not words.lost(sim.facts, said) and not words.contradicted(sim.facts, said)


@pytest.mark.parametrize("name", sims.SIMS)
def test_same_seed_and_actions_same_everything(name):
    def run():
        sim = sims.make(name)
        sim.reset(11)
        for action in np.random.default_rng(0).uniform(sim.spec.low, sim.spec.high, (6, sim.spec.dim)):
            sim.step(action)
        return sim.render(sim.cameras, 24), sim.state(), sim.truth(), sim.caption

    a, b = run(), run()
    assert all((a[0][c] == b[0][c]).all() for c in a[0])
    assert (a[1] == b[1]).all() and a[3] == b[3]
    assert all(np.array_equal(a[2][k], b[2][k], equal_nan=True) for k in a[2])


@pytest.mark.parametrize(("world", "name"), [(w, n) for w in sims.SIMS for n in sims.make(w).policies])
def test_policy(name, world):
    sim = sims.make(world)
    actions = []
    for _ in range(2):
        sim.reset(2)
        rng = np.random.default_rng(5)
        episode = []
        for _ in range(12):
            episode.append(sim.policies[name](sim, rng))
            sim.step(episode[-1])
        actions.append(np.stack(episode))
    assert (actions[0] == actions[1]).all()  # nothing is carried over a reset
    assert actions[0].dtype == np.float32 and actions[0].shape == (12, sim.spec.dim)
    assert (actions[0] >= sim.spec.low).all() and (actions[0] <= sim.spec.high).all()
    assert actions[0].std() > 0.05 or sim.spec.low == sim.spec.high  # a world in which there is nothing to do


@pytest.mark.parametrize("name", texture.TEXTURES)
def test_texture_is_bounded_and_repeats(name):
    u, v = np.random.default_rng(0).uniform(-2, 2, (2, 500))
    grey = texture.sample(name, u, v)
    assert np.abs(grey).max() <= 1.2
    assert np.allclose(grey, texture.sample(name, u + 1, v - 3), atol=1e-4)


def test_unknown_names_are_worded():
    with pytest.raises(BadInput, match="Did you mean 'tabletop'"):
        sims.make("tabeltop")
    with pytest.raises(BadInput, match="does not take"):
        sims.make("tabletop", colour="pink")
