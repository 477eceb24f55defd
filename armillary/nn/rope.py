"""Rotary positions on a lattice: each pair of channels of a head turns by an angle that grows along time, height or width.

The split, the NTK stretch and the frame-rate scaling follow the published world models (section 3.2 of the paper's diffusion network,
section 4.1 of its autoregressive one): of the `d` channels of a head, height and width get `d // 6 * 2` each and time the rest; a
stretch by `ratio` multiplies theta by `ratio ** (d / (d - 2))`; time is counted in ticks of a base rate, so that a video at another
frame rate lands on the same angles at the same second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.types import Grid

# The first cosine of a process can be off by 1.5e-4 on torch 2.13 CPU with two threads; later ones are right. Spend it here.
torch.cos(torch.arange(64, dtype=torch.float32))


def rope_split(head_dim: int) -> tuple[int, int, int]:
    """How many channels of a head turn with time, height and width."""
    space = head_dim // 6 * 2
    return head_dim - 2 * space, space, space


def rope_frequencies(
    head_dim: int, theta: float = 10_000.0, ratios: Sequence[float] = (1.0, 1.0, 1.0)
) -> tuple[Tensor, Tensor, Tensor]:
    """Radians per step along time, height and width: three float32 vectors of half the axis' channels.

    Args:
        ratios: NTK stretch of each axis (t, h, w); above 1 the positions of a longer axis fit into the angles of a shorter one.

    Raises:
        BadInput: for an odd or too small `head_dim`, or a stretch of an axis of two channels, which has none to give.
    """
    if head_dim < 6 or head_dim % 2:
        raise BadInput(f"Rotary positions on a lattice want an even head width of at least 6; got {head_dim}.")
    out = []
    for dim, ratio in zip(rope_split(head_dim), ratios, strict=True):
        if ratio != 1.0 and dim <= 2:
            raise BadInput(f"A head of width {head_dim} leaves {dim} channels to an axis: too few to stretch by {ratio}.")
        stretched = theta * (ratio ** (dim / (dim - 2)) if ratio != 1.0 else 1.0)
        out.append(1.0 / stretched ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    return out[0], out[1], out[2]


def rope_tables(
    grid: Grid,
    head_dim: int,
    theta: float = 10_000.0,
    ratios: Sequence[float] = (1.0, 1.0, 1.0),
    fps: float | None = None,
    base_fps: float = 24.0,
    frequencies: tuple[Tensor, Tensor, Tensor] | None = None,
    start: int = 0,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for `apply_rope`, each float32 `n head_dim` with `n = v t h w` in the grid's order.

    Channels lie as [t, h, w] and then the same again, which is what `apply_rope` expects.

    Args:
        fps: frames a second; time then counts ticks of `base_fps` instead of frames. `None` counts frames, as for a still image.
        frequencies: overrides `rope_frequencies` (a YaRN-scaled set, say).
        start: the first frame's index, for a window that begins later.
    """
    by_time, by_row, by_column = (
        f.to(device) for f in (rope_frequencies(head_dim, theta, ratios) if frequencies is None else frequencies)
    )
    frames = torch.arange(start, start + grid.t, dtype=torch.float32, device=device)
    if fps is not None:
        frames = frames / fps * base_fps
    rows = torch.arange(grid.h, dtype=torch.float32, device=device)
    columns = torch.arange(grid.w, dtype=torch.float32, device=device)
    shape = (grid.v, grid.t, grid.h, grid.w, -1)
    half = torch.cat(
        [
            torch.outer(frames, by_time)[None, :, None, None].expand(shape),
            torch.outer(rows, by_row)[None, None, :, None].expand(shape),
            torch.outer(columns, by_column)[None, None, None, :].expand(shape),
        ],
        dim=-1,
    ).reshape(grid.n, -1)
    angle = torch.cat([half, half], dim=-1)
    return torch.cos(angle), torch.sin(angle)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` (`b m n d`) by the tables' angles: channel `i` pairs with channel `i + d/2` (rotate-half).

    Args:
        cos, sin: `n d`, or anything that broadcasts to `x` (`b 1 n d` for angles that differ by sample).
    """
    a, b = x.float().chunk(2, dim=-1)
    turned = torch.cat([-b, a], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)
