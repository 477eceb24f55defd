"""Reconstruction by stand-in tokenizers whose loss is known."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from armillary import presets
from armillary.errors import BadInput
from armillary.evaluate import evaluate_tokenizer, reconstructor, tokenizer_section
from armillary.evaluate.blocks import Page
from armillary.evaluate.page import render
from armillary.evaluate.reconstruct import perplexity
from armillary.types import Latents, Tokens, Video


class Boxes:
    """Continuous: the mean over 4x4 boxes and, in time, every `temporal`-th frame after the first."""

    name, vocab = "boxes", 0

    def __init__(self, temporal: int = 1) -> None:
        self.config = SimpleNamespace(temporal=temporal, spatial=4)

    def encode(self, video):
        assert (video.shape[2] - 1) % self.config.temporal == 0
        kept = video[:, :, :: self.config.temporal]
        return Latents(torch.nn.functional.avg_pool3d(kept, (1, 4, 4)))

    def decode(self, latents):
        x = latents.values.repeat_interleave(4, -1).repeat_interleave(4, -2)
        first, rest = x[:, :, :1], x[:, :, 1:]
        return torch.cat([first, rest.repeat_interleave(self.config.temporal, 2)], 2)


class Greys:
    """Discrete: each 4x4 box's mean grey in 16 steps."""

    name, vocab = "greys", 16
    config = SimpleNamespace(temporal=1, spatial=4)

    def encode(self, video):
        grey = torch.nn.functional.avg_pool3d(video.mean(1, keepdim=True), (1, 4, 4))[:, 0]
        return Tokens(((grey + 1) / 2 * 15).round().long(), 16)

    def decode(self, tokens):
        grey = tokens.ids[:, None].float() / 15 * 2 - 1
        return grey.repeat_interleave(4, -1).repeat_interleave(4, -2).expand(-1, 3, -1, -1, -1)


def clips() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    still = np.kron(rng.integers(60, 200, size=(1, 5, 6, 3)), np.ones((6, 4, 4, 1))).astype(np.uint8)
    moving = still.copy()
    for i in range(6):
        moving[i, 5:10, 2 + 3 * i : 7 + 3 * i] = (250, 20, 20)  # off the lattice: boxes blur it
    return {"still": still, "moving": moving}


def test_the_foreground_tells_what_the_background_hides():
    m = evaluate_tokenizer(Boxes(), clips()).metrics
    still, moving = m["clips"]
    assert still["psnr"] > 50 and still["psnr_foreground"] is None
    assert moving["psnr_foreground"] < moving["psnr"] - 3
    assert m["psnr_foreground"]["n"] == 1 and m["psnr"]["n"] == 2
    assert m["compression"] == 16 and m["frames"] == 12 and "codes" not in m


def test_codes_are_counted():
    rng = np.random.default_rng(0)
    half = np.where(rng.random((9, 5, 6, 1)) < 0.5, 0, 255)
    frames = np.kron(half, np.ones((1, 4, 4, 3))).astype(np.uint8)
    m = evaluate_tokenizer(Greys(), [frames]).metrics
    assert m["codes"]["vocab"] == 16 and m["codes"]["used"] == 2
    assert m["codes"]["perplexity"] == pytest.approx(2.0, abs=0.05)
    assert m["codes"]["bits_per_pixel"] == pytest.approx(4 / 16)
    assert perplexity(np.array([5, 5, 5, 5, 0])) == pytest.approx(4.0)


def test_any_length_goes_through_a_temporal_tokenizer():
    back = reconstructor(Boxes(temporal=4))(clips()["still"])
    assert back.shape == (6, 20, 24, 3) and np.abs(back.astype(int) - clips()["still"]).max() <= 1


def test_sizes_off_the_lattice_are_padded_and_cut_back():
    rng = np.random.default_rng(0)
    odd = Video(rng.integers(0, 256, size=(3, 22, 27, 3)).astype(np.uint8), 10.0, np.arange(3) / 10)
    row = evaluate_tokenizer(Boxes(), [odd]).metrics["clips"][0]
    assert (row["height"], row["width"]) == (22, 27)
    row = evaluate_tokenizer(Boxes(), [odd], size=16, max_frames=2).metrics["clips"][0]
    assert (row["height"], row["width"], row["frames"]) == (16, 16, 2)


def test_the_report_is_json_and_a_page():
    for tokenizer in (Boxes(), Greys()):
        report = evaluate_tokenizer(tokenizer, clips())
        json.dumps(presets.to_json(report), allow_nan=False)
        text = render(Page("t", "", [tokenizer_section(report)]))
        assert "moving pixels" in text and ("perplexity" in text) == bool(tokenizer.vocab)


def test_what_cannot_be_reconstructed_is_said():
    with pytest.raises(BadInput, match="No video"):
        evaluate_tokenizer(Boxes(), [])
    with pytest.raises(BadInput, match="not uint8"):
        evaluate_tokenizer(Boxes(), {"x": np.zeros((1, 8, 8, 3))})
