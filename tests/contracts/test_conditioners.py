"""Every entry of `CONDITIONERS`: attached it leaves a world as it was, trained it changes it, saved it comes back."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import conditioning, worlds
from armillary.conditioning import (
    CONDITIONERS,
    ActionCondition,
    CameraCondition,
    FramesCondition,
    RaysCondition,
    TextCondition,
    TrajectoryCondition,
    ViewsCondition,
    attach,
)
from armillary.presets import from_json, to_json
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import CAUSAL, LIVE, PUBLISHED, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
EXAMPLES = {
    "text": TextCondition(dim=6, hidden=16),
    "frames": FramesCondition(3, hidden=8),
    "action": ActionCondition(SPEC, hidden=16),
    "camera": CameraCondition((64, 64), shift=0.1, turn=0.1, lens=(60.0, 60.0, 32.0, 32.0), hidden=8),
    "views": ViewsCondition(1),
    "trajectory": TrajectoryCondition(hidden=8, scale=10.0, pace=0.1),
    "rays": RaysCondition(((0, 0, 1, 1.5, -1, 0, 0, 0, 0, -1, 0, 1.2),), ((60, 60, 32, 32),), (64, 64), hidden=8),
}
CAUSAL_DIT = DiTConfig(
    24, 1, 2, lora=8, patch=1, given=False, padding=False, absolute=False, base_fps=0.0, causal=True, window=3
)
WORLDS = {
    "unet": DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2),
    "dit": DiffusionConfig(DiTConfig(24, 1, 2, lora=8, limit=(8, 8, 8)), PUBLISHED, past=1, clip=4),
    "causal": DiffusionConfig(CAUSAL_DIT, CAUSAL, past=2, clip=4),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def base(kind: str):
    torch.manual_seed(0)
    world = WORLDS[kind].build(Setting(TokenizerRef("synthetic", "0" * 64, 1, 8, 4, 0, (64, 64))))
    with torch.no_grad():
        for p in world.parameters():
            p.add_(0.3 * draw(*p.shape, seed=2) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))
    return world


def path(frames: int, turn: float = 0.1) -> torch.Tensor:
    """A camera that goes ahead and turns: `2 frames 4 4`."""
    yaw = turn * torch.arange(frames)
    pose = torch.eye(4).expand(frames, 4, 4).clone()
    pose[:, 0, 0], pose[:, 0, 2], pose[:, 2, 0], pose[:, 2, 2] = yaw.cos(), yaw.sin(), -yaw.sin(), yaw.cos()
    pose[:, 2, 3] = 0.1 * torch.arange(frames)
    return pose.expand(2, -1, -1, -1)


GIVEN = draw(2, 4, 2, 8, 8)
SAID = {
    "text": Conditioning(context=draw(2, 5, 6, seed=4)),
    "frames": Conditioning(),
    "action": Conditioning(actions=draw(2, 3, 2, seed=3)),
    "camera": Conditioning(poses=path(4)),
    "views": Conditioning(),
    "trajectory": Conditioning(trajectory=draw(2, 64, 3, seed=8)),
    "rays": Conditioning(trajectory=draw(2, 64, 3, seed=8)),
}
OTHERS = {
    "text": Conditioning(context=draw(2, 5, 6, seed=6)),
    "frames": Conditioning(),
    "action": Conditioning(actions=draw(2, 3, 2, seed=7)),
    "camera": Conditioning(poses=path(4, -0.1)),
    "views": Conditioning(),
    "trajectory": Conditioning(trajectory=draw(2, 64, 3, seed=9)),
    "rays": Conditioning(trajectory=draw(2, 64, 3, seed=9)),
}
MAPS = draw(2, 3, 3, 8, 8, seed=5)
BATCH = Batch(latents=draw(2, 4, 4, 8, 8), actions=draw(2, 4, 2, seed=3), context=draw(2, 5, 6, seed=4), poses=path(4))
BATCH = dataclasses.replace(BATCH, trajectory=draw(2, 64, 3, seed=8))
BATCH_MAPS = draw(2, 3, 4, 8, 8, seed=5)


def test_the_table_has_an_example_of_each():
    assert set(CONDITIONERS) == set(EXAMPLES)
    assert all(type(EXAMPLES[name]) is CONDITIONERS[name] for name in CONDITIONERS)


@pytest.mark.parametrize("kind", list(WORLDS))
@pytest.mark.parametrize("name", list(CONDITIONERS))
def test_attached_it_leaves_the_world_as_it_was_and_trained_it_does_not(name, kind):
    world = base(kind)
    bare = world.extend(GIVEN, 3, Conditioning(), generator=seeded(), steps=2)
    bare_loss, _ = world(Batch(latents=BATCH.latents), seeded())
    pair = attach(world, {name: EXAMPLES[name]})

    def go(said=SAID[name], maps=MAPS):
        return pair.extend(GIVEN, 3, said, generator=seeded(), maps=maps, steps=2)

    assert torch.equal(go(), bare)
    loss, _ = pair(BATCH, seeded(), maps=BATCH_MAPS)
    assert torch.equal(loss, bare_loss)
    loss.backward()
    grads = {n: p.grad for n, p in pair.conditions.named_parameters()}
    assert any(g is not None and g.abs().sum() > 0 for g in grads.values()), "the last layer learns from the first step"
    with torch.no_grad():
        for n, p in pair.conditions.named_parameters():
            p.add_(draw(*p.shape, seed=len(n)))
    spoken = go()
    assert not torch.equal(spoken, bare)
    other = go(OTHERS[name], -MAPS)
    # One view is always the same one; that several differ is tested where there are several.
    assert name == "views" or not torch.equal(spoken, other), "what is said matters"


@pytest.mark.parametrize("name", list(CONDITIONERS))
def test_saved_it_comes_back(name, tmp_path):
    worlds.save(base("unet"), tmp_path / "world")
    world = worlds.load(tmp_path / "world")
    pair = attach(world, {name: EXAMPLES[name]})
    with torch.no_grad():
        for p in pair.conditions.parameters():
            p.add_(draw(*p.shape, seed=1))
    conditioning.save(pair, tmp_path / "attached")
    again = conditioning.load(tmp_path / "attached", worlds.load(tmp_path / "world"))
    assert again.configs == pair.configs
    a, b = (x.extend(GIVEN, 3, SAID[name], generator=seeded(), maps=MAPS) for x in (pair, again))
    assert torch.equal(a, b)


@pytest.mark.parametrize("name", list(CONDITIONERS))
def test_its_config_travels(name):
    config = EXAMPLES[name]
    assert from_json(type(config), to_json(config)) == config
    assert dataclasses.is_dataclass(config) and config.port in ("modulation", "channels")
