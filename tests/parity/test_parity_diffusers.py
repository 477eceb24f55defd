"""Agreement with diffusers' `AutoencoderKLCosmos` on the same random weights, which it reads from the folder that `convert` writes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import tokenizers
from armillary.tokenizers import Tokenizer
from armillary.tokenizers.published import Published, read_published
from armillary.tokenizers.published_diffusers import to_config
from armillary.tokenizers.published_member import PUBLISHED
from armillary.tokenizers.published_write import write

diffusers = pytest.importorskip("diffusers", reason='diffusers is not installed: pip install "armillary[parity]"')

TOLERANCE = 1e-5
MEMBERS = ("cv4x8x8", "cv8x8x8", "cv8x16x16")


def off(ours, theirs):
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def random_weights(config):
    """Every norm and bias is moved from where it starts, so that none can be left out unseen."""
    torch.manual_seed(3)
    own = Tokenizer(config).state_dict()
    for key, value in own.items():
        if value.ndim == 1:
            value.copy_((1 if "norm" in key and key.endswith("weight") else 0) + 0.25 * torch.randn_like(value))
    return own


def turned(theirs, dtype):
    """In another precision, its filters too: they are made in single precision, which shows (1e-7) once six of them were applied."""
    theirs = theirs.to(dtype)
    for part in theirs.modules():
        if "wavelets" in part._buffers:
            part.wavelets = torch.full((2,), 0.5, dtype=dtype).sqrt()
    return theirs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """(ours, theirs) by member and width, both read from one folder that holds diffusers' layout."""
    made = {}

    def pair(name, width):
        if (name, width) not in made:
            config = dataclasses.replace(PUBLISHED[name], width=width)
            folder = tmp_path_factory.mktemp(name) / "vae"
            write(Published(folder, (("x", "0" * 64),), config, random_weights(config)), folder, "diffusers")
            theirs = diffusers.AutoencoderKLCosmos.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
            assert read_published(folder).config == config
            for (
                part
            ) in theirs.modules():  # their filters are single-precision numbers, off by 1e-7 once they were applied six times
                if "wavelets" in part._buffers:
                    part.wavelets = torch.full((2,), 0.5, dtype=torch.float64).sqrt()
            made[name, width] = tokenizers.load(folder), theirs.eval().requires_grad_(False)
        return made[name, width]

    return pair


# Single precision alone cannot say whether two orders of summation are one network: at published width it is off by some 1e-6, a tenth of
# what is allowed. In double precision a real difference would stay and rounding goes.
@pytest.mark.parametrize(
    ("name", "width", "frames"), [*((n, 16, t) for n in MEMBERS for t in (1, 9, 17)), ("cv8x8x8", 128, 17)], ids=str
)
@torch.no_grad()
def test_the_same_latents_and_pictures(pairs, name, width, frames):
    ours, theirs = pairs(name, width)
    video = torch.rand(1, 3, frames, 32, 48, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, 1e-12)):
        ours, theirs = ours.to(dtype), turned(theirs, dtype)
        latents = theirs.encode(video.to(dtype)).latent_dist.mode()
        there, back = off(ours.embed(video.to(dtype)), latents), off(ours.render(latents), theirs.decode(latents).sample)
        assert there < tolerance and back < tolerance


def test_what_theirs_cannot_do(pairs):
    """The `legacy` order of doubling gives other pictures from the same weights, and theirs knows only the newer one."""
    ours, theirs = pairs("cv8x8x8", 16)
    ours, theirs = ours.float(), turned(theirs, torch.float32)
    config = dataclasses.replace(ours.config, legacy=True)
    early = Tokenizer(config).eval()
    weights = ours.state_dict()
    for part in ("conv1", "conv2", "conv3"):  # legacy doubles at level 2, the newer order at level 1
        for leaf in ("weight", "bias"):
            weights[f"decoder.up.2.upsample.{part}.{leaf}"] = weights.pop(f"decoder.up.1.upsample.{part}.{leaf}")
    early.load_state_dict(weights)
    latents = torch.randn(1, 16, 3, 4, 4)
    with torch.no_grad():
        assert off(early.render(latents), theirs.decode(latents).sample) > 0.1


@pytest.mark.parametrize("name", MEMBERS)
def test_as_many_parameters_at_published_width(name):
    record = {k: v for k, v in to_config(PUBLISHED[name], None).items() if k != "_class_name"}
    with torch.device("meta"):
        theirs = sum(p.numel() for p in diffusers.AutoencoderKLCosmos(**record).parameters())
        ours = sum(p.numel() for p in tokenizers.build(name).parameters())
    assert ours == theirs
