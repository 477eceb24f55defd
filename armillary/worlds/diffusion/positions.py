"""Numbers as vectors: the noise level, and what a place in the clip adds to its token before every block (learned, or sines and cosines).

Views share their positions: the same corner of two pictures, at the same moment, has the same one. Which view it is, a condition tells.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from armillary.types import Grid


def sinusoid(x: Tensor, dim: int) -> Tensor:
    """`[cos, sin]` of `x` at rates from 1 down to 1/10000: `b` -> `b dim`."""
    half = dim // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angle = x.float()[:, None] * rates
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Absolute(nn.Module):
    """A learned vector for each index of each axis; summed over axes and divided by its RMS."""

    def __init__(self, dim: int, limit: tuple[int, int, int]) -> None:
        super().__init__()
        self.t, self.h, self.w = (nn.Parameter(torch.randn(n, dim) * 0.02) for n in limit)

    def forward(self, grid: Grid, start: int = 0) -> Tensor:
        """`1 (v t) (h w) d`, of frames from `start` on."""
        total = (
            self.t[start : start + grid.t, None, None] + self.h[None, : grid.h, None] + self.w[None, None, : grid.w]
        )  # t h w d
        size = torch.linalg.vector_norm(total.float(), dim=-1, keepdim=True) / math.sqrt(total.shape[-1])
        one = rearrange(total / (size + 1e-6).to(total.dtype), "t h w d -> 1 t (h w) d")
        return one if grid.v == 1 else one.repeat(1, grid.v, 1, 1)


def sincos(dim: int, grid: Grid, start: int = 0, device: torch.device | str | None = None) -> Tensor:
    """`1 (v t) (h w) d`: sines and cosines of each index, those of time, row and column side by side (as rotary ones share the width)."""
    space = dim // 6 * 2

    def of(index: Tensor, width: int) -> Tensor:
        rates = 1.0 / 10_000.0 ** (torch.arange(width // 2, dtype=torch.float64, device=device) / (width // 2))
        angle = index.double()[:, None] * rates
        return torch.cat([angle.sin(), angle.cos()], dim=-1).float()

    shape = (grid.t, grid.h, grid.w, -1)
    frames = of(torch.arange(start, start + grid.t, device=device), dim - 2 * space)[:, None, None].expand(shape)
    rows = of(torch.arange(grid.h, device=device), space)[None, :, None].expand(shape)
    columns = of(torch.arange(grid.w, device=device), space)[None, None].expand(shape)
    return rearrange(torch.cat([frames, rows, columns], dim=-1), "t h w d -> 1 t (h w) d").repeat(1, grid.v, 1, 1)
