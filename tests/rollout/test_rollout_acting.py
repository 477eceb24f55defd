"""A world that acts: its hand chooses, the world dreams, and to whoever uses it it is a world without actions."""

from __future__ import annotations

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput
from armillary.rollout.acting import _look, learn
from armillary.rollout.posttrained import Posttrained
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.diffusion.actor import ActorConfig, drawn
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -0.5), (1.0, 1.5), (0.1, 0.2), (0.5, 0.7))
HAND = ActorConfig(width=16, depth=1, heads=2, reads=2, modes=2)


@pytest.fixture(scope="module", params=[1, 2])
def pair(request):
    """Of a tokenizer that keeps every frame, and of one that folds two into a latent."""
    torch.manual_seed(0)
    ref = worlds.TokenizerRef("t", "0" * 64, request.param, 8, 4, 0, (64, 64))
    config = DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2, memory=(5,))
    world = worlds.build(config, worlds.Setting(ref, SPEC, "hash", 8, 10.0))
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    world.fit_normaliser(2 + 3 * torch.randn(2, 4, 6, 8, 8))
    return Posttrained(world, {}, acts=HAND).eval()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def told(b=2):
    return Conditioning(context=torch.randn(b, 3, 8, generator=rng(5)))


def given(t=3, b=2):
    return torch.randn(b, 4, t, 8, 8, generator=rng(6))


def test_actions_come_back_from_what_the_network_is_told(pair):
    world, k = pair.world, pair.tokenizer.temporal
    raw = torch.rand(2, 3 * k, 2, generator=rng()) - 0.4
    torch.testing.assert_close(world.unfolded_actions(world.folded_actions(raw)), raw)
    wild = world.unfolded_actions(torch.full((1, 1, 2 * k), 99.0))
    assert torch.equal(wild, torch.tensor([1.0, 1.5]).expand(1, k, 2)), "within the spec's bounds"


def test_it_is_the_world_under_the_actions_that_its_hand_draws(pair):
    world, said = pair.world, told()
    made = pair.extend(given(), 4, said, generator=rng(1), spread=0.5)
    window, frames, generator = given(), [], rng(1)
    for _ in range(4):
        action = world.unfolded_actions(drawn(_look(world, pair.hand, window, said), generator, 0.5)[:, None])
        assert action.shape == (2, pair.tokenizer.temporal, 2)
        one = Conditioning(context=said.context, actions=action)
        frames.append(world.extend(window, 1, one, generator=generator))
        window = torch.cat([window, frames[-1]], dim=2)
    torch.testing.assert_close(made, torch.cat(frames, dim=2), rtol=1e-4, atol=1e-4)


def test_seeds_differ_and_each_comes_again(pair):
    a, b, c = (pair.extend(given(), 3, told(), generator=rng(seed)) for seed in (1, 2, 1))
    assert torch.equal(a, c) and not torch.allclose(a, b)


def test_stepped_it_is_what_it_is_at_once(pair):
    whole = pair.extend(given(), 3, told(), generator=rng(1))
    live, generator = pair.live(given(), told()), rng(1)
    stepped = [live.more(1, told(), generator) for _ in range(3)]
    torch.testing.assert_close(torch.cat(stepped, dim=2), whole)


def test_it_may_begin_from_nothing_and_be_asked_for_nothing(pair):
    assert pair.extend(given(0), 2, told(), generator=rng(), first_steps=2).shape == (2, 4, 2, 8, 8)
    assert pair.extend(given(), 0, told(), generator=rng()).shape == (2, 4, 0, 8, 8)


def test_it_takes_no_actions_and_says_so(pair):
    assert pair.action_spec is None and pair.setting.actions is None and pair.world.action_spec is SPEC
    with pytest.raises(BadInput, match="moves its hand itself"):
        pair.extend(given(), 1, Conditioning(actions=torch.zeros(2, 2, 2)), generator=rng())
    with pytest.raises(BadInput, match="spread is at least 0; got -1"):
        pair.extend(given(), 1, told(), generator=rng(), spread=-1.0)


@pytest.mark.parametrize("both", [False, True])
def test_the_hand_learns_and_the_world_where_it_is_asked_to(pair, both):
    k = pair.tokenizer.temporal
    batch = Batch(
        latents=torch.randn(4, 4, 8, 8, 8, generator=rng()),
        actions=torch.rand(4, 7 * k, 2, generator=rng()),
        context=torch.randn(4, 3, 8, generator=rng()),
    )
    pair.zero_grad()
    pair.world.requires_grad_(True)
    loss, figures = learn(pair.world, pair.hand, batch, rng(), both)
    loss.backward()
    assert torch.isfinite(figures["hand"]) and torch.isfinite(figures["foresight"]) and ("error" in figures) == both
    moved = [
        sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0 for part in (pair.hand, pair.world)
    ]
    assert moved == [True, both]


def test_the_hand_sees_the_newest_frame_alone(pair):
    a, b = given(), given()
    b[:, :, :-1] += 1.0
    for one, other in zip(_look(pair.world, pair.hand, a, told()), _look(pair.world, pair.hand, b, told())):
        assert torch.equal(one, other)
    b[:, :, -1] += 1.0
    assert not torch.equal(_look(pair.world, pair.hand, a, told())[1], _look(pair.world, pair.hand, b, told())[1])
