"""What a tokenizer promises: causality, images as short videos, seamless pieces, plain refusals, the same bits again."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from armillary import tokenizers
from armillary.errors import BadInput
from armillary.tokenizers import Stream, TokenizerConfig
from armillary.tokenizers import tokenizer as room
from armillary.tokenizers.tiling import tiled
from armillary.types import Latents, Tokens

TINY = {
    "continuous": TokenizerConfig(temporal=4, spatial=8, patch=2, width=8, mult=(1, 2, 2), blocks=1, z=8, channels=4),
    "discrete": TokenizerConfig(temporal=4, spatial=8, patch=4, width=8, mult=(1, 2), blocks=1, channels=3, levels=(5, 5, 5)),
    "shortcut": TokenizerConfig(temporal=4, spatial=8, patch=4, width=8, mult=(1, 2), blocks=1, channels=8, shortcut=True),
    "frames": TokenizerConfig(
        temporal=1, spatial=8, video=False, patch=4, width=8, mult=(1, 2), blocks=1, channels=4, shortcut=True
    ),
    "shuffled": TokenizerConfig(
        temporal=2, spatial=4, patch=2, patcher="shuffle", width=8, mult=(1, 2), blocks=1, attention=False
    ),
}


def made(name):
    torch.manual_seed(0)
    tokenizer = tokenizers.build(TINY[name]).eval()
    with torch.no_grad():  # what starts at zero would hide its part
        for p in tokenizer.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return tokenizer


def clip(tokenizer, k=3, batch=1, cells=(2, 3), seed=1):
    shape = (batch, 3, 1 + tokenizer.temporal * k, *(tokenizer.spatial * c for c in cells))
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def values(latents):
    return latents.ids.unsqueeze(1) if isinstance(latents, Tokens) else latents.values


@pytest.mark.parametrize("name", TINY)
def test_a_later_frame_changes_no_earlier_latent_and_the_other_way_round(name):
    tokenizer = made(name)
    video = clip(tokenizer)
    other = video.clone()
    other[:, :, 1 + tokenizer.temporal :] *= -1
    before, after = tokenizer.embed(video), tokenizer.embed(other)
    # Up to rounding only: kernels choose their order of summation by shape, never by content, so equal shapes give equal bits.
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert (before[:, :, 2:] - after[:, :, 2:]).abs().amax() > 1e-3
    changed = before.clone()
    changed[:, :, 2:] += 1.0
    seen, then = tokenizer.render(before), tokenizer.render(changed)
    assert torch.equal(seen[:, :, : 1 + tokenizer.temporal], then[:, :, : 1 + tokenizer.temporal])
    assert (seen[:, :, 1 + tokenizer.temporal :] - then[:, :, 1 + tokenizer.temporal :]).abs().amax() > 1e-3


@pytest.mark.parametrize("name", TINY)
def test_an_image_is_a_video_of_one_frame(name):
    tokenizer = made(name)
    video = clip(tokenizer)
    whole, first = tokenizer.embed(video), tokenizer.embed(video[:, :, :1])
    torch.testing.assert_close(first, whole[:, :, :1], rtol=1e-4, atol=1e-5)
    assert tokenizer.render(first).shape[2] == 1


@pytest.mark.parametrize("name", TINY)
def test_lengths(name):
    tokenizer = made(name)
    for k in range(3):
        frames = 1 + tokenizer.temporal * k
        assert tokenizer.frames_to_latents(frames) == 1 + k and tokenizer.latents_to_frames(1 + k) == frames
    with pytest.raises(BadInput):
        tokenizer.frames_to_latents(0)
    if tokenizer.temporal > 1:
        with pytest.raises(
            BadInput, match=f"1 \\+ {tokenizer.temporal}·k frames, for instance 1 or {1 + tokenizer.temporal}; got 2"
        ):
            tokenizer.encode(clip(tokenizer)[:, :, :2])


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("pixels", [1, 16 * 24 * 8, 16 * 24 * 20])
def test_how_many_clips_run_side_by_side_changes_nothing(name, pixels, monkeypatch):
    tokenizer = made(name)
    video = clip(tokenizer, k=4, batch=3)
    whole = tokenizer.encode(video)
    picture = tokenizer.decode(whole)
    monkeypatch.setattr(room, "PIXELS", pixels)
    pieces = tokenizer.encode(video)
    if tokenizer.vocab:
        # A value at a rounding boundary may fall on either side; none of these does.
        assert torch.equal(values(pieces), values(whole))
    else:
        torch.testing.assert_close(values(pieces), values(whole), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokenizer.decode(whole), picture, rtol=1e-4, atol=1e-4)
    assert torch.equal(tokenizer.decode(whole), tokenizer.decode(whole))


GRIDS = [(1, 1, 1, 1, 1), (5,), (1, 4), (2, 2, 1), (3, 1, 1)]


@pytest.mark.parametrize("name", [n for n in TINY if TINY[n].video])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_stream_gives_what_the_whole_clip_gives_bit_by_bit(name, grid):
    tokenizer = made(name)
    t, ends = tokenizer.temporal, torch.tensor(grid).cumsum(0).tolist()
    video = clip(tokenizer, k=4, batch=2)
    stream, frames = Stream(tokenizer), [0, *(1 + t * (e - 1) for e in ends)]
    parts = [stream.encode(video[:, :, a:b]) for a, b in itertools.pairwise(frames)]
    whole = tokenizer.encode(video)
    assert torch.equal(torch.cat([values(p) for p in parts], 2), values(whole))
    bare = whole.ids if isinstance(whole, Tokens) else whole.values
    time = 1 if tokenizer.vocab else 2
    shown = [stream.decode(bare.narrow(time, b - n, n)) for b, n in zip(ends, grid)]
    assert torch.equal(torch.cat(shown, 2), tokenizer.decode(whole))


def test_a_stream_of_single_frames_agrees_with_the_clip():
    tokenizer = made("frames")
    video = clip(tokenizer, k=4, batch=2)
    stream = Stream(tokenizer)
    whole = tokenizer.encode(video).values
    parts = [stream.encode(video[:, :, a:b]).values for a, b in ((0, 1), (1, 4), (4, 5))]
    torch.testing.assert_close(torch.cat(parts, 2), whole, rtol=1e-4, atol=1e-4)
    shown = torch.cat([stream.decode(whole[:, :, i : i + 1]) for i in range(5)], 2)
    torch.testing.assert_close(shown, tokenizer.decode(whole), rtol=1e-4, atol=1e-4)


def test_looking_back_less_far_changes_what_lies_further_back_and_nothing_before():
    tokenizer = made("continuous")
    video = clip(tokenizer, k=20)
    whole = tokenizer.encode(video).values
    tokenizer.history = 17
    less = tokenizer.encode(video).values
    assert torch.equal(less[:, :, :17], whole[:, :, :17])
    assert not torch.equal(less[:, :, 17:], whole[:, :, 17:])
    tokenizer.history = 21
    assert torch.equal(tokenizer.encode(video).values, whole)


@pytest.mark.parametrize("name", TINY)
def test_large_frames_run_in_tiles(name):
    tokenizer = made(name)
    video = clip(tokenizer, k=1, cells=(9, 7))
    whole = tokenizer.encode(video)
    tokenizer.tile = 16 * tokenizer.spatial
    assert torch.equal(values(tokenizer.encode(video)), values(whole)), "frames that fit a tile are not cut"
    tokenizer.tile = 5 * tokenizer.spatial
    coded = tokenizer.encode(video)
    shown = tokenizer.decode(coded)
    assert values(coded).shape == values(whole).shape and shown.shape == video.shape
    stream, time = Stream(tokenizer), 1 if tokenizer.vocab else 2
    bare = coded.ids if isinstance(coded, Tokens) else coded.values
    parts = [stream.encode(video[:, :, :1]), stream.encode(video[:, :, 1:])]
    assert torch.allclose(torch.cat([values(p) for p in parts], 2), values(coded), rtol=0, atol=1e-5)
    back = torch.cat([stream.decode(bare.narrow(time, i, 1)) for i in (0, 1)], 2)
    torch.testing.assert_close(back, shown, rtol=0, atol=1e-5)
    if tokenizer.config.video:
        assert torch.equal(back, shown) and all(torch.equal(values(p), q) for p, q in zip(parts, values(coded).split(1, 2)))
    tokenizer.tile = tokenizer.spatial
    with pytest.raises(BadInput, match=f"{4 * tokenizer.spatial} pixels or more a side"):
        tokenizer.encode(video)


def test_tiles_leave_no_seam():
    """A run that knows where its tile lies would show: each adds a constant of its own, and the sum has no step larger than a ramp's."""
    x, offsets = torch.zeros(1, 1, 1, 4, 40), iter(range(100))
    made = tiled(x, lambda part: part.repeat_interleave(2, -1).repeat_interleave(2, -2) + next(offsets), 16, 4, (1, 2))
    assert made.shape == (1, 1, 1, 8, 80) and made.diff(dim=-1).abs().max() < 1 / 8
    torch.testing.assert_close(tiled(x + 3, lambda part: part, 16, 4, (1, 1)), x + 3)
    seen = torch.arange(40.0).expand(1, 1, 1, 4, 40)
    torch.testing.assert_close(tiled(seen, lambda part: part, 16, 4, (1, 1)), seen.contiguous())


