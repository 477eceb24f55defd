"""Products with a fixed weight, which is laid out once as the CPU's kernel reads it.

A plain product lays out a part of its weight at every call, or reads it as it happens to lie: with few rows that takes longer than the
arithmetic. oneDNN takes weights that were laid out beforehand; torch's compiler does so for frozen networks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Packed:
    """`x Wᵀ` of a weight `o i` that does not change, of rows `... i`. Packing copies: later changes are not seen.

    Packed are float32 weights on the CPU where torch was built with oneDNN; of others this is the plain product.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight: Tensor | None = weight.detach()
        self.packed: Tensor | None = None
        if weight.dtype == torch.float32 and weight.device.type == "cpu" and available():
            self.packed, self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous()), None

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """`... i` -> `... o`; with `gelu` (the exact one) of that, in the same pass."""
        if self.weight is not None:
            y = F.linear(x, self.weight)
            return F.gelu(y) if gelu else y
        kind = "gelu" if gelu else "none"
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, kind, [], "none" if gelu else "")


def available() -> bool:
    """Whether this torch has oneDNN and the two doors to it (it keeps them for its compiler)."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
