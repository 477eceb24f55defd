"""The streaming diffusion decoder: groups of frames, a draft of them on a port, given frames as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary.errors import BadInput
from armillary.types import Batch
from armillary.worlds import TokenizerRef
from armillary.worlds.autoregressive.refine import REFINERS, load_refiner, save_refiner
from armillary.worlds.autoregressive.stream import StreamConfig, StreamRefiner
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.unet import UNetConfig

TOKENS = TokenizerRef("letters", "a" * 64, 4, 8, 2, 6, (32, 32))
ALONE = TokenizerRef("alone", "b" * 64, 1, 4, 3, 0, (32, 32))
FOLDED = dataclasses.replace(ALONE, name="folded", temporal=4)
NETWORK = UNetConfig(fine=32, coarse=32, fine_blocks=1, coarse_blocks=1, heads=2, dim=32)
NANO = REFINERS["stream-nano"]
assert isinstance(NANO, StreamConfig)
CONFIG = dataclasses.replace(NANO, world=dataclasses.replace(NANO.world, network=NETWORK), clip=4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def refiner_of(latents: TokenizerRef = ALONE) -> StreamRefiner:
    torch.manual_seed(0)
    return StreamRefiner(CONFIG, TOKENS, latents)


def pairs(rows: int, frames: int = 4, seed: int = 0, fold: int = 1) -> tuple[Batch, torch.Tensor]:
    """Latents `b 3 T 8 8` and their draft: colours that cells go towards evenly, the draft's off by a little.

    What no draft says is a still pattern of each clip's own: that is known from given frames alone.
    """
    g = rng(seed)
    colours = torch.randn(6, 3, generator=rng(7)) * 2 + 1
    ids = torch.randint(0, 6, (rows, frames, 4, 4), generator=g)
    ends = colours[ids].permute(0, 4, 1, 2, 3).repeat_interleave(2, 3).repeat_interleave(2, 4)
    still = torch.randn(rows, 3, 1, 8, 8, generator=g)
    steps = [ends[:, :, :1]]
    for i in range(1, frames):
        steps += [ends[:, :, i - 1 : i] * (1 - w) + ends[:, :, i : i + 1] * w for w in (0.25, 0.5, 0.75, 1.0)]
    said = ends if fold == 4 else torch.cat(steps, 2)
    return Batch(latents=said + still), said + 0.1 * torch.randn(said.shape, generator=g)


def identity(latents: torch.Tensor) -> torch.Tensor:
    return latents


@pytest.mark.parametrize("ref", [ALONE, FOLDED], ids=["alone", "folded"])
def test_it_draws_what_a_draft_says_and_keeps_what_given_frames_show(ref, tmp_path):
    fold = ref.temporal
    refiner = refiner_of(ref)
    refiner.fit_normaliser(pairs(32, fold=fold)[0].latents)
    learner, noise = torch.optim.AdamW(refiner.parameters(), lr=4e-3), rng()
    for step in range(200):
        batch, draft = pairs(16, seed=step, fold=fold)
        loss, metrics = refiner(batch, noise, draft)
        learner.zero_grad()
        loss.backward()
        learner.step()
    assert metrics["error"].isfinite()
    (held, draft), refiner = pairs(8, seed=10_000, fold=fold), refiner.eval()
    truth = held.latents
    assert truth is not None

    def draw(draft: torch.Tensor, given: torch.Tensor | None = truth[:, :, :1], by: StreamRefiner = refiner) -> torch.Tensor:
        return by.render(draft, identity, generator=rng(), given=given)

    def error(x):
        return float((x - truth)[:, :, 1:].square().mean())

    made = draw(draft)
    assert made.shape == truth.shape and torch.allclose(made[:, :, :1], truth[:, :, :1], atol=1e-5)
    copy = truth[:, :, :1].expand_as(truth)
    rivals = {"copy": copy, "another draft": draw(draft.flip(0)), "nothing given": draw(draft, None), "draft": draft}
    assert error(made) < 0.4 * min(error(x) for x in rivals.values()), "the draft counts, and so do given frames"
    assert torch.equal(made, draw(draft))
    save_refiner(refiner, tmp_path / "refiner")
    again = load_refiner(tmp_path / "refiner")
    assert isinstance(again, StreamRefiner) and again.config == CONFIG and again.latents == ref
    assert torch.equal(made, draw(draft, by=again))


def test_groups_come_apart_as_they_were():
    refiner, z = refiner_of(), torch.randn(2, 3, 13, 8, 8)
    groups = refiner.grouped(z)
    assert groups.shape == (2, 12, 4, 8, 8) and torch.equal(refiner.apart(groups), z)
    assert torch.equal(groups[:, :3, 0], z[:, :, 0]) and torch.equal(groups[:, 9:, 0], z[:, :, 0])
    assert torch.equal(groups[:, 3:6, 2], z[:, :, 6])
    with pytest.raises(BadInput, match="1 \\+ 4 x k"):
        refiner.grouped(z[:, :, :12])
    whole = refiner_of(FOLDED)
    assert whole.grouped(z) is z and whole.apart(z) is z


def test_a_frame_hangs_on_its_draft_and_those_before_but_on_no_later_ones():
    refiner = refiner_of().eval()
    with torch.no_grad():
        for p in refiner.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng(3)))
    draft = pairs(1)[1]
    changed = draft.clone()
    changed[:, :, 5:9] += 1
    a, b = (refiner.render(x, identity, generator=rng()) for x in (draft, changed))
    same = (a == b).flatten(3).all(-1).all(1)[0]
    assert same[:5].all() and not same[5:9].any() and not same[9:].any()


def test_bad_inputs():
    for tokens, latents, message in (
        (ALONE, TOKENS, "wrong way round"),
        (TOKENS, dataclasses.replace(ALONE, temporal=2), "fold as many frames or none"),
        (dataclasses.replace(TOKENS, spatial=2), ALONE, "no finer"),
    ):
        with pytest.raises(BadInput, match=message):
            StreamRefiner(CONFIG, tokens, latents)
    refiner, (batch, draft) = refiner_of(), pairs(1)
    with pytest.raises(BadInput, match="b 3 T 8 8"):
        refiner.said(torch.zeros(1, 3, 5, 8, 4))
    with pytest.raises(BadInput, match="of one shape; got None"):
        refiner(Batch(tokens=torch.zeros(1, 4, 4, 4, dtype=torch.long)), rng(), draft)
    with pytest.raises(BadInput, match="of one shape"):
        refiner(batch, rng(), draft[:, :, :5])
    with pytest.raises(BadInput, match="only 2 are to be drawn"):
        refiner.render(draft[:, :, :5], identity, generator=rng(), given=batch.latents)
    with pytest.raises(BadInput, match="samples with steps; got guidance"):
        refiner.render(draft, identity, generator=rng(), guidance=1.0)
    with pytest.raises(BadInput, match="wants a U-Net"):
        dataclasses.replace(CONFIG, world=dataclasses.replace(CONFIG.world, network=DiTConfig(32, 1, 2)))