FOLDED = {
    **TINY,
    "image": TokenizerConfig(temporal=1, spatial=16, video=False, width=32, mult=(1, 1, 1), blocks=1, groups=32),
    "legacy": TokenizerConfig(patch=2, width=8, mult=(1, 2, 2), blocks=1, legacy=True),
    "wide": TokenizerConfig(temporal=4, spatial=8, patch=2, width=96, mult=(2, 2, 2), blocks=1),
}


@pytest.mark.parametrize("name", FOLDED)
@torch.no_grad()
def test_the_network_arranged_for_inference_computes_the_same(name):
    """In double precision to its last digits, so that nothing but rounding differs; in single precision as closely as can be."""
    torch.manual_seed(0)
    tokenizer = tokenizers.build(FOLDED[name]).eval()
    for p in tokenizer.parameters():
        p.add_(0.05 * torch.randn(p.shape))
    video = clip(tokenizer, k=2 if tokenizer.config.video else 0, batch=2, cells=(6, 5))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        tokenizer = tokenizer.to(dtype)
        there = tokenizer.embed(video.to(dtype))
        back = tokenizer.render(there)
        network = tokenizer.inference()
        for ours, plain in ((network.embed(video.to(dtype)), there), (network.render(there), back)):
            assert float((ours - plain).abs().max() / plain.abs().max()) < tolerance
    assert network is tokenizer.inference() and network.encoder.mid is not tokenizer.encoder.mid


