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
