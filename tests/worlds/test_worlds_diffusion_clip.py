"""The clip world: what it must be whatever its weights, and that it learns."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput
from armillary.nn.lora import attach
from armillary.presets import from_json, to_json
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.fast import FastDiT, Kept
from armillary.worlds.diffusion.world import DIFFUSION, PUBLISHED, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
CHANNELS = 4
SMALL = DiffusionConfig(DiTConfig(48, 2, 2, lora=16, limit=(16, 8, 8)), PUBLISHED, past=2, clip=5)


def setting(actions: ActionSpec | None = SPEC, text_dim: int = 0, channels: int = CHANNELS) -> Setting:
    return Setting(
        TokenizerRef("synthetic", "0" * 64, 1, 8, channels, 0, (64, 64)), actions, "hash" if text_dim else "", text_dim
    )


def build(config: DiffusionConfig = SMALL, *, filled: bool = True, **of_setting) -> ClipWorld:
    torch.manual_seed(0)
    world = config.build(setting(**of_setting))
    assert isinstance(world, ClipWorld)
    if filled:  # what starts at zero would make most tests vacuous
        g = seeded(9)
        with torch.no_grad():
            for p in world.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=g) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))
    return world


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def test_an_untrained_network_answers_nothing():
    network = build(filled=False).network
    assert not network(draw(1, CHANNELS, 3, 8, 8), torch.zeros(1)).any()


def test_every_parameter_has_a_gradient():
    world = build(text_dim=8)
    context = draw(3, 5, 8)
    batch = Batch(latents=draw(3, CHANNELS, 4, 8, 8), actions=draw(3, 4, 2), context=context)
    loss, metrics = world(batch, seeded())
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(metrics["error"])
    untouched = [n for n, p in world.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not untouched


def test_given_frames_carry_no_loss():
    """All but the last of `t` frames may be given; what the network says of a given frame changes nothing."""
    world = build(actions=None)
    clean, noise = draw(1, CHANNELS, 3, 8, 8), draw(1, CHANNELS, 3, 8, 8, seed=1)
    given = torch.tensor([1.0, 1.0, 0.0])[None, None, :, None, None]
    out = world.denoise(draw(1, CHANNELS, 3, 8, 8, seed=2), torch.tensor([1.0]), clean, given, noise, torch.tensor([0.01]))
    assert torch.equal(out[:, :, :2], clean[:, :, :2]) and not torch.equal(out[:, :, 2], clean[:, :, 2])
    free = world.denoise(draw(1, CHANNELS, 3, 8, 8, seed=2), torch.tensor([0.005]), clean, given, noise, torch.tensor([0.01]))
    assert not torch.equal(free[:, :, :2], clean[:, :, :2]), "below their own level given frames are denoised like others"


def test_the_noisy_side_of_a_given_frame_does_not_matter():
    world = build(actions=None)
    clean, noise, x = (draw(1, CHANNELS, 3, 8, 8, seed=s) for s in range(3))
    given = torch.tensor([1.0, 0.0, 0.0])[None, None, :, None, None]
    other = x.clone()
    other[:, :, 0] = 5.0
    a, b = (world.denoise(v, torch.tensor([1.0]), clean, given, noise, torch.tensor([0.01])) for v in (x, other))
    assert torch.equal(a, b)


@pytest.mark.parametrize(("have", "frames"), [(0, 3), (1, 2), (4, 7), (0, 0)])
def test_it_extends_by_what_was_asked_clip_after_clip(have, frames):
    world = build()
    given = draw(2, CHANNELS, have, 8, 8)
    say = Conditioning(actions=draw(2, 8, 2))
    out = world.extend(given, frames, say, generator=seeded(), steps=2)
    assert out.shape == (2, CHANNELS, frames, 8, 8) and torch.isfinite(out).all()
    assert torch.equal(out, world.extend(given, frames, say, generator=seeded(), steps=2))
    assert not frames or not torch.equal(out, world.extend(given, frames, say, generator=seeded(1), steps=2))


def test_each_frame_hears_the_action_that_leads_to_it():
    """Turn off what frames hear of each other: then an action changes its own frame alone."""
    world = build()
    for block in world.blocks:
        torch.nn.init.zeros_(block.attn.out.weight)
    actions = draw(1, 6, 2)
    for have in (0, 2):
        given = draw(1, CHANNELS, have, 8, 8)
        plain = world.extend(given, 3, Conditioning(actions=actions), generator=seeded(), steps=2)
        for i in range(3):
            turned = actions.clone()
            turned[:, i] += 1.0
            other = world.extend(given, 3, Conditioning(actions=turned), generator=seeded(), steps=2)
            changed = [(plain[:, :, f] != other[:, :, f]).any().item() for f in range(3)]
            assert changed == [f == i + (have == 0) for f in range(3)], (have, i, changed)


def test_later_clips_hear_their_own_actions():
    world = build()
    given, actions = draw(1, CHANNELS, 2, 8, 8), draw(1, 6, 2)
    turned = actions.clone()
    turned[:, 3:] *= -1  # of the second clip: the first dreams 3 further frames
    a, b = (world.extend(given, 6, Conditioning(actions=x), generator=seeded(), steps=2) for x in (actions, turned))
    assert torch.equal(a[:, :, :3], b[:, :, :3]) and not torch.allclose(a[:, :, 3:], b[:, :, 3:])


def test_text_is_heard_and_guidance_contrasts_with_the_negative():
    world = build(text_dim=8, actions=None)
    given, text = draw(1, CHANNELS, 1, 8, 8), draw(1, 5, 8)

    def go(context, **kw):
        c = Conditioning(context=context, negative=kw.pop("negative", None))
        return world.extend(given, 2, c, generator=seeded(), steps=2, **kw)

    assert not torch.allclose(go(text), go(-text))
    assert not torch.allclose(go(text), go(text, guidance=3.0))
    torch.testing.assert_close(go(text), go(text, guidance=3.0, negative=text))


def test_the_frame_rate_is_heard():
    world = build(actions=None)
    given = draw(1, CHANNELS, 1, 8, 8)
    a, b = (world.extend(given, 3, Conditioning(), generator=seeded(), steps=2, fps=f) for f in (10.0, 20.0))
    assert not torch.allclose(a, b)
    assert torch.equal(a, world.extend(given, 3, Conditioning(), generator=seeded(), steps=2)), "the world's own is 10"


def test_saved_and_loaded_it_dreams_the_same_bytes(tmp_path):
    world = build(text_dim=8)
    worlds.save(world, tmp_path / "world")
    again = worlds.load(tmp_path / "world")
    assert again.config == world.config
    given, say = draw(1, CHANNELS, 1, 8, 8), Conditioning(actions=draw(1, 3, 2), context=draw(1, 5, 8))
    a, b = (w.extend(given, 3, say, generator=seeded(), steps=2) for w in (world, again))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda w: w.extend(draw(1, CHANNELS, 1, 8, 8), 2, Conditioning(actions=draw(1, 2, 3)), generator=seeded()),
            "got width 3",
        ),
        (
            lambda w: w.extend(draw(1, CHANNELS, 1, 8, 8), 3, Conditioning(actions=draw(1, 2, 2)), generator=seeded()),
            "3 actions; got 2",
        ),
        (lambda w: w.extend(draw(1, CHANNELS, 1, 7, 8), 1, Conditioning(actions=draw(1, 2, 2)), generator=seeded()), "7 by 8"),
        (
            lambda w: w.extend(draw(1, CHANNELS, 1, 8, 18), 1, Conditioning(actions=draw(1, 2, 2)), generator=seeded()),
            "positions",
        ),
        (
            lambda w: w.extend(
                draw(1, CHANNELS, 1, 8, 8), 1, Conditioning(actions=draw(1, 2, 2)), generator=seeded(), first_steps=3
            ),
            "first_steps",
        ),
    ],
)
def test_errors_say_what_was_given_and_what_would_work(call, words):
    with pytest.raises(BadInput, match=words):
        call(build())


def test_a_world_from_text_only_takes_no_frames():
    text_only = dataclasses.replace(SMALL, network=DiTConfig(48, 2, 2, lora=16, given=False, limit=(16, 8, 8)))
    world = build(text_only, actions=None)
    assert torch.isfinite(world(Batch(latents=draw(2, CHANNELS, 4, 8, 8)), seeded())[0])
    assert world.extend(draw(1, CHANNELS, 0, 8, 8), 2, Conditioning(), generator=seeded(), steps=2).shape[2] == 2
    with pytest.raises(BadInput, match="text to world only"):
        world.extend(draw(1, CHANNELS, 1, 8, 8), 2, Conditioning(), generator=seeded())


@pytest.mark.parametrize("name", list(DIFFUSION))
def test_every_size_builds_and_its_config_travels(name):
    config = DIFFUSION[name]
    with torch.device("meta"):
        world = config.build(setting(text_dim=1024, channels=16))
    assert sum(p.numel() for p in world.parameters()) > 1e6 and len(world.blocks) > 1
    assert from_json(DiffusionConfig, to_json(config)) == config


def test_it_learns_a_clip_of_a_moving_bar():
    """A bar that moves one column a frame: given one frame, the rest is dreamed better than by repeating it."""
    column, start = torch.arange(8.0), torch.arange(4.0)
    place = start[:, None] + torch.arange(4.0)  # row, frame
    bar = 2 * torch.exp(-((column - place[..., None]) ** 2))
    latents = bar[:, None, :, None, :].expand(4, CHANNELS, 4, 8, 8).contiguous()
    config = dataclasses.replace(SMALL, objective=dataclasses.replace(PUBLISHED, by_frames=False))
    world = build(config, actions=None, filled=False)
    world.fit_normaliser(latents)
    optimiser = torch.optim.AdamW(world.parameters(), lr=5e-3)
    rng, errors = seeded(), []
    for _ in range(120):
        loss, metrics = world(Batch(latents=latents.repeat(2, 1, 1, 1, 1)), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(metrics["error"].item())
    assert sum(errors[-20:]) < 0.6 * sum(errors[:20])
    out = world.eval().extend(latents[:, :, :1], 3, Conditioning(), generator=seeded(), steps=10)
    error = (out - latents[:, :, 1:]).square().mean()
    copy = (latents[:, :, :1] - latents[:, :, 1:]).square().mean()
    assert error < 0.5 * copy, (float(error), float(copy))


def test_positions_are_learned_per_axis_and_of_unit_size():
    network = DiT(DiTConfig(48, 1, 2, lora=16, limit=(4, 5, 6)), CHANNELS)
    assert network.absolute is not None
    from armillary.types import Grid

    at = network.absolute(Grid(1, 2, 3, 4))
    assert at.shape == (1, 2, 12, 48)
    torch.testing.assert_close(at.square().mean(-1).sqrt(), torch.ones(1, 2, 12), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
@torch.no_grad()
def test_what_samples_is_the_same_network(absolute, frames):
    """Text read beforehand or not, levels of frames or of clips, ports, a batch, few tokens and many."""
    config = dataclasses.replace(
        SMALL, network=dataclasses.replace(SMALL.network, absolute=absolute, project=0 if absolute else 12)
    )
    network = build(config, text_dim=8).network
    fast, fps = FastDiT(network), torch.full((2,), 10.0)
    for cells in (4, 16):
        x, context = draw(2, CHANNELS, frames, cells, cells), draw(2, 5, 8, seed=1)
        given = torch.zeros(2, 1, frames, cells, cells)
        given[:, :, :1] = 1
        for level in (draw(2, seed=2), draw(2, frames, seed=3)):
            ports = {
                "modulation": draw(2, frames, 144, seed=4),
                "channels": draw(2, 48, frames, cells // 2, cells // 2, seed=5),
            }
            acted = {"actions": draw(2, frames, 2, seed=6), "has_action": torch.tensor([[1.0] * frames, [0.0] * frames])}
            wanted = network(x, level, context, given=given, fps=fps, **acted, **ports)
            for told in (context, fast.read(context, 2, x)):
                made = fast(x, level, told, given=given, fps=fps, **acted, **ports)
                assert (made - wanted).abs().max() < 2e-5 * wanted.abs().max()
        assert (fast(x[:1], level[:1, 0]) - network(x[:1], level[:1, 0])).abs().max() < 2e-5 * wanted.abs().max()


@pytest.mark.parametrize("through", ["in place", "data"])
@torch.no_grad()
def test_a_twin_is_kept_until_a_weight_changes(through):
    world, kept = build(), Kept()
    twin = kept.of(world.network)
    assert kept.of(world.network) is twin
    weight = world.network.blocks[0].mlp.up.weight
    (weight.data if through == "data" else weight).mul_(2)
    x, level = draw(1, CHANNELS, 2, 4, 4), torch.zeros(1)
    fresh = kept.of(world.network)
    assert fresh is not twin
    torch.testing.assert_close(fresh(x, level), world.network(x, level), atol=1e-5, rtol=1e-5)
    given, say = draw(1, CHANNELS, 1, 8, 8), Conditioning(actions=draw(1, 3, 2))
    dreams = [w.extend(given, 3, say, generator=seeded(), steps=2) for w in (world, copy.deepcopy(world))]
    assert torch.equal(*dreams)


@torch.no_grad()
def test_what_is_put_on_a_network_is_not_passed_over():
    world, other = build(), build()
    assert FastDiT.serves(world.network)
    attach(other.network, 2, targets=("blocks.*.attn.q",))
    assert not FastDiT.serves(other.network), "an adapter acts through a hook"
    assert not FastDiT.serves(DiT(dataclasses.replace(SMALL.network, causal=True), CHANNELS)), (
        "frames there do not all see each other"
    )
    given, say = draw(1, CHANNELS, 1, 8, 8), Conditioning(actions=draw(1, 3, 2))
    plain, same = (w.extend(given, 3, say, generator=seeded(), steps=2) for w in (world, other))
    assert (plain - same).abs().max() < 1e-4, "at first an adapter changes nothing"
    for layer in other.network.blocks:
        layer.attn.q.lora.up.normal_(generator=seeded(3))
    assert (other.extend(given, 3, say, generator=seeded(), steps=2) - plain).abs().max() > 1e-3