@torch.no_grad()
def test_a_changed_weight_is_seen():
    tokenizer = made("continuous")
    video = clip(tokenizer)
    before = tokenizer.encode(video).values
    tokenizer.decoder.conv_in[0].weight.add_(1.0)
    assert torch.equal(tokenizer.encode(video).values, before)
    seen = tokenizer.decode(before)
    tokenizer.encoder.conv_in[0].weight.mul_(1.5)
    assert not torch.allclose(tokenizer.encode(video).values, before)
    torch.testing.assert_close(seen, tokenizer.render(before).clamp(-1, 1), rtol=1e-3, atol=1e-4)


def test_a_stream_refuses_what_does_not_continue_it():
    tokenizer = made("continuous")
    video = clip(tokenizer, batch=2)
    stream = Stream(tokenizer)
    with pytest.raises(BadInput, match="1 \\+ 4·k frames"):
        stream.encode(video[:, :, :4])
    stream.encode(video[:, :, :1])
    with pytest.raises(BadInput, match="4·k more; got 3"):
        stream.encode(video[:, :, 1:4])
    with pytest.raises(BadInput, match="carries 2 clips; got 1"):
        stream.encode(video[:1, :, 1:5])


def test_refusals_say_what_was_given_and_what_works():
    tokenizer = made("continuous")
    video = clip(tokenizer)
    wrong = [
        (video[0], r"got shape \(3, 13, 16, 24\)"),
        (video[:, :1], "got shape"),
        (torch.cat((video, video[:, :1]), 1), "Leave the alpha channel out"),
        (((video + 1) * 127.5).to(torch.uint8), r"got torch.uint8. Stored frames are x / 127.5 - 1"),
        ((video + 1) * 127.5, "values from"),
        (torch.full_like(video, float("nan")), "values from nan"),
        (video[..., :20], r"multiples of 8 .* got 16 x 20. Resize or crop to 16 x 16"),
        (video[:, :, :0], "nothing to encode"),
        (video.numpy(), "got a ndarray"),
    ]
    for given, words in wrong:
        with pytest.raises(BadInput, match=words):
            tokenizer.encode(given)
    latents = tokenizer.encode(video)
    discrete = made("discrete")
    for given, by, words in [
        (Latents(latents.values[:, :2]), tokenizer, r"float b 4 t h w"),
        (Latents(latents.values * float("inf")), tokenizer, "NaN or infinity"),
        (Tokens(torch.zeros(1, 2, 2, 3, dtype=torch.int64), 125), tokenizer, "no codes"),
        (latents, discrete, "decodes Tokens; got Latents"),
        (Tokens(torch.zeros(1, 2, 2, 3, dtype=torch.int64), 7), discrete, "125 codes; these tokens are of a tokenizer with 7"),
        (torch.zeros(1, 2, 2, 3), discrete, "int64 b t h w"),
        (torch.full((1, 2, 2, 3), 125), discrete, r"0 \.\. 124"),
        (torch.zeros(1, 4, 0, 2, 3), tokenizer, "nothing to decode"),
    ]:
        with pytest.raises(BadInput, match=words):
            by.decode(given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch": 3}, "power of two"),
        ({"video": False}, "temporal compression 1"),
        ({"patch": 16}, "compresses more than"),
        ({"levels": (8, 5)}, "one channel for each level"),
        ({"mult": (2,)}, "Give mult more entries"),
        ({"temporal": 8, "patch": 2, "shortcut": True, "mult": (1, 2, 2, 2)}, "shortcut wants a patch"),
    ],
)
def test_a_size_that_cannot_be_built_says_why(change, words):
    with pytest.raises(BadInput, match=words):
        dataclasses.replace(TokenizerConfig(temporal=4, spatial=8, patch=4, mult=(1, 2)), **change)


