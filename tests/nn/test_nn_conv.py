"""Folded causal convolutions: the same as 3-D ones, blind to the future, and seamless in pieces."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from armillary.nn import conv
from armillary.nn.conv import Reel


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(layer, video, reel=None):
    reel = reel or Reel(len(video))
    return conv.unfold(layer(conv.fold(video), reel), reel.batch)


# name -> (layer, whether it halves time, whether it doubles time)
LAYERS = {
    "factorized": lambda: (conv.FactorizedConv(4, 4), 1, 1),
    "temporal": lambda: (conv.TemporalConv(4, 4), 1, 1),
    "down in space": lambda: (conv.Downsample(4, True, False), 1, 1),
    "down in time": lambda: (conv.Downsample(4, False, True), 2, 1),
    "down in both": lambda: (conv.Downsample(4, True, True), 2, 1),
    "up in space": lambda: (conv.Upsample(4, True, False), 1, 1),
    "up in time": lambda: (conv.Upsample(4, False, True), 1, 2),
    "up in both": lambda: (conv.Upsample(4, True, True), 1, 2),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_folding_is_undone_by_unfolding_and_columns_are_a_view():
    video = noise(2, 4, 3, 6, 8)
    frames = conv.fold(video)
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv.unfold(frames, 2), video)
    cells = conv.columns(frames, 2)
    assert cells.data_ptr() == frames.data_ptr()
    assert torch.equal(cells, video.flatten(3))
    assert torch.equal(conv.uncolumns(cells, 6), frames)


def test_a_temporal_convolution_is_the_three_dimensional_one_over_a_repeated_first_frame():
    layer, video = conv.TemporalConv(4, 6), noise(2, 4, 5, 3, 3)
    padded = torch.cat((video[:, :, :1].expand(-1, -1, 2, -1, -1), video), 2)
    wanted = F.conv3d(padded, layer.weight.unsqueeze(-1), layer.bias)
    torch.testing.assert_close(run(layer, video), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_and_causality(name):
    layer, halved, doubled = LAYERS[name]()
    video = noise(2, 4, 9, 8, 8)
    out = run(layer, video)
    assert out.shape[2] == 1 + 8 * doubled // halved
    changed = video.clone()
    changed[:, :, 5:] += 1.0
    known = 1 + 4 * doubled // halved
    after = run(layer, changed)
    assert torch.equal(after[:, :, :known], out[:, :, :known])
    assert not torch.allclose(after[:, :, known:], out[:, :, known:])
    assert torch.allclose(run(layer, video[:, :, :1])[:, :, 0], out[:, :, 0], atol=1e-5), "an image is a video of one frame"


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("cuts", [(1, 3, 5, 9), (5, 9), (1, 9)])
def test_pieces_give_the_whole(name, cuts):
    layer, _, _ = LAYERS[name]()
    video = noise(2, 4, 9, 8, 8)
    reel, done, at = Reel(2, keep=True), [], 0
    for cut in cuts:
        done.append(run(layer, video[:, :, at:cut], reel))
        reel.started, at = True, cut
    torch.testing.assert_close(torch.cat(done, 2), run(layer, video), rtol=1e-5, atol=1e-5)


def test_clips_of_a_batch_do_not_mix():
    layer = conv.Downsample(4, True, True)
    video = noise(2, 4, 5, 8, 8)
    both = run(layer, video)
    assert torch.allclose(both[1:], run(layer, video[1:]), atol=1e-6)
