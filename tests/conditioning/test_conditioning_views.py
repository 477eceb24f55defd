"""Several views of one moment: one view is the plain model, views hear each other, each its own text, and the way is told as it is."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from armillary.conditioning import TrajectoryCondition, ViewsCondition, attach, onward
from armillary.conditioning.base import Conditions
from armillary.conditioning.trajectory import POINTS, STEP
from armillary.errors import BadInput
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.common import Ports
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.fast import FastDiT
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, PUBLISHED, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
SMALL = DiffusionConfig(DiTConfig(24, 2, 2, lora=8, limit=(8, 4, 4)), PUBLISHED, past=2, clip=4)
STEPPING = DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2, clip=4)
KINDS = pytest.mark.parametrize("config", [SMALL, STEPPING], ids=["clip", "step"])
CAUSAL = DiTConfig(24, 2, 2, lora=8, given=False, padding=False, patch=1, absolute=False, base_fps=0.0, causal=True, window=2)
V = 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def filled(module, scale=0.3):
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.add_(scale * draw(*p.shape, seed=i) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))
    return module


def build(config: DiffusionConfig = SMALL, text_dim: int = 0, actions: ActionSpec | None = None):
    torch.manual_seed(0)
    ref = TokenizerRef("synthetic", "0" * 64, 1, 8, 4, 0, (64, 64))
    return filled(config.build(Setting(ref, actions, "hash" if text_dim else "", text_dim)))


def six(world, **more):
    return attach(world, {"views": ViewsCondition(V, **more)})


def of(latents: torch.Tensor, v: int) -> torch.Tensor:
    """One view of latents `b c (v t) h w`."""
    return latents.unflatten(2, (V, -1))[:, :, v]


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, columns=4), STEPPING], ids=["clip", "columns", "step"])
def test_one_view_is_the_plain_model_to_the_bit(config):
    world = build(config, text_dim=6)
    batch = Batch(latents=draw(2, 4, 4, 8, 8), context=draw(2, 5, 6), views=1, view_text=(("a",), ("b",)))
    bare, _ = world(batch, seeded())
    given, said = draw(1, 4, 1, 8, 8), Conditioning(context=draw(1, 5, 6))
    dreamed = world.extend(given, 5, said, generator=seeded(), steps=2)
    pair = attach(world, {"views": ViewsCondition(1)})
    assert torch.equal(pair(batch, seeded())[0], bare)
    assert torch.equal(pair.extend(given, 5, said, generator=seeded(), steps=2), dreamed)
    own = dataclasses.replace(said, context=said.context[:, None])
    torch.testing.assert_close(pair.extend(given, 5, own, generator=seeded(), steps=2), dreamed)


@torch.no_grad()
def test_views_that_do_not_hear_each_other_are_as_many_plain_clips():
    """Self-attention off, `v` views of one network are `v` clips: same positions, same given frames, own texts and statistics."""
    world = build(text_dim=6)
    for block in world.blocks:
        torch.nn.init.zeros_(block.attn.out.weight)
    x, text = draw(2, 4, V * 3, 8, 8), draw(2, V, 5, 6, seed=1)
    given = torch.tensor([1.0, 0.0, 0.0]).repeat(V)[None, None, :, None, None].expand(2, 1, -1, 8, 8)
    fps = torch.full((2,), 10.0)
    whole = world.network(x, torch.zeros(2), text, given, fps=fps, views=V)
    for v in range(V):
        alone = world.network(of(x, v), torch.zeros(2), text[:, v], of(given, v), fps=fps)
        torch.testing.assert_close(of(whole, v), alone)


def test_views_of_a_stepping_world_meet_in_attention_alone():
    """Without it three views are three plain worlds, each with its own past and its own words."""
    world = build(STEPPING, text_dim=6)
    torch.nn.init.zeros_(world.network.mixer.out.weight)
    given, text = draw(1, 4, V * 2, 8, 8), draw(1, V, 5, 6, seed=1)
    past, now, one = given.unflatten(2, (V, 2))[0].permute(1, 2, 0, 3, 4), draw(V, 4, 8, 8, seed=2), torch.ones(V)
    with torch.no_grad():
        whole = world.network(now, past, torch.ones(V, 2), one, one, context=text[0], views=V)
        apart = [
            world.network(now[v : v + 1], past[v : v + 1], torch.ones(1, 2), one[:1], one[:1], context=text[:, v])
            for v in range(V)
        ]
    torch.testing.assert_close(whole, torch.cat(apart))
    hearing = build(STEPPING, text_dim=6)
    heard = hearing.extend(given, 1, Conditioning(context=text, views=V), generator=seeded())
    changed = given.clone()
    changed.unflatten(2, (V, 2))[:, :, 2, -1] += 1.0
    other = hearing.extend(changed, 1, Conditioning(context=text, views=V), generator=seeded())
    assert all(not torch.equal(of(heard, v), of(other, v)) for v in range(V))


def test_a_stepping_world_is_told_of_a_clip_frame_by_frame():
    """What holds for a clip counts given frames too: all at once and one at a time are the same, the way told onward."""
    pace = 0.1
    pair = attach(build(STEPPING), {"views": ViewsCondition(V), "way": TrajectoryCondition(pace=pace, horizon=4)})
    filled(pair.conditions, 1.0)
    given, way = draw(1, 4, V, 8, 8), draw(1, POINTS, 3).cumsum(1)
    whole = pair.extend(given, 3, Conditioning(views=V, trajectory=way), generator=seeded())
    seen, parts, rng = given, [], seeded()
    for i in range(3):
        have = min(seen.shape[2] // V, STEPPING.past)
        left = onward(way, pace * (1 + i - have))
        part = pair.extend(seen, 1, Conditioning(views=V, trajectory=left), generator=rng)
        parts.append(part.unflatten(2, (V, 1)))
        seen = torch.cat([seen.unflatten(2, (V, -1)), parts[-1]], dim=3).flatten(2, 3)
    torch.testing.assert_close(whole, torch.cat(parts, dim=3).flatten(2, 3), atol=1e-4, rtol=1e-4)
    other = pair.extend(given, 3, Conditioning(views=V, trajectory=-way), generator=seeded())
    assert not torch.allclose(whole, other, atol=1e-3)


@torch.no_grad()
def test_the_fast_network_says_the_same():
    world = filled(build(text_dim=6))
    x, text = draw(2, 4, V * 3, 8, 8), draw(2, V, 5, 6, seed=1)
    for context in (text, text[:, 0], None):
        slow = world.network(x, torch.zeros(2), context, views=V)
        torch.testing.assert_close(FastDiT(world.network)(x, torch.zeros(2), context, views=V), slow, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_view_is_looked_at_and_each_text_read_by_its_own_first():
    world = build(text_dim=6)
    x, text = draw(1, 4, V * 3, 8, 8), draw(1, V, 5, 6, seed=1)
    plain = world.network(x, torch.zeros(1), text, views=V)
    seen = x.clone()
    seen.unflatten(2, (V, 3))[:, :, 2] += 1.0
    moved = world.network(seen, torch.zeros(1), text, views=V)
    assert all(not torch.equal(of(plain, v), of(moved, v)) for v in range(V)), "attention is over all views"
    for block in world.blocks:
        torch.nn.init.zeros_(block.attn.out.weight)
    plain = world.network(x, torch.zeros(1), text, views=V)
    other = text.clone()
    other[:, 1] *= -1
    told = world.network(x, torch.zeros(1), other, views=V)
    assert [torch.equal(of(plain, v), of(told, v)) for v in range(V)] == [True, False, True]


def test_which_view_it_is_only_the_condition_says():
    """Exchanging two views of all that goes in exchanges what comes out, until view vectors tell them apart."""
    pair = six(build())
    x, order = draw(1, 4, V * 3, 8, 8), [1, 0, 2]
    swap = lambda z: z.unflatten(2, (V, -1))[:, :, order].flatten(2, 3)  # noqa: E731

    def loss(latents):
        with torch.no_grad():
            c = pair._ports(Conditions(views=V, frames=3), 3, begins=True).clip_channels
            grid = pair.world.network.grid(*latents.shape[2:], 0, V)
            channels = c.expand(-1, -1, grid.v, grid.t, grid.h, grid.w).flatten(2, 3)
            return pair.world.network(latents, torch.zeros(1), channels=channels, views=V)

    torch.testing.assert_close(loss(swap(x)), swap(loss(x)))
    filled(pair.conditions, 1.0)
    assert not torch.allclose(loss(swap(x)), swap(loss(x)), atol=1e-3)


@pytest.mark.parametrize("config", [dataclasses.replace(SMALL, columns=4), STEPPING], ids=["clip", "step"])
@pytest.mark.parametrize(("have", "frames"), [(0, 3), (1, 3), (2, 5)])
def test_all_views_are_extended_together(have, frames, config):
    pair = six(build(config, actions=SPEC))
    given, said = draw(1, 4, V * have, 8, 8), Conditioning(actions=draw(1, 6, 2), views=V)
    out = pair.extend(given, frames, said, generator=seeded(), steps=2)
    assert out.shape == (1, 4, V * frames, 8, 8) and torch.isfinite(out).all()
    assert torch.equal(out, pair.extend(given, frames, said, generator=seeded(), steps=2))
    if have:
        changed = given.clone()
        changed.unflatten(2, (V, have))[:, :, 2, -1] += 1.0
        other = pair.extend(changed, frames, said, generator=seeded(), steps=2)
        assert all(not torch.equal(of(out, v), of(other, v)) for v in range(V))


@KINDS
def test_training_on_views_reaches_all_that_was_attached(config):
    pair = attach(
        build(config, text_dim=6), {"views": ViewsCondition(V, repeats=True), "way": TrajectoryCondition(dropout=0.4)}
    )
    filled(pair.conditions)
    batch = Batch(
        latents=draw(4, 4, V * 4, 8, 8),
        context=draw(4, V * 5, 6),
        views=V,
        view_text=(("",) * V,) * 4,
        trajectory=draw(4, 64, 3),
    )
    loss, metrics = pair(batch, seeded())
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(metrics["error"])
    silent = [n for n, p in pair.conditions.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == ["views.repeat.weight"], "nothing was said of repeats; all else is heard"
    shuffled = dataclasses.replace(batch, context=batch.context.unflatten(1, (V, 5)).flip(1).flatten(1, 2))
    assert not torch.equal(pair(shuffled, seeded())[0], loss)


def test_a_trajectory_is_withheld_in_a_share_of_the_rows_and_only_in_training():
    pair = attach(build(), {"way": TrajectoryCondition(dropout=0.5)})
    filled(pair.conditions)
    said = Conditions(trajectory=draw(64, 64, 3), frames=3)
    heard = pair._ports(said, 3, begins=True, rng=seeded()).clip_channels.flatten(1).abs().sum(1) > 0
    assert 16 < int(heard.sum()) < 48
    assert bool((pair._ports(said, 3, begins=True).clip_channels.flatten(1).abs().sum(1) > 0).all())


def test_what_is_left_of_a_circle_is_a_circle():
    """On a circle everything looks the same from everywhere: a trajectory seen from later on is itself."""
    s = STEP * torch.arange(1, POINTS + 1) * 8.0 / 30.0  # 8 m/s, radius 30
    way = torch.stack([30 * s.sin(), 30 * (1 - s.cos()), 0 * s], dim=-1)[None]
    for seconds in (0.1, 0.4, 1.25):
        left = onward(way, seconds)
        torch.testing.assert_close(left[:, :40], way[:, :40], atol=0.08, rtol=0)
    assert onward(way, 0.0) is way
    straight = torch.stack([s * 30, 0 * s, 0 * s], dim=-1)[None]
    torch.testing.assert_close(onward(straight, 3.0), straight, atol=1e-3, rtol=0)  # beyond its end it goes on
    still = torch.zeros(2, POINTS, 3)
    assert torch.equal(onward(still, 0.7), still)
    twice = onward(onward(way, 0.4), 0.4)
    torch.testing.assert_close(twice[:, :40], onward(way, 0.8)[:, :40], atol=0.1, rtol=0)


def test_pace_tells_each_frame_its_own_stretch():
    module = TrajectoryCondition(horizon=4, pace=0.4, scale=10.0).build(Ports(8, 0, 8, 1, True))
    filled(module, 1.0)
    way = torch.zeros(1, POINTS, 3)
    way[:, :, 0] = torch.arange(1, POINTS + 1) * 0.5  # straight on and even: all stretches alike
    out = module(Conditions(trajectory=way, frames=4))
    assert out.shape == (1, 8, 1, 4, 1, 1)
    torch.testing.assert_close(out[:, :, :, 1:], out[:, :, :, :1].expand(-1, -1, -1, 3, -1, -1))
    way[:, 8:, 0] = way[:, 8:, 0] + torch.arange(POINTS - 8) * 0.5  # faster from 0.8 s on
    other = module(Conditions(trajectory=way, frames=4))
    changed = [not torch.allclose(out[:, :, :, i], other[:, :, :, i], atol=1e-4) for i in range(4)]
    assert changed == [False, False, False, True], "frame 3 is reached from 0.8 s on"
    assert math.prod(module(Conditions(trajectory=way, frames=0)).shape) == 8, "a world without clips is told the whole"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: six(dataclasses.replace(SMALL, network=CAUSAL).build(build().setting)),
            "one view at a time",
        ),
        (lambda: ViewsCondition(2, ("front",)), "one or more, each with a name"),
        (lambda: six(build()).extend(draw(1, 4, 4, 8, 8), 1, Conditioning(views=2), generator=seeded()), "3 views; got 2"),
        (lambda: build().extend(draw(1, 4, 4, 8, 8), 1, Conditioning(views=3), generator=seeded()), "not as many of each of 3"),
        (lambda: TrajectoryCondition(scale=0.0), "scale > 0"),
        (
            lambda: attach(build(), {"t": TrajectoryCondition()}).extend(
                draw(1, 4, 1, 8, 8), 2, Conditioning(trajectory=torch.zeros(1, 9, 3)), generator=seeded()
            ),
            "64 points",
        ),
        (
            lambda: attach(build(), {"t": TrajectoryCondition()}).extend(
                draw(1, 4, 1, 8, 8), 9, Conditioning(trajectory=torch.zeros(1, 64, 3)), generator=seeded()
            ),
            "Go clip by clip",
        ),
        (lambda: DiTConfig(24, 1, 2, sincos=True), "learned or sines"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def test_clip_worlds_say_that_they_take_views():
    world = build()
    assert isinstance(world, ClipWorld) and world.ports.views
