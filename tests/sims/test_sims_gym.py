"""The simulator as a Gymnasium environment."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from armillary.errors import BadInput

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from armillary.sims.gym import SimEnv, halve  # noqa: E402


def test_checker_is_content():
    from gymnasium.utils.env_checker import check_env

    name = "test/SimsTabletop-v0"
    gymnasium.register(name, SimEnv, max_episode_steps=5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            env = gymnasium.make(name, render_mode="rgb_array", size=32)
            check_env(env.unwrapped)
        env.reset(seed=0)
        assert [env.step(env.action_space.sample())[3] for _ in range(5)] == [False] * 4 + [True]
    finally:
        gymnasium.registry.pop(name)


def test_observation_is_the_fine_picture_averaged_and_info_tells_the_truth():
    env = SimEnv(size=32, render_mode="rgb_array")
    picture, info = env.reset(seed=3)
    fine = env.sim.render(("front",), 64)["front"].astype(float)
    assert np.abs(picture - fine.reshape(32, 2, 32, 2, 3).mean((1, 3))).max() <= 0.5
    assert env.render().shape == (128, 128, 3)
    assert info["instruction"] == env.sim.instruction and not info["success"]
    _, reward, terminated, truncated, info = env.step(np.array([0.5, 0.0], np.float32))
    assert isinstance(reward, float) and terminated == info["success"] and truncated is False
    assert info["truth"]["object_px"].max() < 40  # in pixels of the observation


def test_options():
    env = SimEnv(size=16)
    first, _ = env.reset(seed=5)
    same, info = env.reset(seed=3, options={"seed_offset": 2, "instruction_variant": 1})
    assert (first == same).all() and info["instruction"] == env.sim.instructions[1]
    a, _ = env.reset(seed=1)
    b, _ = env.reset()  # goes on from the environment's own generator
    c, _ = env.reset(seed=1)
    d, _ = env.reset()
    assert (a == c).all() and (b == d).all() and (a != b).any()
    with pytest.raises(BadInput, match="seed_offset and instruction_variant"):
        env.reset(seed=0, options={"difficulty": 3})
    for bad in ({"camera": "roof"}, {"size": 2}, {"render_mode": "human"}, {"sim": "tabletopp"}):
        with pytest.raises(BadInput):
            SimEnv(**bad)


def test_halve_rounds():
    x = np.zeros((2, 2, 3), np.uint8)
    x[0, 0] = 2
    assert (halve(x) == 1).all() and halve(np.full((3, 4, 4, 3), 255, np.uint8)).min() == 255
