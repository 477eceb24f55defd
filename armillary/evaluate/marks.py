"""Finding a mark that is too small to keep its colour: the tool's tip, three pixels wide.

A tokenizer blurs it into its surroundings, and a radius around its colour then holds none of its pixels, though anybody sees where it is.
So it is known by the direction in which its colour departs from what lies around it: a pixel shows as much of the mark as it has gone that
way, if it goes that way at all and no other known colour's. Blur takes away contrast and leaves the sum, which is what counts as the
mark's area.

Of 528 tabletop frames through the tokenizer the tip is found within 3 px of where it is in 94 % (a radius around the colour: 20 %); where
it has been painted out, something else passes for it in 3 % (`benchmarks/evaluate/tip.py`, 29 November 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PEAK = 0.2  # of the mark's own contrast, smoothed: with less there is none
STRAIGHT = 0.8  # cosine to the mark's direction


def find_mark(
    pixels: np.ndarray, centre: np.ndarray, around: np.ndarray, others: Sequence[np.ndarray], size: float
) -> tuple[np.ndarray, float] | None:
    """Where the mark is in one picture, or None.

    Args:
        pixels: `h w 2`, colours as the tracker sees them, without brightness.
        centre, around: `2`, the mark's colour and what lies around it; others: colours of other things.
        size: its width in pixels.

    Returns:
        Its place x, y (continuous pixel coordinates) and its area in pixels at full contrast.
    """
    way = centre - around
    contrast = float(np.linalg.norm(way))
    if contrast < 1e-6:
        return None
    gone = pixels - around
    along = gone @ (way / contrast)
    shown = np.where(along > STRAIGHT * np.linalg.norm(gone, axis=-1), along / contrast, 0.0)
    for other in others:
        there = other - around
        shown[gone @ (there / max(float(np.linalg.norm(there)), 1e-6)) > along] = 0
    smooth = shown
    for _ in range(max(1, round(size / 3))):
        smooth = _smoothed(smooth)
    row, column = np.unravel_index(smooth.argmax(), smooth.shape)
    if smooth[row, column] < PEAK:
        return None
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]]
    weight = shown * ((y - row) ** 2 + (x - column) ** 2 <= size**2)
    area = float(weight.sum())
    return np.array([(weight * x).sum(), (weight * y).sum()]) / area + 0.5, area


def _smoothed(x: np.ndarray) -> np.ndarray:
    """`h w` under the kernel 1 2 1 along both axes; nothing lies outside."""
    padded = np.pad(x, 1)
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
