"""Large frames in tiles that overlap and fade into each other.

The published networks look at a whole frame at once (norms over the frame, attention at the waist), so that tiles are another network's
result: close where tiles are large, never equal. What this promises is a bound on memory and no visible seam.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armillary.errors import BadInput


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of `tile` cells begin on an axis of `length`, the last flush with its end; neighbours share `overlap` or more."""
    if tile <= overlap:
        raise BadInput(f"A tile is larger than what it shares with the next: tile {tile}, overlap {overlap} cells.")
    if length <= tile:
        return [0]
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def ramp(at: int, tile: int, length: int, overlap: int) -> Tensor:
    """Weight of each cell of the tile that begins at `at`: rises and falls over `overlap` cells, but not at the frame's own edges."""
    place = torch.arange(tile, dtype=torch.float32)
    rise = (place + 1) / (overlap + 1) if at > 0 else torch.ones(tile)
    fall = (tile - place) / (overlap + 1) if at + tile < length else torch.ones(tile)
    return torch.minimum(rise, fall).clamp(max=1)


def tiled(x: Tensor, run: Callable[[Tensor], Tensor], tile: int, overlap: int, unit: tuple[int, int]) -> Tensor:
    """`run` over overlapping tiles of the last two axes of `x`, joined by weighted means.

    Args:
        tile, overlap: in latent cells.
        unit: (entries of `x`, entries of the result) that a latent cell is, on each axis.

    Raises:
        BadInput: a tile that is no larger than the overlap.
    """
    there, back = unit
    high, wide = x.shape[-2] // there, x.shape[-1] // there
    total = weights = None
    for top in starts(high, tile, overlap):
        for left in starts(wide, tile, overlap):
            h, w = min(tile, high), min(tile, wide)
            part = run(x[..., top * there : (top + h) * there, left * there : (left + w) * there])
            rows = ramp(top * back, h * back, high * back, overlap * back)
            columns = ramp(left * back, w * back, wide * back, overlap * back)
            weight = (rows[:, None] * columns).to(part)
            if total is None or weights is None:
                total = part.new_zeros(*part.shape[:-2], high * back, wide * back)
                weights = part.new_zeros(high * back, wide * back)
            place = (..., slice(top * back, (top + h) * back), slice(left * back, (left + w) * back))
            total[place] += part * weight
            weights[place] += weight
    assert total is not None and weights is not None
    return total.div_(weights)
