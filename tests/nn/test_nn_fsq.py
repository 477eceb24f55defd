"""FSQ: a bijection between codes and ids, the nearest code for any input, a gradient that passes."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.errors import BadInput
from armillary.nn.fsq import FSQ

LEVELS = [(8, 8, 8, 5, 5, 5), (8, 5, 5, 5), (2, 3), (7,)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_ids_and_codes_are_a_bijection_over_the_whole_codebook(levels):
    fsq = FSQ(levels)
    assert fsq.vocab == math.prod(levels)
    ids = torch.arange(fsq.vocab).view(1, -1)
    codes = fsq.codes(ids)
    assert codes.shape == (1, len(levels), fsq.vocab)
    assert codes.abs().max() <= 1
    assert len(torch.unique(codes[0].T, dim=0)) == fsq.vocab
    assert torch.equal(fsq.ids(codes), ids)
    assert torch.equal(fsq.ids(fsq.codes(ids, torch.bfloat16)), ids), "half precision still tells codes apart"


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_every_code_can_be_reached_and_is_a_fixed_point_of_rounding(levels):
    fsq = FSQ(levels)
    grid = torch.linspace(-8, 8, 4001).expand(1, len(levels), -1)
    reached = fsq(grid)
    for channel, n in enumerate(levels):
        assert len(reached[0, channel].unique()) == n
        assert (reached[0, channel].diff() >= 0).all(), "monotone"
    assert fsq.ids(reached).max() < fsq.vocab and fsq.ids(reached).min() >= 0


def test_the_gradient_passes_straight_through_and_bounds_it():
    fsq = FSQ((8, 5))
    z = torch.zeros(1, 2, 4, requires_grad=True)
    fsq(z).sum().backward()
    assert (z.grad > 0.5).all()
    far = torch.full((1, 2, 4), 30.0, requires_grad=True)
    fsq(far).sum().backward()
    assert far.grad.abs().max() < 1e-3, "beyond the outermost level nothing pulls"


def test_half_precision_gives_the_same_ids_as_single():
    fsq = FSQ((8, 8, 8, 5, 5, 5))
    z = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(fsq.ids(fsq(z)), fsq.ids(fsq(z.float())))


def test_nothing_of_it_is_saved():
    assert not FSQ((8, 5, 5, 5)).state_dict()


def test_wrong_levels_and_ids_are_named():
    with pytest.raises(BadInput, match="at least two levels"):
        FSQ((8, 1))
    with pytest.raises(BadInput, match=r"0 \.\. 39 here; got 0 \.\. 40"):
        FSQ((8, 5)).codes(torch.tensor([[0, 40]]))
