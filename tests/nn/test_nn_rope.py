"""Rotary positions: only differences of positions matter, and the layout is the published one."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.errors import BadInput
from armillary.nn.rope import apply_rope, rope_frequencies, rope_split, rope_tables
from armillary.types import Grid


@pytest.mark.parametrize(("dim", "split"), [(128, (44, 42, 42)), (32, (12, 10, 10)), (64, (24, 20, 20)), (6, (2, 2, 2))])
def test_the_split_covers_the_head(dim, split):
    assert rope_split(dim) == split and sum(split) == dim


def test_tables_have_the_grids_shape_and_unit_length():
    cos, sin = rope_tables(Grid(2, 3, 4, 5), 32)
    assert cos.shape == sin.shape == (120, 32) and cos.dtype == torch.float32
    torch.testing.assert_close(cos**2 + sin**2, torch.ones_like(cos))
    assert torch.equal(cos[:60], cos[60:]), "views share positions"
    assert torch.equal(cos[:, :16], cos[:, 16:])


def test_each_axis_turns_its_own_channels():
    cos, _ = rope_tables(Grid(1, 3, 3, 3), 32)
    table = cos.reshape(3, 3, 3, 32)[..., :16]
    t, h, _ = (n // 2 for n in rope_split(32))
    for axis, channels in enumerate((slice(0, t), slice(t, t + h), slice(t + h, 16))):
        moved = table.diff(dim=axis).abs().amax((0, 1, 2)) > 0
        assert moved[channels].all()
        rest = moved.clone()
        rest[channels] = False
        assert not rest.any()


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, 2, 0), (0, 0, 3), (1, 2, 1)])
def test_only_differences_of_positions_matter(shift):
    g = torch.Generator().manual_seed(0)
    grid, dim = Grid(1, 5, 6, 7), 24
    tables = [x.reshape(5, 6, 7, dim) for x in rope_tables(grid, dim)]
    q, k = torch.randn(2, 1, 1, 1, dim, generator=g)

    def score(a, b):
        turned = [apply_rope(x, *(table[p].expand(1, dim) for table in tables)) for x, p in ((q, a), (k, b))]
        return (turned[0] * turned[1]).sum()

    a, b = (1, 2, 3), (3, 1, 2)
    moved = [tuple(x + s for x, s in zip(p, shift)) for p in (a, b)]
    torch.testing.assert_close(score(a, b), score(*moved), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(score(a, b), score(a, moved[1]))


def test_lengths_are_kept_and_position_zero_is_left_alone():
    x = torch.randn(2, 3, 8, 24, generator=torch.Generator().manual_seed(0))
    y = apply_rope(x, *rope_tables(Grid(1, 2, 2, 2), 24))
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(y[:, :, 0], x[:, :, 0]) and not torch.allclose(y[:, :, 1:], x[:, :, 1:])


def test_time_is_counted_in_ticks_of_the_base_rate():
    at_24 = rope_tables(Grid(1, 9, 1, 1), 24, fps=24.0)[0]
    assert torch.equal(at_24, rope_tables(Grid(1, 9, 1, 1), 24)[0])
    at_12 = rope_tables(Grid(1, 5, 1, 1), 24, fps=12.0)[0]
    torch.testing.assert_close(at_12, at_24[::2])
    torch.testing.assert_close(rope_tables(Grid(1, 3, 1, 1), 24, start=4)[0], at_24[4:7])


def test_a_stretch_slows_the_slowest_channel_by_the_ratio():
    plain, stretched = rope_frequencies(128), rope_frequencies(128, ratios=(2.0, 1.0, 3.0))
    assert torch.equal(plain[1], stretched[1]) and plain[0][0] == stretched[0][0] == 1.0
    assert math.isclose(plain[0][-1] / stretched[0][-1], 2.0, rel_tol=1e-5)
    assert math.isclose(plain[2][-1] / stretched[2][-1], 3.0, rel_tol=1e-5)


def test_frequencies_can_be_ones_own():
    own = tuple(0.5 * f for f in rope_frequencies(24))
    torch.testing.assert_close(
        rope_tables(Grid(1, 4, 1, 1), 24, frequencies=own)[0][2], rope_tables(Grid(1, 4, 1, 1), 24)[0][1]
    )


@pytest.mark.parametrize(("dim", "ratios"), [(4, (1.0, 1.0, 1.0)), (7, (1.0, 1.0, 1.0)), (8, (1.0, 2.0, 1.0))])
def test_heads_too_small_are_said_to_be(dim, ratios):
    with pytest.raises(BadInput, match=str(dim)):
        rope_frequencies(dim, ratios=ratios)
