"""However a network is arranged, it is the same network: as trained, folded, in 8 bits, compiled."""

from __future__ import annotations

import pytest
import torch

from armillary import tokenizers
from armillary.errors import BadInput
from armillary.nn.conv import Reel
from armillary.tokenizers import Stream, TokenizerConfig, compiled, int8
from armillary.types import Latents

CONFIGS = {
    "video": TokenizerConfig(temporal=4, spatial=8, patch=2, width=32, mult=(1, 2, 2), blocks=1, z=8, channels=4),
    "short": TokenizerConfig(temporal=4, spatial=8, patch=4, width=8, mult=(1, 2), blocks=1, z=8, channels=4),
    "frames": TokenizerConfig(temporal=1, spatial=8, video=False, patch=4, width=32, mult=(1, 2), blocks=1, channels=4),
}
vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no VNNI")


def made(name):
    torch.manual_seed(0)
    tokenizer = tokenizers.build(CONFIGS[name]).eval().requires_grad_(False)
    for p in tokenizer.parameters():
        p.add_(0.02 * torch.randn(p.shape))
    return tokenizer


def latents_of(coder, video):
    made = coder.encode(video)
    assert isinstance(made, Latents)
    return made.values


def clip(batch=1, frames=9):
    return torch.rand((batch, 3, frames, 32, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", ["video", "frames"])
def test_as_trained_and_folded_agree(name):
    tokenizer = made(name)
    latents = latents_of(tokenizer, clip())
    video = tokenizer.decode(latents)
    tokenizer.engine = "plain"
    torch.testing.assert_close(latents_of(tokenizer, clip()), latents, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokenizer.decode(latents), video, rtol=1e-4, atol=1e-5)


@vnni
@pytest.mark.parametrize("name", ["video", "frames"])
def test_eight_bits_are_near_and_each_clip_stands_alone(name):
    tokenizer, video = made(name), clip(batch=2)
    exact = latents_of(tokenizer, video)
    tokenizer.engine = "int8"
    network = tokenizer.inference()
    assert any(isinstance(m, int8.Spatial) for m in network.modules())
    near = latents_of(tokenizer, video)
    assert 0 < (near - exact).norm() / exact.norm() < 0.05
    for i in range(2):
        assert torch.equal(latents_of(tokenizer, video[i : i + 1]), near[i : i + 1])
    if tokenizer.config.video:
        stream = Stream(tokenizer)
        parts = [latents_of(stream, video[:1, :, :5]), latents_of(stream, video[:1, :, 5:])]
        assert torch.equal(torch.cat(parts, 2), near[:1])


@vnni
def test_a_product_of_bytes_is_what_the_rounded_numbers_give():
    rng = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(32, 40, 3, 3, generator=rng), torch.randn(32, generator=rng)
    x = torch.randn(2, 40, 9, 7, generator=rng).contiguous(memory_format=torch.channels_last)
    product = int8.Product(weight, bias, (1, 1))
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    seen = ((x / step + zero).round().clamp(0, 255) - zero) * step
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    wanted = torch.nn.functional.conv2d(seen, (weight / scale).round() * scale, bias, padding=1)
    torch.testing.assert_close(product(x), wanted, rtol=1e-3, atol=2e-3)


def test_eight_bits_are_refused_where_they_cannot_be(monkeypatch):
    tokenizer = made("frames")
    tokenizer.engine = "int8"
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(BadInput, match="no VNNI"):
        tokenizer.encode(clip())
    with pytest.raises(BadInput, match="single precision"):
        tokenizer.double().encode(clip().double())
    tokenizer.engine = "fast"  # type: ignore[assignment]
    with pytest.raises(BadInput, match="one of auto"):
        tokenizer.encode(clip())


def test_compiled_it_carries_the_same_from_frame_to_frame():
    """Traced by dynamo and run as traced; that Inductor and CUDA keep to the trace is theirs to test."""
    tokenizer = made("short")
    tokenizer.engine = "plain"
    latents = latents_of(tokenizer, clip())
    video = tokenizer.decode(latents)
    network = compiled.compiled(tokenizer, "eager")
    tokenizer._arrange = lambda plain, engine: network  # type: ignore[method-assign,assignment]
    tokenizer.engine = "compiled"
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.testing.assert_close(latents_of(tokenizer, clip()), latents, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokenizer.decode(latents), video, rtol=1e-4, atol=1e-5)
    traced = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    parts = sum(isinstance(m, compiled.Compiled) for m in network.modules())
    assert parts and traced <= 2 * parts
    longer = latents_of(tokenizer, torch.cat((clip(), clip()[:, :, 1:]), 2))
    assert torch.equal(longer[:, :, : latents.shape[2]], latents)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == traced, "a longer clip is traced again"


def test_what_a_compiled_part_remembers_is_its_own():
    """A recorded graph writes to the same memory every time: nothing of it may be kept."""
    part = torch.nn.Linear(3, 3)
    unit, shared, known = compiled.Compiled(part, "eager"), torch.zeros(3), []

    def step(x, reel):
        known.append(reel.memory.get(part))
        shared.copy_(x)
        reel.remember(part, shared)
        return shared

    unit._step = step
    reel = Reel(1, keep=True)
    first = unit(torch.ones(3), reel)
    reel.started = True
    unit(torch.full((3,), 2.0), reel)
    assert torch.equal(first, torch.ones(3)) and torch.equal(known[1], torch.ones(3))
