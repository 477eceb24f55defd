"""The live world: what it must be whatever its weights, and that it learns to follow an action on blobs that an action moves."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.stepping import SteppingWorld
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
CHANNELS = 4
SMALL = DiffusionConfig(UNetConfig(fine=32, coarse=32, fine_blocks=1, coarse_blocks=2, heads=2, dim=64), LIVE, past=3)


def setting(actions: ActionSpec | None = SPEC, text_dim: int = 0, temporal: int = 1) -> Setting:
    ref = TokenizerRef("synthetic", "0" * 64, temporal, 8, CHANNELS, 0, (64, 64))
    return Setting(ref, actions, "hash" if text_dim else "", text_dim)


def build(config: DiffusionConfig = SMALL, **of_setting) -> SteppingWorld:
    torch.manual_seed(0)
    world = config.build(setting(**of_setting))
    assert isinstance(world, SteppingWorld)
    return world


def fill(world: torch.nn.Module, seed: int = 1) -> None:
    """Put random numbers in every parameter: what starts at zero would make most tests vacuous."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in world.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n: int, frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright spot that each action moves by up to one cell; latents `n 4 t 8 8` and actions `n t 2`."""
    g = seeded(seed)
    actions = torch.rand(n, frames, 2, generator=g) * 2 - 1
    place = 2.5 + 2 * torch.rand(n, 1, 2, generator=g)
    path = torch.cat([place, place + actions[:, :-1].cumsum(1)], dim=1).clamp(0.5, 6.5)
    cells = torch.arange(8.0)
    gap_y = cells[None, None, :, None] - path[..., 0, None, None]
    gap_x = cells[None, None, None, :] - path[..., 1, None, None]
    spot = torch.exp(-(gap_x**2 + gap_y**2) / 1.5)
    colours = torch.tensor([1.0, -2.0, 0.5, 3.0])
    return spot[:, None] * colours[None, :, None, None, None] + 0.3, actions


def batch_of(n: int = 4, frames: int = 6, text_dim: int = 0, seed: int = 0) -> Batch:
    latents, actions = blobs(n, frames, seed)
    context = torch.randn(n, 5, text_dim, generator=seeded(seed)) if text_dim else None
    return Batch(
        latents=latents, actions=actions, context=context, context_mask=torch.ones(n, 5, dtype=torch.bool) if text_dim else None
    )


def test_an_untrained_world_repeats_the_last_frame():
    world = build()
    latents, actions = blobs(2, 6, 0)
    world.fit_normaliser(latents)
    out = world.extend(latents, 4, Conditioning(actions=actions), generator=seeded())
    change = world.change_std * world.latent_std
    assert ((out - latents[:, :, -1:]).abs() / change.view(1, -1, 1, 1, 1)).max() < 0.1


