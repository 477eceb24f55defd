"""Tokens to one vector a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the tokens `b n d` where bool `b n` is true, of length one; zero where there are none. `b d`."""
    total = (values * mask.unsqueeze(-1)).sum(1)
    return total / total.norm(dim=-1, keepdim=True).clamp_min(1e-9)
