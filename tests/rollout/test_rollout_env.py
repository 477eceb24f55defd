"""The dream as a Gymnasium environment: the checker's contract, and the same spaces as its twin."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from armillary.errors import BadInput  # noqa: E402
from armillary.rollout.env import WorldEnv  # noqa: E402


def test_passes_the_checker(tiny):
    env = gymnasium.make("armillary/Tabletop-v0", world=str(tiny["diffusion"]), render_mode="rgb_array").unwrapped
    assert isinstance(env, WorldEnv)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=False)


def test_seed_repeats_and_actions_matter_in_shape(tiny):
    env = WorldEnv(tiny["diffusion"])
    runs = []
    for seed in (5, 5, 6):
        first, _ = env.reset(seed=seed)
        rest = [env.step(np.array([0.5, -0.5], np.float32))[0] for _ in range(3)]
        runs.append(np.stack([first, *rest]))
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    with pytest.raises(BadInput, match="width 2"):
        env.step(np.zeros(3, np.float32))


def test_given_first_frames(tiny, frames):
    env = WorldEnv(tiny["diffusion"], sim=None)
    seen, info = env.reset(seed=0, options={"frames": frames[:3]})
    assert np.array_equal(seen, frames[2]) and info["source"] == "given frames"
    with pytest.raises(BadInput, match="frames"):
        env.reset(seed=0)
    with pytest.raises(BadInput, match="options"):
        env.reset(seed=0, options={"frame": frames})


def test_ids_are_registered_with_the_same_spaces(tiny):
    dream = gymnasium.make("armillary/Tabletop-v0", world=str(tiny["diffusion"]))
    truth = gymnasium.make("armillary/Tabletop-sim-v0")
    assert dream.observation_space == truth.observation_space
    assert dream.action_space == truth.action_space
    for env in (dream, truth):
        env.reset(seed=1)
        seen, _, _, _, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(seen)
        env.close()


def test_a_causal_world_is_stepped_by_what_it_remembers(tiny, frames, spec, tmp_path):
    """Each step goes on from a kept past: the frames are those of one rollout, drawn by the same generator."""
    import dataclasses

    import torch

    from armillary import generate, guard, tokenizers, worlds
    from armillary.presets import override

    held = tokenizers.load(tiny["frame"])
    ref = worlds.TokenizerRef(str(tiny["frame"]), held.sha256, held.temporal, held.spatial, held.config.channels, 0, (64, 64))
    config = override(worlds.WORLDS["dit-nano-causal"], ("network.layers=2", "network.dim=48", "network.window=2", "past=3"))
    torch.manual_seed(0)
    world = worlds.build(config, worlds.Setting(ref, spec, "", 0, 10.0))
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    worlds.save(world, tmp_path / "world")
    env = WorldEnv(tmp_path / "world", sim=None, steps=2)
    env.reset(seed=3, options={"frames": frames[:4]})
    state = env.generator.get_state()
    actions = np.array([[0.5, -0.5], [0.1, 0.9], [-1.0, 0.0], [0.0, 0.2]], np.float32)
    stepped = np.stack([env.step(a)[0] for a in actions])
    dreamer = env.dreamer
    say = dataclasses.replace(dreamer.condition([""]), actions=torch.as_tensor(actions)[None])
    generator = torch.Generator()
    generator.set_state(state)
    whole = dreamer.extend(dreamer.encode(frames[:4]), 4, say, generator, steps=2)
    together = dreamer.decode(whole)
    assert np.abs(stepped.astype(int) - together.astype(int)).max() <= 1  # frames decoded one by one may round otherwise
    made = generate(dreamer, frames=frames[:4], num_frames=12, actions="play", gate=guard.Open(), steps=2)
    long = generate(dreamer, frames=frames[:4], num_frames=12, actions="play", gate=guard.Open(), steps=2, long=True)
    assert np.abs(made.frames.astype(int) - long.frames.astype(int)).max() <= 1


def test_a_camera_is_driven_by_a_joystick(tiny, frames):
    """A world that follows a camera is stepped by two numbers: the frames are those of the path that they stand for."""
    import torch

    from armillary import tokenizers, worlds
    from armillary.conditioning import CameraCondition
    from armillary.rollout.dreamer import Dreamer
    from armillary.rollout.paths import STICKS, resolve_path
    from armillary.rollout.posttrained import adapt

    held = tokenizers.load(tiny["frame"])
    ref = worlds.TokenizerRef(str(tiny["frame"]), held.sha256, held.temporal, held.spatial, held.config.channels, 0, (64, 64))
    torch.manual_seed(0)
    base = worlds.build("unet-nano", worlds.Setting(ref, None, "", 0, 10.0))
    camera = CameraCondition((64, 64), shift=0.1, turn=0.1, lens=(60.0, 60.0, 32.0, 32.0), hidden=8)
    pair = adapt(base, 0, {"camera": camera})
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    env = WorldEnv(Dreamer(pair), sim=None)
    assert env.spec_of_actions.names == ("ahead", "turn_right") and env.action_space.shape == (2,)
    env.reset(seed=3, options={"frames": frames[:4]})
    state = env.generator.get_state()
    commands = ("forward", "left", "left", "back")
    stepped = np.stack([env.step(np.array(STICKS[c], np.float32))[0] for c in commands])
    generator = torch.Generator()
    generator.set_state(state)
    path = resolve_path(" ".join(commands), pair, 4)
    dreamer = env.dreamer
    whole = dreamer.extend(dreamer.encode(frames[:4]), 4, dreamer.condition([""], camera=path), generator)
    assert np.abs(stepped.astype(int) - dreamer.decode(whole).astype(int)).max() <= 1
    env.reset(seed=3, options={"frames": frames[:4]})
    assert not np.array_equal(env.step(np.array(STICKS["right"], np.float32))[0], stepped[0]), "the stick is heard"
    with pytest.raises(BadInput, match="follows no camera"):
        WorldEnv(Dreamer(base), sim=None)
