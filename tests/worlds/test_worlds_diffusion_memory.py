"""Older frames that a stepping world also sees, and attention at more of its levels."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary.errors import BadInput
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Live, Setting, TokenizerRef
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.grow import grow
from armillary.worlds.diffusion.stepping import SteppingWorld
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
CHANNELS = 4
NETWORK = UNetConfig(fine=16, coarse=16, fine_blocks=1, coarse_blocks=2, heads=2, dim=32)
CONFIG = DiffusionConfig(NETWORK, LIVE, past=2, memory=(4, 7))


def build(config: DiffusionConfig = CONFIG, text_dim: int = 0) -> SteppingWorld:
    torch.manual_seed(0)
    ref = TokenizerRef("synthetic", "0" * 64, 1, 8, CHANNELS, 0, (64, 64))
    world = config.build(Setting(ref, SPEC, "hash" if text_dim else "", text_dim))
    assert isinstance(world, SteppingWorld)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():  # what starts at zero would make most tests vacuous
        for p in world.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))
    return world


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(frames: int, n: int = 1) -> torch.Tensor:
    return torch.randn(n, CHANNELS, frames, 8, 8, generator=seeded(7))


def acting(frames: int, n: int = 1) -> Conditioning:
    return Conditioning(actions=torch.rand(n, frames, 2, generator=seeded(8)) * 2 - 1)


@pytest.mark.parametrize("age", range(1, 9))
def test_the_next_frame_hangs_on_frames_of_its_ages_and_no_others(age):
    world, z = build(), latents(9)
    other = z.clone()
    other[:, :, -age] += 1.0
    a, b = (world.extend(x, 1, acting(1), generator=seeded()) for x in (z, other))
    assert torch.equal(a, b) == (age not in (1, 2, 4, 7))
    assert CONFIG.ages == (7, 4, 2, 1) and CONFIG.reach == 7


def test_one_frame_at_a_time_is_all_at_once():
    world, z, told = build(), latents(5), acting(9)
    whole = world.extend(z, 9, told, generator=seeded(3))
    live, rng = Live(world, z), seeded(3)
    parts = [live.more(1, Conditioning(actions=told.actions[:, i : i + 1]), rng) for i in range(9)]
    assert torch.allclose(whole, torch.cat(parts, dim=2), atol=1e-5)
    assert live.window.shape[2] == CONFIG.reach, "no more is kept than is looked at"


def test_learning_reaches_the_old_frames_also_after_dreams():
    world = build()
    for unroll in (0.0, 1.0):
        world.zero_grad()
        world.unroll_prob = unroll
        batch = Batch(latents=latents(12, 6), actions=acting(12, 6).actions)
        loss, _ = world(batch, seeded())
        loss.backward()
        grad = world.network.enter.weight.grad
        assert torch.isfinite(loss) and grad is not None
        per_frame = grad[:, CHANNELS:].unflatten(1, (4, CHANNELS + 1)).abs().sum((0, 2, 3, 4))
        assert (per_frame > 0).all(), "every age is learned from"


def test_a_world_without_memory_goes_on_with_one_silent_at_first():
    world = build(dataclasses.replace(CONFIG, memory=()))
    grown = grow(world, ["memory=[4, 7]"])
    z, told = latents(9), acting(3)
    assert torch.allclose(world.extend(z, 3, told, generator=seeded()), grown.extend(z, 3, told, generator=seeded()), atol=1e-6)
    assert grown.config.memory == (4, 7)


def test_a_memory_cannot_be_taken_away_nor_its_ages_multiplied():
    for asked in ("memory=[]", "memory=[4, 7, 9]", "past=1"):
        with pytest.raises(BadInput, match="would lose or add"):
            grow(build(), [asked])


@pytest.mark.parametrize("memory", [(2, 7), (7, 4), (4, 4), (0,)])
def test_ages_lie_beyond_the_past_and_in_order(memory):
    with pytest.raises(BadInput, match="beyond past=2, in order"):
        dataclasses.replace(CONFIG, memory=memory)


def test_only_worlds_that_step_have_one():
    with pytest.raises(BadInput, match="step frame by frame"):
        DiffusionConfig(DiTConfig(32, 1, 2), LIVE, memory=(6,))


def test_more_attention_reads_text_at_each_level():
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, coarse_mixers=2, fine_mixers=2))
    world = build(config, text_dim=8)
    batch = Batch(latents=latents(10, 4), actions=acting(10, 4).actions, context=torch.randn(4, 5, 8, generator=seeded()))
    world(batch, seeded())[0].backward()
    for mixer in (world.network.mixer, *world.network.mixers, *world.network.fine_mixers):
        assert mixer.text.weight.grad.abs().sum() > 0
    assert (len(world.network.mixers), len(world.network.fine_mixers)) == (1, 2)


def test_more_attention_is_silent_at_first():
    world = build(text_dim=8)
    grown = grow(world, ["network.fine_mixers=2", "network.coarse_mixers=2"])
    assert len(list(grown.parameters())) > len(list(world.parameters()))
    told = dataclasses.replace(acting(3), context=torch.randn(1, 5, 8, generator=seeded()))
    dreams = [w.extend(latents(9), 3, told, generator=seeded()) for w in (world, grown)]
    assert torch.equal(*dreams)
    with pytest.raises(BadInput, match="would lose or add"):
        grow(grown, ["network.fine_mixers=1"])


@pytest.mark.parametrize("asked", [{"coarse_mixers": 0}, {"coarse_mixers": 3}, {"fine_mixers": 3}, {"fine_mixers": -1}])
def test_no_more_attention_than_blocks(asked):
    with pytest.raises(BadInput, match="coarse_mixers lies between 1 and coarse_blocks=2"):
        dataclasses.replace(NETWORK, **asked)
