"""The diffusion decoder: it learns latents from tokens, goes chunk by chunk, and knows what it was made for."""

import dataclasses
import itertools

import pytest
import torch

from armillary.errors import BadInput
from armillary.types import Batch
from armillary.worlds import TokenizerRef
from armillary.worlds.autoregressive.refine import REFINERS, Refiner, RefinerConfig, chunk_starts, load_refiner, save_refiner
from armillary.worlds.diffusion.dit import DiTConfig

TOKENS = TokenizerRef("letters", "a" * 64, 4, 8, 2, 6, (32, 32))
FINE = TokenizerRef("fine", "b" * 64, 4, 4, 3, 0, (32, 32))
NETWORK = DiTConfig(32, 2, 2, lora=8, given=False, padding=False, patch=2, limit=(8, 8, 8))
CONFIG = dataclasses.replace(REFINERS["refine-nano"], network=NETWORK, width=8, clip=3, overlap=1)


def refiner_of(config: RefinerConfig = CONFIG) -> Refiner:
    torch.manual_seed(0)
    return Refiner(config, TOKENS, FINE)


def pairs(rows: int, frames: int = 3, seed: int = 0) -> Batch:
    """Tokens `b t 4 4`, and latents `b 3 t 8 8` that each cell's token decides."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, (rows, frames, 4, 4), generator=rng)
    colours = torch.randn(6, 3, generator=torch.Generator().manual_seed(7)) * 2 + 1
    latents = colours[ids].permute(0, 4, 1, 2, 3).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return Batch(tokens=ids, latents=latents)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_learns_latents_from_tokens(tmp_path):
    refiner = refiner_of()
    batch = pairs(16)
    refiner.fit_normaliser(batch.latents)
    learner, noise, losses = torch.optim.AdamW(refiner.parameters(), lr=4e-3), rng(), []
    for step in range(150):
        loss, metrics = refiner(pairs(8, seed=step), noise)
        learner.zero_grad()
        loss.backward()
        learner.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20]) and metrics["error"].isfinite()
    held = pairs(4, seed=10_000)
    made = refiner.eval().refine(held.tokens, generator=rng())
    far = refiner.refine(held.tokens.flip(0), generator=rng())
    spread = held.latents.var()
    assert (made - held.latents).square().mean() < 0.35 * spread < (far - held.latents).square().mean()
    assert torch.equal(made, refiner.refine(held.tokens, generator=rng()))
    several = [refiner.refine(held.tokens, generator=rng(s), steps=4, guidance=0.5) for s in (0, 0, 1)]
    assert torch.equal(several[0], several[1]) and not torch.equal(several[0], several[2])
    save_refiner(refiner, tmp_path / "refiner")
    again = load_refiner(tmp_path / "refiner")
    assert again.tokens == TOKENS and again.latents == FINE and again.config == CONFIG
    assert torch.equal(made, again.refine(held.tokens, generator=rng()))


def test_new_tokens_are_silent_and_some_rows_lose_them():
    refiner, batch = refiner_of(), pairs(2)
    torch.nn.init.normal_(refiner.network.final.weight)
    x, sigma = torch.randn(2, 3, 3, 8, 8), torch.ones(2)
    assert torch.equal(refiner.denoise(x, sigma, batch.tokens), refiner.denoise(x, sigma, None))
    torch.nn.init.normal_(refiner.join.weight)
    whole = refiner.denoise(x, sigma, batch.tokens)
    half = refiner.denoise(x, sigma, batch.tokens, torch.tensor([1.0, 0.0]))
    none = refiner.denoise(x, sigma, None)
    assert torch.allclose(half[0], whole[0], atol=1e-6) and torch.allclose(half[1], none[1], atol=1e-6)
    assert not torch.allclose(whole[1], none[1])


@pytest.mark.parametrize(
    ("frames", "starts"), [(1, [0]), (3, [0]), (4, [0, 1]), (5, [0, 2]), (6, [0, 2, 3]), (9, [0, 2, 4, 6])]
)
def test_chunks_cover_and_overlap(frames, starts):
    assert chunk_starts(frames, 3, 1) == starts
    assert all(b - a <= 2 for a, b in itertools.pairwise(starts)) and starts[-1] + 3 >= frames


def test_chunks_are_blended_where_they_overlap():
    refiner = refiner_of()
    seen = []

    def decode(latents):  # every chunk in a shade of its own
        seen.append(latents.shape[2])
        return torch.full((1, 3, 1 + 4 * (latents.shape[2] - 1), 32, 32), float(len(seen)))

    video = refiner.render(pairs(1, 5).tokens, decode, generator=rng())
    assert seen == [3, 3] and video.shape == (1, 3, 17, 32, 32)  # 5 latent frames are 17 frames
    # Chunk two begins at latent frame 2, which ends at frame 8: one shared frame, of weight zero in the second.
    assert torch.equal(video[0, 0, :, 0, 0], torch.tensor([1.0] * 9 + [2.0] * 8))
    seen.clear()
    video = refiner_of(dataclasses.replace(CONFIG, overlap=2)).render(pairs(1, 4).tokens, decode, generator=rng())
    assert torch.allclose(video[0, 0, :, 0, 0], torch.cat([torch.ones(4), torch.linspace(1, 2, 5), torch.full((4,), 2.0)]))


def test_bad_inputs():
    refiner = refiner_of()
    for tokens, latents, message in (
        (FINE, TOKENS, "wrong way round"),
        (dataclasses.replace(TOKENS, temporal=8), FINE, "same frames"),
        (dataclasses.replace(TOKENS, spatial=2, size=(32, 32)), FINE, "no finer"),
    ):
        with pytest.raises(BadInput, match=message):
            Refiner(CONFIG, tokens, latents)
    with pytest.raises(BadInput, match="at most 3"):
        refiner.refine(pairs(1, 4).tokens, generator=rng())
    with pytest.raises(BadInput, match="b t 4 4"):
        refiner.refine(torch.zeros(1, 2, 3, 4, dtype=torch.long), generator=rng())
    with pytest.raises(BadInput, match="lacks one"):
        refiner(Batch(tokens=pairs(1).tokens), rng())
    with pytest.raises(BadInput, match="overlap"):
        dataclasses.replace(CONFIG, overlap=3)


def test_the_large_size_counts_its_parameters():
    with torch.device("meta"):
        refiner = Refiner(
            REFINERS["refine-6b"],
            dataclasses.replace(TOKENS, vocab=64_000, temporal=8, spatial=16, size=(640, 1024)),
            dataclasses.replace(FINE, channels=16, temporal=8, spatial=8, size=(640, 1024)),
        )
    width, lora, layers = 4096, 256, 28
    bottleneck = lambda parts: width * lora + lora * parts * width  # noqa: E731
    block = 4 * width**2 + 2 * 128 + 8 * width**2 + 2 * bottleneck(3)  # attention with its norms, MLP, their AdaLN
    ends = 2 * 16 * 4 * width + bottleneck(2) + width + 4 * width**2 + (128 + 120 + 120) * width  # patches, level, positions
    assert sum(p.numel() for p in refiner.network.parameters()) == layers * block + ends