def test_a_batch_gives_a_finite_loss_and_a_gradient_to_every_parameter_an_action_first_of_all():
    world = build(text_dim=8)
    fill(world)
    loss, metrics = world(batch_of(8, text_dim=8), seeded())
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(metrics["error"])
    untouched = [name for name, p in world.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not untouched
    assert world.network.action is not None and world.network.action[0].weight.grad.abs().sum() > 0


def test_the_loss_is_a_function_of_the_generator():
    world = build()
    fill(world)
    a, b, c = (world(batch_of(), seeded(s))[0].item() for s in (3, 3, 4))
    assert a == b != c


def test_a_temperature_is_of_the_first_frame_that_nothing_precedes():
    world = build(text_dim=8)
    fill(world)
    latents, actions = blobs(2, 6, 0)
    nothing, told = latents[:, :, :0], Conditioning(actions=actions[:, :2], context=torch.randn(2, 5, 8, generator=seeded()))

    def first(**sampling):
        return world.extend(nothing, 3, told, generator=seeded(), **sampling)

    assert torch.equal(first(), first(temperature=1.0)) and not torch.equal(first()[:, :, 0], first(temperature=0.5)[:, :, 0])
    assert torch.equal(first(guidance=2.0), first(guidance=2.0, temperature=0.6))
    assert torch.equal(first(solver="euler"), first(solver="euler", temperature=1.0))
    with pytest.raises(BadInput, match="adds no noise that a temperature could lower"):
        world.extend(latents, 2, told, generator=seeded(), temperature=0.5)
    world.extend(latents, 2, told, generator=seeded(), steps=4, solver="ancestral", temperature=0.5)
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(BadInput, match="temperature is 0 or more"):
            first(temperature=wrong)


@pytest.mark.parametrize("steps", [1, 3])
def test_same_seed_same_bytes(steps):
    world = build()
    fill(world)
    latents, actions = blobs(2, 6, 0)
    a, b, c = (world.extend(latents, 3, Conditioning(actions=actions), generator=seeded(s), steps=steps) for s in (5, 5, 6))
    assert a.shape == (2, CHANNELS, 3, 8, 8)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_only_the_window_and_the_actions_so_far_matter():
    world = build()
    fill(world)
    latents, actions = blobs(1, 6, 0)
    plain = world.extend(latents, 4, Conditioning(actions=actions), generator=seeded())
    older = latents.clone()
    older[:, :, :3] = 9.0  # before the window of 3
    assert torch.equal(plain, world.extend(older, 4, Conditioning(actions=actions), generator=seeded()))
    later = actions.clone()
    later[:, 2:] = -later[:, 2:]
    changed = world.extend(latents, 4, Conditioning(actions=later), generator=seeded())
    assert torch.equal(plain[:, :, :2], changed[:, :, :2]) and not torch.equal(plain[:, :, 2], changed[:, :, 2])


def test_stepping_one_by_one_is_the_same_as_at_once():
    world = build()
    fill(world)
    latents, actions = blobs(1, 6, 0)
    at_once = world.extend(latents, 3, Conditioning(actions=actions[:, :3]), generator=seeded())
    g, so_far = seeded(), latents
    for i in range(3):
        frame = world.extend(so_far, 1, Conditioning(actions=actions[:, i : i + 1]), generator=g)
        so_far = torch.cat([so_far, frame], dim=2)
    torch.testing.assert_close(so_far[:, :, 6:], at_once, rtol=0, atol=1e-4)


def test_a_frame_that_is_not_given_does_not_matter():
    world = build()
    fill(world)
    latents, _ = blobs(2, 6, 0)
    z = world.normalise(latents).transpose(1, 2)
    target, count, level = torch.tensor([4, 4]), torch.tensor([1, 3]), torch.zeros(2)
    window = world._training_window(z, target, count, level, seeded())
    assert window.given.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert torch.equal(window.past[1], z[1, 1:4]) and not window.past[0, :2].any()
    y, sigma = torch.zeros(2, CHANNELS, 8, 8), torch.ones(2)
    before = world.denoise(y, sigma, dataclasses.replace(window, action=torch.zeros(2, 2)))
    hidden = window.past.clone()
    hidden[0, 0] = 7.0
    after = world.denoise(y, sigma, dataclasses.replace(window, past=hidden, action=torch.zeros(2, 2)))
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_the_first_frame_comes_from_text_alone():
    world = build(text_dim=8)
    fill(world)
    nothing = torch.zeros(1, CHANNELS, 0, 8, 8)
    actions = torch.zeros(1, 2, 2)
    red, blue = torch.randn(1, 5, 8, generator=seeded(1)), torch.randn(1, 5, 8, generator=seeded(2))
    out = [
        world.extend(nothing, 3, Conditioning(context=c, actions=actions), generator=seeded(), first_steps=4)
        for c in (red, blue)
    ]
    assert out[0].shape == (1, CHANNELS, 3, 8, 8) and torch.isfinite(out[0]).all()
    assert not torch.equal(out[0][:, :, 0], out[1][:, :, 0])
    other = world.extend(nothing, 3, Conditioning(context=red, actions=actions + 1), generator=seeded(), first_steps=4)
    assert torch.equal(out[0][:, :, 0], other[:, :, 0]), "no action leads to a first frame"
    assert not torch.equal(out[0][:, :, 1], other[:, :, 1])
    assert world.extend(nothing, 0, Conditioning(actions=actions), generator=seeded()).shape[2] == 0


def test_guidance_is_off_at_zero_and_contrasts_with_no_text():
    world = build(text_dim=8)
    fill(world)
    latents, actions = blobs(1, 4, 0)
    text = torch.randn(1, 5, 8, generator=seeded(1))

    def go(**kw):
        c = Conditioning(context=text, actions=actions, negative=kw.pop("negative", None))
        return world.extend(latents, 1, c, generator=seeded(), **kw)

    assert torch.equal(go(), go(guidance=0.0))
    assert not torch.allclose(go(), go(guidance=2.0))
    torch.testing.assert_close(go(), go(guidance=2.0, negative=text))  # against itself nothing is left to contrast


def test_padding_of_the_text_does_not_matter():
    world = build(text_dim=8)
    fill(world)
    latents, actions = blobs(1, 4, 0)
    text, mask = torch.randn(1, 5, 8, generator=seeded(1)), torch.tensor([[True, True, True, False, False]])
    padded = text.clone()
    padded[:, 3:] = 100.0
    a, b = (
        world.extend(latents, 1, Conditioning(context=c, context_mask=mask, actions=actions), generator=seeded())
        for c in (text, padded)
    )
    assert torch.equal(a, b)


def test_a_tokenizer_that_folds_frames_takes_as_many_actions():
    world = build(temporal=2)
    fill(world)
    latents, actions = blobs(2, 5, 0)
    twice = actions.repeat_interleave(2, dim=1)
    loss, _ = world(Batch(latents=latents, actions=twice), seeded())
    assert torch.isfinite(loss)
    assert world.extend(latents, 2, Conditioning(actions=twice[:, :4]), generator=seeded()).shape[2] == 2
    with pytest.raises(BadInput, match="4 frames want 4 actions"):
        world.extend(latents, 2, Conditioning(actions=twice[:, :3]), generator=seeded())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w, z, a: w.extend(z, 2, Conditioning(actions=a[..., :1]), generator=seeded()), "width 2 .x, y.; got width 1"),
        (lambda w, z, a: w.extend(z, 2, Conditioning(), generator=seeded()), "none were given"),
        (lambda w, z, a: w.extend(z, 9, Conditioning(actions=a), generator=seeded()), "9 frames want 9 actions"),
        (lambda w, z, a: w.extend(z[:, :2], 1, Conditioning(actions=a), generator=seeded()), "4 channels"),
        (lambda w, z, a: w.extend(z, 1, Conditioning(actions=a), generator=seeded(), step=4), "got step"),
        (lambda w, z, a: w.extend(z, 1, Conditioning(actions=a), generator=seeded(), solver="eular"), "Did you mean 'euler'"),
        (lambda w, z, a: w.extend(z, 1, Conditioning(z[:, 0, 0], actions=a), generator=seeded()), "reads no text"),
        (lambda w, z, a: w(Batch(actions=a), seeded()), "holds none"),
        (lambda w, z, a: w(Batch(latents=z), seeded()), "none were given"),
        (lambda w, z, a: w(Batch(latents=z[:, :, :1], actions=a), seeded()), "at least two"),
    ],
)
def test_errors_say_what_was_given_and_what_would_work(call, words):
    latents, actions = blobs(1, 6, 0)
    with pytest.raises(BadInput, match=words):
        call(build(), latents, actions)


