"""Finite scalar quantisation: each of a few channels is squashed to a handful of levels and rounded; the product is the codebook.

There is no codebook to learn and no codebook loss. Sources: spec section 2.2 («FSQ»); Mentzer et al. 2023, «Finite Scalar
Quantization: VQ-VAE Made Simple».
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from armillary.errors import BadInput


class FSQ(nn.Module):
    """Quantise the channel axis (dimension 1) of `b c ...`, `c = len(levels)`.

    A channel with an even number of levels is shifted half a step, so that its codes are -1, ..., 1 - 2/L; an odd one is symmetric.
    An id counts in the mixed radix of `levels`, first channel fastest. Nothing here is learned or saved.

    Args:
        levels: levels of each channel, e.g. (8, 8, 8, 5, 5, 5) for 64,000 codes.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise BadInput(f"FSQ wants at least two levels a channel, for instance (8, 5, 5, 5); got {levels}.")
        self.levels = tuple(levels)
        self.vocab = math.prod(levels)

    def _column(self, values: list[float] | list[int], like: Tensor, dtype: torch.dtype) -> Tensor:
        """One number a channel, shaped to broadcast along dimension 1 of `like`. Made anew: a buffer would follow `.half()`."""
        return torch.tensor(values, dtype=dtype, device=like.device).view(-1, *[1] * (like.ndim - 2))

    def bound(self, z: Tensor) -> Tensor:
        """Squash each channel to (-(L-1)/2, (L-1)/2), a little beyond so that the outermost levels can be reached."""
        half = [(n - 1) * (1 + 1e-3) / 2 for n in self.levels]
        offset = [0.5 if n % 2 == 0 else 0.0 for n in self.levels]
        shift = [math.atanh(o / h) for o, h in zip(offset, half)]
        column = lambda v: self._column(v, z, z.dtype)  # noqa: E731
        return torch.tanh(z + column(shift)) * column(half) - column(offset)

    def forward(self, z: Tensor) -> Tensor:
        """`b c ...` of any size -> the nearest codes in [-1, 1]; the gradient passes straight through the rounding.

        Computed in float32 at least: half precision cannot tell neighbouring cells apart near a boundary.
        """
        wide = z if z.dtype == torch.float64 else z.float()
        bounded = self.bound(wide)
        rounded = bounded + (bounded.round() - bounded).detach()
        return (rounded / self._column([n // 2 for n in self.levels], z, wide.dtype)).to(z.dtype)

    def ids(self, codes: Tensor) -> Tensor:
        """Codes `b c ...` as `forward` gives them -> int64 `b ...`."""
        half = self._column([n // 2 for n in self.levels], codes, torch.float64)
        digits = (codes.double() * half + half).round().long()
        basis = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        return (digits * self._column(basis, codes, torch.int64)).sum(1)

    def codes(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """int `b ...` -> codes `b c ...`, the exact inverse of `ids`.

        Raises:
            BadInput: when an id is outside [0, vocab).
        """
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.vocab):
            raise BadInput(f"Token ids are 0 .. {self.vocab - 1} here; got {int(ids.min())} .. {int(ids.max())}.")
        rest, channels = ids.long(), []
        for n in self.levels:
            half = n // 2
            channels.append(((rest % n) - half).to(dtype) / half)
            rest = rest // n
        return torch.stack(channels, dim=1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, vocab={self.vocab}"
