"""The objective: it learns, it is a function of weights, batch and generator alone, and its saliency sees what moves."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import tokenizers
from armillary.errors import BadInput
from armillary.tokenizers import ObjectiveConfig, TokenizerConfig, TokenizerObjective
from armillary.tokenizers.objective import TERMS, psnr, saliency
from armillary.types import Batch

TINY = TokenizerConfig(
    temporal=4, spatial=8, patch=4, patcher="unit-haar", width=16, mult=(1, 2), blocks=1, channels=8, shortcut=True
)
CONFIGS = {
    "continuous": TINY,
    "discrete": dataclasses.replace(TINY, channels=4, levels=(8, 5, 5, 5)),
    "frames": dataclasses.replace(TINY, temporal=1, video=False, shortcut=False),
}


def moving_square(frames=5, size=32):
    """A bright square that walks over a gradient; float `2 3 t h w`."""
    ramp = torch.linspace(-0.8, 0.2, size)
    video = ramp.expand(2, 3, frames, size, size).clone()
    for t in range(frames):
        video[0, 0, t, 8:16, 4 * t : 4 * t + 8] = 1.0
        video[1, 2, t, 4 * t : 4 * t + 8, 8:16] = 1.0
    return video


def objective(name, **changes):
    torch.manual_seed(0)
    return TokenizerObjective(tokenizers.build(CONFIGS[name]), ObjectiveConfig(**changes))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_falls_on_a_fixed_batch_and_every_weight_learns(name):
    model, rng = objective(name), torch.Generator().manual_seed(0)
    batch = Batch(video=moving_square())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    losses, quality = [], []
    idle = {n for n, _ in model.named_parameters()}
    for step in range(40):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 10)
        loss, metrics = model(batch, rng)
        optimizer.zero_grad()
        loss.backward()
        # What stands before a layer that starts at zero learns from the second step on.
        idle -= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
        losses.append(loss.item())
        quality.append(metrics["psnr"].item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert quality[-1] > quality[0] + 1
    # A bias whose effect a softmax cancels is the one thing that cannot learn.
    assert {n for n in idle if not n.endswith(".k.bias")} == set()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_random_number_comes_from_the_generator(name):
    model, batch = objective(name), Batch(video=moving_square())
    one, _ = model(batch, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    again, _ = model(batch, torch.Generator().manual_seed(3))
    assert torch.equal(one, again)
    other, _ = model(batch, torch.Generator().manual_seed(4))
    assert torch.equal(one, other) == (name == "discrete"), "only continuous latents are noised"


def test_metrics():
    loss, metrics = objective("continuous")(Batch(video=moving_square()), torch.Generator())
    on = [n for n in TERMS if getattr(ObjectiveConfig(), n)]
    assert set(metrics) == {"psnr", "psnr_moving", "spread", *on} and on == ["l1", "l2", "gradient"]
    assert loss.requires_grad and not any(m.requires_grad for m in metrics.values())
    config = ObjectiveConfig()
    assert loss.item() == pytest.approx(sum(getattr(config, n) * metrics[n].item() for n in on), rel=1e-5)
    _, metrics = objective("discrete")(Batch(video=moving_square()), torch.Generator())
    assert 1 < metrics["codes"] <= 2 * 2 * 4 * 4


def test_saliency_weighs_what_moves_and_keeps_its_mean():
    video = moving_square()
    weight = saliency(video, extra=4.0, contrast=0.3)
    assert weight.shape == (2, 1, 5, 32, 32)
    assert weight.mean().item() == pytest.approx(1.0, abs=1e-5)
    still, moved = weight[0, 0, 0, 31, 31], weight[0, 0, 0, 10, 2]
    assert (moved / still).item() == pytest.approx(5.0, rel=1e-5)
    flat = saliency(torch.zeros(2, 3, 5, 8, 8), extra=4.0, contrast=0.3)
    torch.testing.assert_close(flat, torch.ones_like(flat))
    single = saliency(video[:, :, :1], extra=4.0, contrast=0.3)
    assert single[0, 0, 0, 10, 2] > single[0, 0, 0, 31, 31], "single frames are compared with the batch's mean"


def test_psnr_is_in_decibels_of_the_range_two():
    true = torch.zeros(1, 3, 1, 4, 4)
    assert psnr(true + 0.2, true).item() == pytest.approx(20.0, abs=1e-4)
    where = torch.zeros(1, 1, 1, 4, 4)
    where[..., 0, 0] = 1
    spot = true.clone()
    spot[..., 0, 0] = 0.2
    assert psnr(spot, true, where).item() == pytest.approx(20.0, abs=1e-4)


def test_a_batch_without_video_or_of_a_wrong_length_is_refused():
    with pytest.raises(BadInput, match="the batch has none"):
        objective("continuous")(Batch(), torch.Generator())
    with pytest.raises(BadInput, match="1 \\+ 4·k"):
        objective("continuous")(Batch(video=moving_square(frames=4)), torch.Generator())


def test_latents_gain_nothing_by_being_large():
    """Noise grows with the latents, and the gradient knows it: the loss is level along their scale."""
    model, batch = objective("continuous", noise=0.3), Batch(video=moving_square())
    tokenizer = model.tokenizer
    embed = tokenizer.embed
    scale = torch.ones((), requires_grad=True)
    tokenizer.embed = lambda video: embed(video) * scale  # type: ignore[method-assign]
    render = tokenizer.render
    tokenizer.render = lambda latents: render(latents / scale)  # type: ignore[method-assign]
    loss, _ = model(batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert scale.grad.abs() < 1e-4 * loss.detach()