def test_an_unknown_name_suggests_a_known_one():
    with pytest.raises(BadInput, match="Did you mean 'frame-c8'"):
        tokenizers.build("frame_c8")
    with pytest.raises(BadInput, match="No tokenizer named"):
        tokenizers.load("no-such-tokenizer-anywhere")


def test_a_fresh_shortcut_already_gives_soft_pictures():
    tokenizer = tokenizers.build(TINY["frames"])
    ramp = torch.linspace(-1, 1, 32)
    video = (ramp.view(1, 1, 1, -1, 1) * torch.tensor([1.0, 0.8, 0.6]).view(1, 3, 1, 1, 1)).expand(1, 3, 1, 32, 32).contiguous()
    assert (tokenizer.reconstruct(video) - video).abs().mean() < 0.1
    video_tokenizer = tokenizers.build(TINY["shortcut"])
    still = video.expand(-1, -1, 5, -1, -1)
    latents = video_tokenizer.encode(still).values
    torch.testing.assert_close(latents[:, :, 0], latents[:, :, 1], rtol=1e-3, atol=1e-3)


def test_weights_of_another_size_or_kind_are_refused(tmp_path):
    one, other = made("frames"), made("discrete")
    tokenizers.save(one, tmp_path / "mixed", tensors=other.state_dict())
    with pytest.raises(BadInput, match="do not fit their config"):
        tokenizers.load(tmp_path / "mixed")


def test_loading_leaves_the_global_generator_alone(tmp_path):
    tokenizers.save(made("frames"), tmp_path / "it")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    tokenizers.load(tmp_path / "it")
    assert torch.equal(torch.rand(3), wanted)
