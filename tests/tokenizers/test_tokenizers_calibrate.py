"""A fresh discrete tokenizer fitted to its data loses less; others are left alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import tokenizers
from armillary.data import SyntheticConfig
from armillary.tokenizers import TOKENIZERS
from armillary.tokenizers.calibrate import SPREAD, calibrate
from armillary.train import TokenizerRun


def drawn(frames):
    return SyntheticConfig(episodes=8, length=12, frames=frames, size=(32, 32)).build().batch(0, 8, 0).video


@pytest.mark.parametrize("name", ["video-d4x8x8", "frame-d8"])
def test_less_is_lost_and_the_latents_fill_their_levels(name):
    torch.manual_seed(0)
    tokenizer, video = tokenizers.build(dataclasses.replace(TOKENIZERS[name], width=16)), drawn(5)
    before = (tokenizer.reconstruct(video) - video).square().mean()
    calibrate(tokenizer, video)
    latents = tokenizer.embed(video)
    torch.testing.assert_close(latents.mean((0, 2, 3, 4)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), torch.full((4,), SPREAD), atol=1e-3, rtol=0)
    assert (tokenizer.reconstruct(video) - video).square().mean() < 0.8 * before


def test_continuous_ones_and_those_without_a_shortcut_stay():
    for config in (TOKENIZERS["video-c4x8x8"], dataclasses.replace(TOKENIZERS["video-d4x8x8"], shortcut=False)):
        torch.manual_seed(0)
        tokenizer = tokenizers.build(dataclasses.replace(config, width=16))
        before = {k: v.clone() for k, v in tokenizer.state_dict().items()}
        calibrate(tokenizer, drawn(5))
        assert all(torch.equal(v, before[k]) for k, v in tokenizer.state_dict().items())


def test_a_run_begins_so():
    data = SyntheticConfig(episodes=8, length=12, frames=5, size=(32, 32)).build()
    model = TokenizerRun("video-d4x8x8", overrides=("width=16",)).build(data)
    std = model.tokenizer.embed(data.batch(0, 24, 0).video).std((0, 2, 3, 4))
    torch.testing.assert_close(std, torch.full((4,), SPREAD), atol=1e-3, rtol=0)