def test_the_normaliser_is_undone_and_travels():
    world = build()
    latents, _ = blobs(8, 6, 0)
    world.fit_normaliser(latents)
    z = world.normalise(latents)
    assert z.mean((0, 2, 3, 4)).abs().max() < 1e-4 and (z.std((0, 2, 3, 4)) - 1).abs().max() < 1e-3
    torch.testing.assert_close(world.denormalise(z), latents)
    assert {"latent_mean", "latent_std", "change_std"} <= set(world.state_dict())


def test_saved_and_loaded_it_dreams_the_same_bytes(tmp_path):
    world = build(text_dim=8)
    fill(world)
    latents, actions = blobs(1, 6, 0)
    world.fit_normaliser(latents)
    worlds.save(world, tmp_path / "world")
    again = worlds.load(tmp_path / "world")
    assert again.config == world.config and again.setting == world.setting
    a, b = (w.extend(latents, 3, Conditioning(actions=actions), generator=seeded()) for w in (world, again))
    assert torch.equal(a, b)


def test_it_learns_to_follow_an_action():
    """Seconds of blobs: better than repeating the last frame, on blobs it never saw, and an action turned round turns the blob."""
    world = build(dataclasses.replace(SMALL, unroll_prob=0.2))
    latents, actions = blobs(128, 8, 0)
    world.fit_normaliser(latents)
    optimiser = torch.optim.AdamW(world.parameters(), lr=2e-3)
    rng, losses = seeded(), []
    for _ in range(130):
        rows = torch.randint(0, 128, (24,), generator=rng)
        loss, metrics = world(Batch(latents=latents[rows], actions=actions[rows]), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(metrics["error"].item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])

    world.eval()
    latents, actions = blobs(32, 8, 1)
    given, truth = latents[:, :, :4], latents[:, :, 4]
    one = world.extend(given, 1, Conditioning(actions=actions[:, 3:]), generator=seeded())[:, :, 0]
    turned = world.extend(given, 1, Conditioning(actions=-actions[:, 3:]), generator=seeded())[:, :, 0]
    several = world.extend(given, 1, Conditioning(actions=actions[:, 3:]), generator=seeded(), steps=4, solver="heun")[:, :, 0]
    copy, error, wrong, sampled = ((x - truth).square().mean().item() for x in (given[:, :, -1], one, turned, several))
    assert error < 0.35 * copy, (error, copy)
    assert wrong > 2 * error, (wrong, error)
    assert sampled < copy, (sampled, copy)
    rolled = world.extend(given, 4, Conditioning(actions=actions[:, 3:]), generator=seeded())
    late = (rolled[:, :, 3] - latents[:, :, 7]).square().mean().item()
    assert late < (given[:, :, -1] - latents[:, :, 7]).square().mean().item()
