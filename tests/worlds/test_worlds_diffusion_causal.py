"""The causal world: nothing is heard of what comes, a kept past says what a full pass says, and it learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.causal import CausalWorld
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.edm import EDMConfig
from armillary.worlds.diffusion.world import CAUSAL, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
CHANNELS = 4
NETWORK = DiTConfig(48, 3, 2, lora=16, given=False, padding=False, patch=2, absolute=False, base_fps=0.0, causal=True, window=3)
SMALL = DiffusionConfig(NETWORK, CAUSAL, past=4, clip=6)
FLOW = EDMConfig(sigma_data=1.0, sigma_min=0.01, uncertainty=0, flow=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def fill(module: torch.nn.Module) -> None:
    """What starts at zero would make most tests vacuous."""
    g = seeded(9)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))


def build(
    config: DiffusionConfig = SMALL, actions: ActionSpec | None = SPEC, text_dim: int = 0, filled: bool = True
) -> CausalWorld:
    torch.manual_seed(0)
    ref = TokenizerRef("synthetic", "0" * 64, 1, 8, CHANNELS, 0, (64, 64))
    world = config.build(Setting(ref, actions, "hash" if text_dim else "", text_dim))
    assert isinstance(world, CausalWorld)
    if filled:
        fill(world)
    return world


@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("absolute", [False, True])
def test_one_frame_at_a_time_is_the_full_pass(window, absolute):
    config = dataclasses.replace(NETWORK, window=window, absolute=absolute, base_fps=24.0, limit=(16, 8, 8))
    torch.manual_seed(0)
    network = DiT(config, CHANNELS, text_dim=6, action_dim=2)
    fill(network)
    b, t = 2, 11
    x, level, text, actions = draw(b, CHANNELS, t, 8, 8), draw(b, t), draw(b, 5, 6), draw(b, t, 2)
    fps = torch.full((b,), 10.0)
    with torch.no_grad():
        full = network(x, level, text, actions=actions, fps=fps)
        past, out = network.caches(), []
        for i in range(t):
            at = slice(i, i + 1)
            network(
                draw(b, CHANNELS, 1, 8, 8, seed=i), level[:, at], text, actions=actions[:, at], fps=fps, past=past
            )  # a look
            out.append(network(x[:, :, at], level[:, at], text, actions=actions[:, at], fps=fps, past=past))
            for cache in past:
                cache.keep()
    torch.testing.assert_close(torch.cat(out, dim=2), full, rtol=1e-5, atol=1e-5)


def test_a_later_frame_changes_nothing_before_and_the_window_ends():
    network = build(actions=None).network
    one_block = DiT(dataclasses.replace(NETWORK, layers=1), CHANNELS)
    fill(one_block)
    x, level = draw(1, CHANNELS, 8, 8, 8), draw(1, 8)
    for net, last in ((network, 8), (one_block, 7)):  # one block sees 3 frames back, three blocks three times as many
        plain = net(x, level)
        for i in (3, 7):
            y, other = x.clone(), level.clone()
            y[:, :, i] += 1.0
            other[:, i] += 1.0
            changed = (net(y, other) != plain).flatten(3).any(-1)[0].any(0).tolist()
            assert changed == [i <= f < max(last, i + 1) for f in range(8)], (i, changed)


def test_on_one_frame_it_is_the_published_network_bit_for_bit_and_untrained_it_answers_nothing():
    plain = DiTConfig(48, 2, 2, lora=16, limit=(16, 8, 8))
    made = []
    for causal in (False, True):
        torch.manual_seed(0)
        network = DiT(dataclasses.replace(plain, causal=causal), CHANNELS)
        assert not network(draw(1, CHANNELS, 3, 8, 8), torch.zeros(1)).any()
        fill(network)
        made.append(network)
    x, level = draw(2, CHANNELS, 1, 8, 8), draw(2)
    assert torch.equal(made[0](x, level), made[1](x, level))
    x, level = draw(2, CHANNELS, 3, 8, 8), draw(2)
    a, b = made[0](x, level), made[1](x, level)
    assert not torch.allclose(a[:, :, 0], b[:, :, 0])


@pytest.mark.parametrize("objective", [CAUSAL, FLOW], ids=["edm", "flow"])
def test_each_frame_has_a_level_of_its_own_and_given_ones_a_low_one_and_no_loss(objective):
    world = build(dataclasses.replace(SMALL, objective=objective))
    sigma, given = world.levels(4000, 6, seeded(), torch.zeros(1))
    assert sigma.min() >= objective.sigma_min and sigma.max() <= objective.sigma_max
    assert not given[:, -1].any() and (given.diff(dim=1) <= 0).all(), "given frames come first"
    assert abs((given[:, 0] > 0).float().mean() - 0.5) < 0.03
    free = sigma[given.sum(1) == 0].log()
    assert free.T.corrcoef().fill_diagonal_(0).abs().max() < 0.1, "levels are independent"
    assert sigma[given > 0].log().mean() < free.mean() - 1
    loss, metrics = world(Batch(latents=draw(3, CHANNELS, 6, 8, 8), actions=draw(3, 5, 2)), seeded())
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(metrics["error"])
    untouched = [n for n, p in world.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not untouched


@pytest.mark.parametrize(("have", "frames"), [(0, 3), (1, 2), (5, 6), (2, 0)])
def test_in_one_go_and_in_pieces_it_dreams_the_same_bytes(have, frames):
    world = build(text_dim=6)
    given, actions = draw(2, CHANNELS, have, 8, 8), draw(2, 8, 2)
    say = Conditioning(actions=actions, context=draw(2, 5, 6))
    kw = {"steps": 2, "guidance": 1.5}
    whole = world.extend(given, frames, say, generator=seeded(), **kw)
    assert whole.shape == (2, CHANNELS, frames, 8, 8) and torch.isfinite(whole).all()
    live, rng = world.live(given, say, **kw), seeded()
    pieces = [given[:, :, :0]]
    for i in range(frames):
        at = max(0, i - (have == 0))
        pieces.append(live.more(1, dataclasses.replace(say, actions=actions[:, at : at + 1]), rng))
    assert torch.equal(torch.cat(pieces, dim=2), whole)
    assert not frames or not torch.equal(whole, world.extend(given, frames, say, generator=seeded(1), **kw))


def test_an_action_is_heard_by_the_frame_it_leads_to_and_those_after():
    world = build()
    actions = draw(1, 5, 2)
    for have in (0, 2):
        given = draw(1, CHANNELS, have, 8, 8)
        plain = world.extend(given, 4, Conditioning(actions=actions), generator=seeded(), steps=2)
        for i in range(4):
            turned = actions.clone()
            turned[:, i] += 1.0
            other = world.extend(given, 4, Conditioning(actions=turned), generator=seeded(), steps=2)
            changed = [(plain[:, :, f] != other[:, :, f]).any().item() for f in range(4)]
            assert changed == [f >= i + (have == 0) for f in range(4)], (have, i, changed)


def test_ports_are_heard_frame_by_frame_and_zeros_change_nothing():
    world = build(actions=None)
    given, width = draw(1, CHANNELS, 2, 8, 8), world.ports.modulation
    silent = Conditioning(modulation=torch.zeros(1, 4, width), channels=torch.zeros(1, NETWORK.dim, 4, 4, 4))
    plain = world.extend(given, 4, Conditioning(), generator=seeded(), steps=2)
    assert torch.equal(plain, world.extend(given, 4, silent, generator=seeded(), steps=2))
    said = torch.zeros(1, 4, width)
    said[:, 2] = 1.0
    other = world.extend(given, 4, Conditioning(modulation=said), generator=seeded(), steps=2)
    assert torch.equal(other[:, :, :2], plain[:, :, :2]) and not torch.equal(other[:, :, 2], plain[:, :, 2])


def test_text_is_heard_and_guidance_contrasts_with_the_negative():
    world = build(text_dim=8, actions=None)
    given, text = draw(1, CHANNELS, 1, 8, 8), draw(1, 5, 8)

    def go(context, negative=None, **kw):
        return world.extend(given, 2, Conditioning(context=context, negative=negative), generator=seeded(), steps=2, **kw)

    assert not torch.allclose(go(text), go(-text))
    assert not torch.allclose(go(text), go(text, guidance=3.0))
    torch.testing.assert_close(go(text), go(text, guidance=3.0, negative=text))


@pytest.mark.parametrize("objective", [CAUSAL, FLOW], ids=["edm", "flow"])
def test_it_learns_a_bar_that_moves(objective):
    """A bar that moves one column a frame: from two frames the rest is dreamed better than by repeating the last."""
    column, start = torch.arange(8.0), torch.arange(4.0)
    place = start[:, None] + torch.arange(5.0)  # row, frame
    bar = 2 * torch.exp(-((column - place[..., None]) ** 2))
    latents = bar[:, None, :, None, :].expand(4, CHANNELS, 5, 8, 8).contiguous()
    world = build(dataclasses.replace(SMALL, objective=objective), actions=None, filled=False)
    world.fit_normaliser(latents)
    optimiser = torch.optim.AdamW(world.parameters(), lr=5e-3)
    rng, errors = seeded(), []
    for _ in range(150):
        loss, metrics = world(Batch(latents=latents.repeat(2, 1, 1, 1, 1)), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(metrics["error"].item())
    assert sum(errors[-20:]) < 0.6 * sum(errors[:20])
    out = world.eval().extend(latents[:, :, :2], 3, Conditioning(), generator=seeded(), steps=8)
    error = (out - latents[:, :, 2:]).square().mean()
    copy = (latents[:, :, 1:2] - latents[:, :, 2:]).square().mean()
    assert error < 0.5 * copy, (float(error), float(copy))


def test_saved_and_loaded_it_dreams_the_same_bytes(tmp_path):
    world = build()
    worlds.save(world, tmp_path / "world")
    again = worlds.load(tmp_path / "world")
    given, say = draw(1, CHANNELS, 1, 8, 8), Conditioning(actions=draw(1, 3, 2))
    a, b = (w.extend(given, 3, say, generator=seeded(), steps=2) for w in (world, again))
    assert torch.equal(a, b)


def test_bad_settings_are_named():
    world, say = build(), Conditioning(actions=draw(1, 2, 2))
    given = draw(1, CHANNELS, 1, 8, 8)
    with pytest.raises(BadInput, match="Did you mean 'steps'"):
        world.extend(given, 1, say, generator=seeded(), step=3)
    with pytest.raises(BadInput, match="level"):
        world.extend(given, 1, say, generator=seeded(), level=0.0)
    with pytest.raises(BadInput, match="3 actions; got 2"):
        world.extend(given, 3, say, generator=seeded())
    with pytest.raises(BadInput, match="causal"):
        DiTConfig(48, 2, 2, window=3)
    with pytest.raises(BadInput, match="causal"):
        ClipWorld(SMALL, world.setting)
    with pytest.raises(BadInput, match="given=false"):
        dataclasses.replace(SMALL, network=dataclasses.replace(NETWORK, given=True)).build(world.setting)
    with pytest.raises(BadInput, match="one frame"):
        DiT(dataclasses.replace(NETWORK, causal=False, window=0), CHANNELS)(given, torch.zeros(1), past=[])
