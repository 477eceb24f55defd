"""Winograd convolutions are convolutions: any size, any batch, any number of blocks; and attention over a growing history is attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from armillary.nn import winograd
from armillary.nn.attention import History


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 2, 2), (3, 5, 4), (2, 7, 9), (5, 16, 12)])
@pytest.mark.parametrize("block", [1, 4000, 1 << 22])
def test_plane(size, block, monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK", block)
    n, h, w = size
    x = random(n, 6, h, w).contiguous(memory_format=torch.channels_last)
    weight, bias = random(5, 6, 3, 3, seed=1), random(5, seed=2)
    made = winograd.plane(x, winograd.plane_filters(weight), bias)
    torch.testing.assert_close(made, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-12)
    assert made.is_contiguous(memory_format=torch.channels_last) or h % 2 or w % 2


@pytest.mark.parametrize("frames", [2, 4, 8])
@pytest.mark.parametrize("block", [1, 1000, 1 << 22])
def test_time(frames, block, monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK", block)
    x, weight, bias = random(frames + 2, 13, 6), random(5, 6, 3, 1, seed=1), random(5, seed=2)
    made = winograd.time(list(x), winograd.time_filters(weight), bias)
    wanted = F.conv2d(x.permute(2, 0, 1)[None], weight, bias)[0].permute(1, 2, 0)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-12)


def test_it_errs_no_more_than_a_direct_sum():
    x, weight, bias = random(1, 256, 24, 24), random(256, 256, 3, 3, seed=1) / 48, random(256, seed=2)
    true = F.conv2d(x, weight, bias, padding=1)
    single = (x.float().contiguous(memory_format=torch.channels_last), weight.float(), bias.float())
    direct = (F.conv2d(*single, padding=1) - true).abs().max()
    ours = (winograd.plane(single[0], winograd.plane_filters(single[1]), single[2]) - true).abs().max()
    assert ours < 2 * direct


def test_where_it_pays():
    assert winograd.pays(torch.zeros(256, 256, 3, 3)) and not winograd.pays(torch.zeros(256, 64, 3, 3))
    assert not winograd.pays(torch.zeros(256, 256, 3, 3, dtype=torch.float64))
    assert not winograd.pays(torch.zeros(256, 256, 3, 3, device="meta"))


@pytest.mark.parametrize("limit", [0, 1, 3, 16, 20, 40])
def test_history(limit):
    q, k, v = (random(2, 40, 8, seed=s) for s in range(3))
    history = History(limit)
    made = torch.cat([history.attend(q[:, t : t + 1], k[:, t : t + 1], v[:, t : t + 1]) for t in range(40)], 1)
    back = torch.arange(40)[:, None] - torch.arange(40)
    mask = (back >= 0) & ((back < limit) if limit else True)
    torch.testing.assert_close(made, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), rtol=0, atol=1e-12)
    assert len(history) == (min(limit, 40) or 40)
    if limit:
        assert sum(b.shape[2] for b in history._blocks) < limit + 2 * History.BLOCK
