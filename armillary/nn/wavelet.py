"""Patches without loss: the Haar wavelet (and the plain pixel shuffle) that stands before an encoder and after a decoder.

A level halves every axis it works on. With the orthonormal filters [1, 1]/√2 and [1, -1]/√2 and a division by 2√2 (three axes) or 2
(two axes), a level comes down to `low = (a + b) / 2` and `high = (a - b) / 2` along each axis, and its inverse to `a = low + high`,
`b = low - high`; that is how it is computed here, without any convolution. **Every** band is split again on the next level, so a patch
of `p` gives `p` times fewer cells on each axis and `p²` or `p³` times the channels, bands outermost: LLL, LLH, LHL, ... with the letters
in the order time, height, width for videos (width, height for images).

Time is causal: the first frame stands `p` times in front, so frame 0 fills a cell of its own and frames 1..p the next.
Source: spec section 2.2 («wavelet», «causality trick»).
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor

from armillary.errors import BadInput

# Axes of `b c t h w`, the one whose band letter varies slowest first. Images put width first, videos time and then height:
# it matters to published weights only.
SPACE, SPACE_TIME = (4, 3), (2, 3, 4)


def levels_of(patch: int) -> int:
    """How many halvings a patch is.

    Raises:
        BadInput: when it is no power of two.
    """
    if patch < 1 or patch & (patch - 1):
        raise BadInput(f"A patch is a power of two (1, 2, 4, 8); got {patch}.")
    return int(math.log2(patch))


def split(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """One level: `b c t h w` -> `b (2^len(axes) c) t' h' w'`, every named axis halved."""
    bands = [x]
    for axis in axes:
        # Outer axes first: each later letter varies faster in the list.
        halved = []
        for band in bands:
            a, b = band.unflatten(axis, (-1, 2)).unbind(axis + 1)
            halved += [(a + b) * 0.5, (a - b) * 0.5]
        bands = halved
    return torch.cat(bands, dim=1)


def join(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The inverse of `split`."""
    bands = list(x.chunk(2 ** len(axes), dim=1))
    for axis in reversed(axes):
        bands = [
            torch.stack((low + high, low - high), dim=axis + 1).flatten(axis, axis + 1)
            for low, high in zip(bands[::2], bands[1::2])
        ]
    return bands[0]


def lead(video: Tensor, patch: int) -> Tensor:
    """Repeat the first frame so that it fills a temporal patch alone: 1 + p·k frames -> p·(1 + k)."""
    return torch.cat((video[:, :, :1].expand(-1, -1, patch - 1, -1, -1), video), dim=2) if patch > 1 else video


def haar(video: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """`b c t h w` -> `b (c p^n) t' h/p w/p`; with `time`, 1 + p·k frames become 1 + k (p·k become k where `first` is false)."""
    if time and first:
        video = lead(video, patch)
    for _ in range(levels_of(patch)):
        video = split(video, SPACE_TIME if time else SPACE)
    return video


def unhaar(bands: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """The inverse of `haar`."""
    for _ in range(levels_of(patch)):
        bands = join(bands, SPACE_TIME if time else SPACE)
    return bands[:, :, patch - 1 :] if time and first else bands


def shuffle(video: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """Pixels of a patch as channels, `b (c t' h' w') t h w`, with the same causal start as `haar`."""
    if time and first:
        video = lead(video, patch)
    p = patch if time else 1
    return rearrange(video, "b c (t q) (h i) (w j) -> b (c q i j) t h w", q=p, i=patch, j=patch)


def unshuffle(cells: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """The inverse of `shuffle`."""
    p = patch if time else 1
    video = rearrange(cells, "b (c q i j) t h w -> b c (t q) (h i) (w j)", q=p, i=patch, j=patch)
    return video[:, :, patch - 1 :] if time and first else video


def gain(patch: int, time: bool) -> float:
    """What `haar` takes from the size of an orthonormal transform, and `unhaar` puts back."""
    return float(patch) ** (1.5 if time else 1.0)


def unit_haar(video: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """`haar`, orthonormal: bands are larger by `gain`, and a step of a weight moves pixels as much as it moves bands."""
    return haar(video, patch, time, first) * gain(patch, time)


def unit_unhaar(bands: Tensor, patch: int, time: bool = True, first: bool = True) -> Tensor:
    """The inverse of `unit_haar`."""
    return unhaar(bands, patch, time, first) / gain(patch, time)


# name -> (there, back), both (x, patch, time, first).
PATCHERS = {
    "haar": (haar, unhaar),
    "unit-haar": (unit_haar, unit_unhaar),
    "shuffle": (shuffle, unshuffle),
}
