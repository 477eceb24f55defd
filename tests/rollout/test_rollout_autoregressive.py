"""Generating with an autoregressive world: one or nine frames and text, longer than its window, with the settings of its decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest

import armillary
from armillary import guard
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer

OPEN = guard.Open()


@pytest.fixture(scope="module")
def dreamer(tiny):
    return Dreamer(tiny["autoregressive"])


@pytest.mark.parametrize("given", [1, 9])
def test_one_or_nine_frames_and_text_beyond_the_window(dreamer, given, tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (given, 64, 64, 3), np.uint8)
    assert dreamer.world.config.frames == 5  # 17 frames of video: 25 are dreamt by moving on
    made = armillary.generate(
        dreamer, "a red square", frames=frames, num_frames=25, seed=5, gate=OPEN, sampling={"keep": 2}, out=tmp_path / "a.mp4"
    )
    assert made.frames.shape == (25, 64, 64, 3) and made.num_given == given
    assert np.array_equal(made.frames[:given], frames)
    tokens = (25 - given) // 4 * 64
    assert f"{tokens}/{tokens}" in capsys.readouterr().err  # a token for each cell was counted
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert sidecar["world"]["family"] == "autoregressive" and sidecar["given"]["frames"] == given
    assert sidecar["prompt"] == "a red square" and sidecar["seed"] == 5 and sidecar["sampling"] == {"keep": 2}
    again = armillary.generate(dreamer, "a red square", frames=frames, num_frames=25, seed=5, gate=OPEN, sampling={"keep": 2})
    assert np.array_equal(made.frames, again.frames)


def test_settings_of_the_decoder_are_passed_on_and_recorded(dreamer, tmp_path):
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    sampling = {"temperature": 0.7, "top_k": 50, "top_p": 0.9, "int8": True}
    armillary.generate(dreamer, frames=frames, num_frames=5, gate=OPEN, sampling=sampling, out=tmp_path / "a.mp4")
    assert json.loads((tmp_path / "a.json").read_text())["sampling"] == sampling
    with pytest.raises(BadInput, match="Did you mean 'heads'"):
        armillary.generate(dreamer, frames=frames, num_frames=5, gate=OPEN, sampling={"head": "x"})
