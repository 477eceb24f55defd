"""Attention, one function over torch's fused kernel."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from armillary.errors import BadInput


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """`softmax(q k^T * scale) v` for each head.

    Args:
        q: `b m n d`; k, v: `b g s d`, where the number of key heads `g` divides `m` (grouped queries: query head `i` reads key
            head `i // (m // g)`).
        mask: bool, broadcastable to `b m n s`, true where a query may look; or a float that is added to the scores.
        causal: query `i` sees keys `0..i` (only where `n == s`); not together with `mask`.
        scale: defaults to `d ** -0.5`.

    Returns:
        `b m n d`.

    Raises:
        BadInput: when the heads do not divide.
    """
    heads, groups = q.shape[1], k.shape[1]
    if heads % groups:
        raise BadInput(f"{heads} query heads cannot share {groups} key heads evenly.")
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=heads != groups)
