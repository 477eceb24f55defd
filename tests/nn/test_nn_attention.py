"""Attention and RMS norm against what they are defined to be."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import BadInput
from armillary.nn.attention import attend
from armillary.nn.norm import RMSNorm


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_softmax_of_scores_and_heads_may_share_keys(groups):
    q, k, v = draw(2, 4, 5, 8), draw(2, groups, 7, 8, seed=1), draw(2, groups, 7, 8, seed=2)
    wide_k, wide_v = (x.repeat_interleave(4 // groups, dim=1) for x in (k, v))
    expected = torch.softmax(q @ wide_k.mT / 8**0.5, dim=-1) @ wide_v
    torch.testing.assert_close(attend(q, k, v), expected)


def test_what_is_masked_does_not_matter():
    q, k, v = draw(2, 2, 5, 8), draw(2, 2, 7, 8, seed=1), draw(2, 2, 7, 8, seed=2)
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[1, ..., 4:] = False
    plain = attend(q, k, v, mask)
    k2, v2 = k.clone(), v.clone()
    k2[1, :, 4:], v2[1, :, 4:] = 9.0, -9.0
    assert torch.equal(plain, attend(q, k2, v2, mask))
    torch.testing.assert_close(plain[1], attend(q[1:], k[1:, :, :4], v[1:, :, :4])[0])


def test_causal_attention_does_not_see_ahead():
    q, k, v = draw(1, 2, 6, 8), draw(1, 2, 6, 8, seed=1), draw(1, 2, 6, 8, seed=2)
    later = v.clone()
    later[:, :, 3:] += 1
    a, b = attend(q, k, v, causal=True), attend(q, k, later, causal=True)
    assert torch.equal(a[:, :, :3], b[:, :, :3]) and not torch.allclose(a[:, :, 3:], b[:, :, 3:])


def test_scale_is_what_scores_are_multiplied_by():
    q, k, v = draw(1, 1, 3, 8), draw(1, 1, 4, 8, seed=1), draw(1, 1, 4, 8, seed=2)
    torch.testing.assert_close(attend(q, k, v, scale=0.0), v.mean(2, keepdim=True).expand(1, 1, 3, 8))


def test_heads_that_do_not_divide():
    with pytest.raises(BadInput, match="3 query heads cannot share 2"):
        attend(draw(1, 3, 2, 8), draw(1, 2, 2, 8), draw(1, 2, 2, 8))


def test_rms_norm_has_unit_mean_square_whatever_the_scale():
    x = draw(4, 32)
    norm = RMSNorm(32)
    torch.testing.assert_close(norm(x).square().mean(-1), torch.ones(4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm(100 * x), norm(x), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(32.0))
    torch.testing.assert_close(norm(x), RMSNorm(32, affine=False)(x) * torch.arange(32.0))
    assert norm(x.bfloat16()).dtype == torch.bfloat16 and not list(RMSNorm(32, affine=False).parameters())
