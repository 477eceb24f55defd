"""Long videos: the same dream as in one go, any length, and a drift that is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

import armillary
from armillary import guard
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.drift import by_second, drift, looks
from armillary.rollout.long import chunks, dream_long


def test_a_stepping_world_dreams_the_same_bytes_in_chunks(tiny, frames):
    dreamer = Dreamer(tiny["diffusion"])
    actions = np.linspace(-1, 1, 2 * 30, dtype=np.float32).reshape(30, 2)
    assert chunks(dreamer).new < 30
    for given in (frames[:4], None):
        args = {"prompt": "a red square", "actions": actions, "seed": 3, **({} if given is not None else {"first_steps": 2})}
        whole, long = dreamer.dream(given, 30, **args), dream_long(dreamer, given, 30, **args)
        assert long.shape == whole.shape and np.abs(long.astype(int) - whole.astype(int)).max() <= 1  # rounding of the decoder


def test_a_world_of_folded_frames_goes_on_from_pixels(tiny, frames):
    dreamer = Dreamer(tiny["autoregressive"])
    made = dream_long(dreamer, frames[:1], 24, seed=1)
    assert made.shape == (24, 64, 64, 3) and np.array_equal(made, dream_long(dreamer, frames[:1], 24, seed=1))


def test_the_sidecar_says_how_it_drifts(tiny, frames, tmp_path):
    made = armillary.generate(
        Dreamer(tiny["diffusion"]), frames=frames[:4], num_frames=44, long=True, gate=guard.Open(), out=tmp_path / "d.mp4"
    )
    told = json.loads((tmp_path / "d.json").read_text())["long"]
    assert len(made.frames) == 44 and told["whole"] == 16
    assert all(len(curve) == 4 for curve in told["drift"]["seconds"].values())
    assert told["drift"] == drift(made.frames[4:], 10.0, told["drift"]["first"])


def test_blur_fading_and_freezing_are_seen(frames):
    noise = np.random.default_rng(0).integers(0, 60, (20, 64, 64, 3))
    video = np.concatenate([frames[:5]] * 4).astype(int) // 2 + noise
    same = drift(video.clip(0, 255).astype(np.uint8), 5.0, 5)["against_first"]
    assert abs(same["sharpness"] - 1) < 0.05 and same["colour"] < 1 and abs(same["movement"] - 1) < 0.2
    worse = video.copy()
    worse[10:] = worse[10:].mean((1, 2), keepdims=True) + 20
    bad = drift(worse.clip(0, 255).astype(np.uint8), 5.0, 5)["against_first"]
    assert bad["sharpness"] < 0.1 and bad["contrast"] < 0.1 and bad["colour"] > 15
    still = video.copy()
    still[10:] = still[10]
    assert drift(still.clip(0, 255).astype(np.uint8), 5.0, 5)["against_first"]["movement"] < 0.01


def test_seconds_and_bad_input():
    assert by_second(np.array([1.0, 3.0, np.nan, np.nan, 5.0]), 2.0) == [2.0, None, 5.0]
    with pytest.raises(BadInput, match="uint8"):
        looks(np.zeros((3, 8, 8, 3)), 1)
    from armillary.verbs._generate import _length

    assert _length("3s", 10.0) == 30 and _length("44", 10.0) == 44
    with pytest.raises(BadInput, match="30s"):
        _length("ten", 10.0)


def test_a_clip_world_is_given_as_many_frames_as_it_looks_back_on(frames, tmp_path):
    """Of more it uses the last, encoded as a beginning: a first latent frame stands for one picture wherever the cut is."""
    import torch

    from armillary import tokenizers, worlds
    from armillary.presets import override

    torch.manual_seed(0)
    tokenizers.save(tokenizers.build(override(tokenizers.TOKENIZERS["video-c4x8x8"], ("width=16",))), tmp_path / "video")
    held = tokenizers.load(tmp_path / "video")
    ref = worlds.TokenizerRef(
        str(tmp_path / "video"), held.sha256, held.temporal, held.spatial, held.config.channels, 0, (64, 64)
    )
    world = worlds.build(override(worlds.WORLDS["dit-nano"], ("network.layers=1", "network.dim=48")), worlds.Setting(ref, None))
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    worlds.save(world, tmp_path / "world")
    dreamer = Dreamer(tmp_path / "world")
    assert dreamer.most_given == 5
    many, last = (dreamer.dream(x, 8, steps=2, seed=3) for x in (frames[:9], frames[4:9]))
    assert many.shape == (8, 64, 64, 3) and np.array_equal(many, last)
    other = dreamer.dream(frames[:5], 8, steps=2, seed=3)
    assert not np.array_equal(many, other)
