"""Clips in buckets by shape: whole pictures, what was filled in around them marked, one shape a batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from armillary import media, tokenizers
from armillary.data import ClipsConfig, LatentsConfig, MixtureConfig
from armillary.errors import BadInput
from armillary.train import WorldRun

SHAPES = {"1x1": (32, 32), "16x9": (24, 40), "9x16": (40, 24)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four wide films and two square ones, each of one brightness that rises downwards; none is tall."""
    root = tmp_path_factory.mktemp("films")
    for n, (h, w) in enumerate([(32, 80)] * 4 + [(48, 48)] * 2):
        rows = np.linspace(20 + 10 * n, 150 + 10 * n, h)[None, :, None, None]
        media.write_video(root / f"{n}.mp4", np.broadcast_to(rows, (12, h, w, 3)).astype(np.uint8), 10.0)
    return root


def clips(folder, shape="", **more):
    size = SHAPES.get(shape, (32, 32))
    return ClipsConfig(str(folder), **{"frames": 5, "size": size, "whole": True, "aspect": shape, "held_out": 0.0, **more})


def buckets(folder, **more):
    return MixtureConfig(tuple(clips(folder, s) for s in SHAPES), buckets=True, **more)


@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (7, 90), (1, 50), (50, 1), (32, 32), (2, 2)])
def test_a_picture_that_is_shown_whole_lies_in_the_middle_and_the_rest_mirrors_it(shape):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    made = media.pad(frames, (32, 32))
    assert made.shape == (2, 32, 32, 3) and made.dtype == np.uint8
    top, left, high, wide = media.place_of(shape, (32, 32))
    assert max(high, wide) == 32 and (top, left) == ((32 - high) // 2, (32 - wide) // 2)
    assert abs(high / wide - shape[0] / shape[1]) <= max(high / wide, 1) / min(high, wide), "its aspect, to a pixel"
    inside = made[:, top : top + high, left : left + wide]
    assert np.array_equal(inside, media.resize(frames, (high, wide)))
    if top and high > 1:
        assert np.array_equal(made[:, top - 1], made[:, top + 1])
    if left and wide > 1:
        assert np.array_equal(made[:, :, left - 1], made[:, :, left + 1])


def test_clips_are_chosen_by_shape(folder):
    assert {e.key for e in clips(folder, "16x9").build().entries} == {f"{n}.mp4#0" for n in range(4)}
    assert {e.key for e in clips(folder, "1x1").build().entries} == {"4.mp4#0", "5.mp4#0"}
    assert len(clips(folder).build().entries) == 6
    with pytest.raises(BadInput, match="holds no clip that is 9x16"):
        clips(folder, "9x16").build()
    with pytest.raises(BadInput, match="aspect is one of 9x16, 3x4"):
        clips(folder, "16:9").build()
    with pytest.raises(BadInput, match="leave whole at false or crop"):
        clips(folder, crop=(16, 16)).build()


def test_what_was_filled_in_is_marked_and_nothing_of_the_picture_is_lost(folder):
    batch = clips(folder, "16x9").build().batch(0, 3, 0)
    assert batch.padding.shape == (3, 1, 24, 40) and batch.video.shape == (3, 3, 5, 24, 40)
    marked = batch.padding[0, 0].bool()
    assert marked.any(1).tolist() == [True] * 4 + [False] * 16 + [True] * 4, (
        "80 x 32 in 40 x 24 leaves four rows above and below"
    )
    column = batch.video[0, 0, 0, :, 20]
    assert (column[4:20].diff() > 0).all(), "the whole height is there, brighter downwards"
    torch.testing.assert_close(column[:4], column[5:9].flip(0), atol=0.02, rtol=0)
    cropped = clips(folder, "16x9", whole=False).build().batch(0, 3, 0)
    assert cropped.padding is None
    span = lambda c: float(c.max() - c.min())  # noqa: E731
    assert abs(span(cropped.video[0, 0, 0, :, 20]) - span(column)) < 0.1, (
        "wider than the frame: a crop takes from the sides alone"
    )


def test_a_batch_has_one_shape_and_an_empty_bucket_is_left_out_and_named(folder, capsys):
    data = buckets(folder).build()
    assert "a bucket is left out (train)" in (said := capsys.readouterr().err) and "9x16" in said
    assert data.size == (32, 32) and len(data.members) == 2 and data.shares.tolist() == pytest.approx([1 / 3, 2 / 3])
    shapes = []
    for step in range(60):
        batch = data.batch(step, 4, 0)
        h, w = batch.video.shape[-2:]
        assert batch.padding.shape == (4, 1, h, w)
        assert {key.split("/")[0] for key in batch.keys} == {str([(32, 32), (24, 40)].index((h, w)))}
        shapes.append((h, w))
    assert abs(shapes.count((24, 40)) / 60 - 2 / 3) < 4 * np.sqrt(2 / 9 / 60)  # four standard deviations of a fair draw
    for step in range(6):  # whoever takes which rows
        whole, parts = data.batch(step, 4, 0), [data.batch(step, 2, 0, rank, 2) for rank in range(2)]
        assert torch.equal(whole.video, torch.cat([p.video for p in parts]))
        assert torch.equal(whole.padding, torch.cat([p.padding for p in parts]))


def test_without_buckets_sizes_must_agree_and_with_none_filled_there_is_nothing(folder):
    with pytest.raises(BadInput, match="differ in size"):
        dataclasses.replace(buckets(folder), sources=buckets(folder).sources[:2], buckets=False).build()
    with pytest.raises(BadInput, match="No bucket of the mixture has anything"):
        MixtureConfig((clips(folder, "9x16"),), buckets=True).build()
    assert buckets(folder).build().hash != buckets(folder, images=0.5).build().hash


def test_rows_whose_member_crops_are_marked_as_filled_nowhere(folder):
    mix = MixtureConfig((clips(folder), clips(folder, whole=False)))
    batch = mix.build().batch(0, 16, 0)
    cropped = torch.tensor([key.startswith("1/") for key in batch.keys])
    assert 0 < cropped.sum() < 16
    assert not batch.padding[cropped].any()


def test_a_world_that_cannot_be_told_is_refused(folder, tmp_path):
    torch.manual_seed(0)
    config = tokenizers.TokenizerConfig(
        temporal=1, video=False, channels=4, patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1
    )
    tokenizers.save(tokenizers.build(config), tmp_path / "tok")
    sources = tuple(
        LatentsConfig(clips(folder, s), tokenizer=str(tmp_path / "tok"), text="hash", cache=str(tmp_path)) for s in SHAPES
    )
    data = MixtureConfig(sources, buckets=True).build()
    assert data.sample(6).shape[-2:] == (3, 4), "of several sizes the part that all have"
    with pytest.raises(BadInput, match="cannot be told and would dream such edges"):
        WorldRun("unet-nano").build(data)
    world = WorldRun("dit-nano").build(data)
    rng = torch.Generator().manual_seed(0)
    for step in range(4):
        assert world(data.batch(step, 2, 0), rng)[0].isfinite()
