"""Every entry of TOKENIZERS keeps the tokenizer's contract: shapes, lengths, vocabulary, round trip through a folder."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import tokenizers
from armillary.presets import from_json, to_json
from armillary.tokenizers import TOKENIZERS, TokenizerConfig
from armillary.types import Latents, Tokens


def narrow(config: TokenizerConfig) -> TokenizerConfig:
    """The same entry at a width that runs in a moment: every axis of its layout stays."""
    return dataclasses.replace(config, width=max(4, config.groups), blocks=1)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_contract(name, tmp_path):
    config = TOKENIZERS[name]
    assert from_json(TokenizerConfig, to_json(config)) == config
    torch.manual_seed(0)
    tokenizer = tokenizers.build(narrow(config)).eval()
    frames = 1 + config.temporal
    video = torch.rand(2, 3, frames, 2 * config.spatial, config.spatial, generator=torch.Generator().manual_seed(1)) * 2 - 1
    made = tokenizer.encode(video)
    assert made.grid.t == tokenizer.frames_to_latents(frames) == 2 and (made.grid.h, made.grid.w) == (2, 1)
    if config.levels:
        assert isinstance(made, Tokens) and made.vocab == tokenizer.vocab == config.vocab
        assert made.ids.dtype == torch.int64 and made.ids.shape == (2, 2, 2, 1)
        assert made.ids.min() >= 0 and made.ids.max() < made.vocab
        bare = made.ids
    else:
        assert isinstance(made, Latents) and tokenizer.vocab == 0
        assert made.values.shape == (2, config.channels, 2, 2, 1)
        bare = made.values
    back = tokenizer.decode(made)
    assert back.shape == video.shape and back.abs().max() <= 1 and not back.requires_grad
    assert torch.equal(back, tokenizer.decode(bare)) and torch.equal(back, tokenizer.reconstruct(video))

    tokenizers.save(tokenizer, tmp_path / "it", extra={"note": "fresh"})
    again = tokenizers.load(tmp_path / "it")
    assert again.config == tokenizer.config and again.name == str(tmp_path / "it") and len(again.sha256) == 64
    assert again.extra == {"note": "fresh"} and not again.training and not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again.reconstruct(video), back)


@pytest.mark.parametrize("name", ["frame-c8", "frame-d8", "video-c4x8x8", "video-d4x8x8"])
def test_small_sizes_are_small(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in tokenizers.build(name).parameters())
    assert 0.5e6 < count < 3e6
