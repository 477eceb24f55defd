"""The terms of later stages: what each one punishes and what it lets pass, and that their gradients go where they should."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from armillary import features, tokenizers
from armillary.errors import BadInput
from armillary.tokenizers import ObjectiveConfig, TokenizerConfig, TokenizerObjective
from armillary.tokenizers.objective.adversary import Rival, RivalConfig, balance
from armillary.tokenizers.objective.flow import flow, lucas_kanade, warp
from armillary.tokenizers.objective.perceive import gram, perceptual
from armillary.tokenizers.objective.sight import Sight
from armillary.tokenizers.objective.window import window
from armillary.types import Batch

TINY = TokenizerConfig(
    temporal=4,
    spatial=8,
    patch=4,
    patcher="unit-haar",
    width=16,
    mult=(1, 2),
    blocks=1,
    channels=4,
    levels=(8, 5, 5, 5),
    shortcut=True,
)


def texture(height=48, width=48, seed=0, cell=4):
    """A smooth random picture, `1 3 h w`."""
    coarse = torch.rand(1, 3, height // cell, width // cell, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(-1, 1)


def panning(frames=5, size=32, speed=2):
    """A window that slides over a texture: `1 3 t h w`."""
    wide = texture(size, size + speed * frames + 4)
    return torch.stack([wide[..., speed * t : speed * t + size] for t in range(frames)], dim=2)


def sight(made, true, **more):
    return Sight(made, true, torch.ones_like(true[:, :1]), 4, more.pop("again", lambda x: x), **more)


@pytest.mark.parametrize("shift", [(0, 0), (2, 0), (-3, 1), (0, 4)])
def test_motion_is_found(shift):
    wide = texture(72, 72, cell=8)
    now, then = wide[..., 12:60, 12:60], wide[..., 12 - shift[1] : 60 - shift[1], 12 - shift[0] : 60 - shift[0]]
    motion = lucas_kanade(now, then)[..., 8:-8, 8:-8]
    assert motion.shape == (1, 2, 32, 32)
    found = motion.flatten(2).median(dim=2).values[0]
    torch.testing.assert_close(found, torch.tensor([float(s) for s in shift]), atol=0.15, rtol=0)
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert (warp(then, lucas_kanade(now, then)) - now)[inner].abs().mean() < 0.03


def test_where_nothing_has_structure_nothing_moves():
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.equal(lucas_kanade(flat, flat), torch.zeros(1, 2, 32, 32))


def test_an_error_that_moves_with_the_picture_is_let_pass_and_one_that_flickers_is_not():
    """The same error in every frame, once stuck to the scene, once standing still, once with a sign that changes."""
    true = panning()
    stain = 0.4 * (texture(32, 46, seed=1))
    stuck = torch.stack([stain[..., 2 * t : 2 * t + 32] for t in range(5)], dim=2)
    still = stain[..., :32].unsqueeze(2).expand(-1, -1, 5, -1, -1)
    flicker = stuck * torch.tensor([1.0, -1, 1, -1, 1]).view(5, 1, 1)
    costs = [flow(sight(true + e, true)).item() for e in (torch.zeros_like(true), stuck, still, flicker)]
    assert costs[0] == 0 and costs[1] < 0.5 * costs[2] < 0.5 * costs[3]


def test_motion_gets_no_gradient_and_the_reconstruction_does():
    true = panning()
    made = (true + 0.1 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
    flow(sight(made, true)).backward()
    assert made.grad is not None and made.grad.abs().sum() > 0


def test_textures_may_lie_anywhere_but_structure_may_not():
    seen = features.untrained("small")
    true = texture(32, 32).unsqueeze(2).expand(-1, -1, 3, -1, -1)
    moved, dull = true.roll(7, dims=4), true.mean(dim=(3, 4), keepdim=True).expand_as(true)
    same = sight(true, true, features=seen)
    assert perceptual(same) == 0 and gram(same) == 0
    assert gram(sight(moved, true, features=seen)) < 0.1 * gram(sight(dull, true, features=seen))
    assert perceptual(sight(moved, true, features=seen)) > 0.3 * perceptual(sight(dull, true, features=seen))


def test_features_see_the_chosen_frames_only():
    seen, true = features.untrained("small"), panning()
    made = true.clone()
    made[:, :, 3] += 0.5
    assert perceptual(sight(made, true, features=seen, chosen=torch.tensor([0, 1]))) == 0
    assert perceptual(sight(made, true, features=seen, chosen=torch.tensor([3]))) > 0
    with pytest.raises(BadInput, match="2 weights; these features give 5 maps"):
        perceptual(sight(made, true, features=seen, layers=(1.0, 1.0)))


def test_windows_agree_when_the_past_does_not_matter():
    true = panning(frames=9)
    assert window(sight(true, true)) == 0
    assert window(sight(true, true, again=lambda x: x + 0.25)).item() == pytest.approx(0.25, rel=1e-5)
    lengths = []
    window(sight(true, true, again=lambda x: lengths.append(x.shape[2]) or x))
    assert lengths == [5]
    with pytest.raises(BadInput, match="clips of 9 frames or more"):
        window(sight(true[:, :, :5], true[:, :, :5]))


def test_the_rival_learns_to_tell_them_apart_and_is_not_taught_by_the_tokenizer():
    torch.manual_seed(0)
    rival, true = Rival(RivalConfig(width=8)), panning(size=32)
    made = F.avg_pool3d(true, (1, 5, 5), stride=1, padding=(0, 2, 2))
    optimizer = torch.optim.Adam(rival.parameters(), lr=2e-3)
    for _ in range(30):
        loss, metrics = rival.loss(made, true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert metrics["rival_right"] > 0.9 and rival(true).mean() > rival(made).mean()
    optimizer.zero_grad()
    blurred = made.clone().requires_grad_(True)
    (-rival.judge(blurred).mean()).backward()
    assert blurred.grad.abs().sum() > 0 and all(p.grad is None for p in rival.parameters())


def test_the_rival_pulls_as_strongly_as_it_may():
    last = torch.ones(3, requires_grad=True)
    factor = balance((2 * last).sum(), (1e-2 * last).sum(), last)
    assert factor.item() == pytest.approx(200, rel=1e-2) and not factor.requires_grad


@pytest.mark.parametrize("term", ["perceptual", "gram", "flow", "window", "adversary"])
def test_each_term_alone_reaches_the_encoder(term):
    torch.manual_seed(0)
    weights = {"l1": 0.0, "l2": 0.0, "gradient": 0.0, term: 1.0} | ({"l1": 1e-3} if term == "adversary" else {})
    model = TokenizerObjective(tokenizers.build(TINY), ObjectiveConfig(**weights), features.untrained("small"))
    loss, metrics = model(Batch(video=panning(frames=9)), torch.Generator().manual_seed(0))
    loss.backward()
    assert term in metrics and model.tokenizer.shortcut.analyse.weight.grad.abs().sum() > 0
    image = Batch(video=panning(frames=1))
    _, metrics = model(image, torch.Generator().manual_seed(0))
    assert (term in metrics) == (term not in ("flow", "window")), "a single frame has no motion"


def test_features_are_wanted_and_are_no_part_of_what_is_saved():
    with pytest.raises(BadInput, match=r"set model\.features"):
        TokenizerObjective(tokenizers.build(TINY), ObjectiveConfig(gram=0.1))
    seen = features.untrained("small")
    model = TokenizerObjective(tokenizers.build(TINY), ObjectiveConfig(perceptual=0.1), seen)
    assert not any("stages" in k for k in model.state_dict())
    model.double()
    assert next(seen.parameters()).dtype == torch.float64, "but they move along"
