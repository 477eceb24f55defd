"""Procedural surface patterns: small tables drawn once from a fixed generator, then looked up by a surface point's own coordinates.

A table look-up rather than a formula a pixel: it is faster, and it needs no transcendental function whose last bit differs between
machines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from armillary.errors import lookup

SIDE = 256


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth periodic noise in [-1, 1], `SIDE SIDE`: random values on a `cells x cells` lattice, blended with a smoothstep."""
    lattice = rng.uniform(-1.0, 1.0, (cells, cells))
    at = np.arange(SIDE) * cells / SIDE
    low = at.astype(int)
    part = at - low
    part = part * part * (3.0 - 2.0 * part)
    high = (low + 1) % cells
    rows = lattice[low] * (1 - part)[:, None] + lattice[high] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


def _plain(rng: np.random.Generator) -> np.ndarray:
    return np.zeros((SIDE, SIDE))


def _checker(rng: np.random.Generator) -> np.ndarray:
    at = np.arange(SIDE) * 8 // SIDE
    return ((at[:, None] + at[None, :]) % 2) * 2.0 - 1.0


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Planks along the first axis with a wavy grain."""
    y = np.arange(SIDE)[None, :] * 12.0 / SIDE + 0.6 * _noise(rng, 4)
    grain = np.abs((y % 1.0) * 2.0 - 1.0) * 2.0 - 1.0
    planks = rng.uniform(-1.0, 1.0, 4)[np.arange(SIDE) * 4 // SIDE][None, :]
    return 0.45 * grain + 0.4 * planks + 0.25 * _noise(rng, 64)


def _speckle(rng: np.random.Generator) -> np.ndarray:
    return 0.5 * _noise(rng, 16) + 0.5 * _noise(rng, 96)


def _brick(rng: np.random.Generator) -> np.ndarray:
    """Eight rows of bricks with pale joints, each brick of its own shade."""
    rows, columns = 8, 4
    i, j = np.mgrid[:SIDE, :SIDE]
    row = i * rows // SIDE
    shifted = (j + (row % 2) * (SIDE // (2 * columns))) % SIDE
    column = shifted * columns // SIDE
    shade = rng.uniform(-0.7, 0.4, (rows, columns))[row, column]
    joint = (i % (SIDE // rows) < 4) | (shifted % (SIDE // columns) < 4)
    return np.where(joint, 0.9, shade + 0.15 * _noise(rng, 64))


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """Sixteen stripes of uneven width along the first axis."""
    edges = np.sort(rng.permutation(SIDE)[:16])
    values = rng.uniform(-1.0, 1.0, 17)
    values[-1] = values[0]  # the last goes on in the first
    return np.broadcast_to(values[np.searchsorted(edges, np.arange(SIDE), side="right")], (SIDE, SIDE)).copy()


def _dots(rng: np.random.Generator) -> np.ndarray:
    """Soft discs of several sizes, wrapped around."""
    i, j = np.mgrid[:SIDE, :SIDE]
    out = np.full((SIDE, SIDE), -0.4)
    for y, x, radius, value in zip(*rng.uniform(0, SIDE, (2, 40)), rng.uniform(6, 22, 40), rng.uniform(-0.2, 1.0, 40)):
        dy, dx = (np.abs(a - b) for a, b in ((i, y), (j, x)))
        away = np.hypot(np.minimum(dy, SIDE - dy), np.minimum(dx, SIDE - dx))
        part = np.clip(radius - away + 0.5, 0.0, 1.0)
        out = out * (1 - part) + value * part
    return out


def _marble(rng: np.random.Generator) -> np.ndarray:
    i = np.arange(SIDE)[:, None] * 6.0 / SIDE + 1.4 * _noise(rng, 4) + 0.5 * _noise(rng, 16)
    vein = np.abs((i % 1.0) * 2.0 - 1.0)
    return 1.6 * np.sqrt(vein) - 0.9 + 0.1 * _noise(rng, 64)


def _road(rng: np.random.Generator) -> np.ndarray:
    """Asphalt along the first axis, as wide as one repeat: a line at either edge and a dashed one in the middle, a half of it painted."""
    i, j = np.mgrid[:SIDE, :SIDE]
    out = 0.05 * _noise(rng, 96) + 0.03 * _noise(rng, 8)
    across = np.abs(j - SIDE / 2 + 0.5) / (SIDE / 2)  # 0 in the middle, 1 at the edges
    out[(across > 0.90) & (across < 0.94)] = 1.0
    out[(across < 0.02) & (i < SIDE // 2)] = 1.0
    return np.roll(out, SIDE // 2, 1)  # texture coordinates are 0 in a box's middle


def _weave(rng: np.random.Generator) -> np.ndarray:
    """Cloth: threads that pass over and under each other, of slightly different shades."""
    i, j = np.mgrid[:SIDE, :SIDE]
    threads, wide = 32, SIDE // 32
    over = (i // wide + j // wide) % 2 == 0
    shade = np.where(over, rng.uniform(-0.6, 0.6, threads)[i // wide], rng.uniform(-0.6, 0.6, threads)[j // wide])
    across = np.where(over, i % wide, j % wide) - (wide - 1) / 2
    return shade + 0.4 * (1.0 - 2.0 * np.abs(across) / (wide / 2))


def _windows(rng: np.random.Generator) -> np.ndarray:
    """A facade: four by four windows, dark ones and lit ones."""
    i, j = np.mgrid[:SIDE, :SIDE]
    cell = SIDE // 4
    inside = (i % cell > 14) & (i % cell < 46) & (j % cell > 12) & (j % cell < 50)
    shade = rng.choice([-1.0, -0.8, -0.6, 0.7], (4, 4))[i // cell, j // cell]
    return np.where(inside, shade, 0.1 + 0.05 * _noise(rng, 64))


TEXTURES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "plain": _plain,
    "checker": _checker,
    "wood": _wood,
    "speckle": _speckle,
    "brick": _brick,
    "stripes": _stripes,
    "dots": _dots,
    "marble": _marble,
    "road": _road,
    "windows": _windows,
    "weave": _weave,
}


@cache
def table(name: str) -> np.ndarray:
    """The pattern's table, float32 `SIDE SIDE` in about [-1, 1]; the same in every process."""
    build = lookup(TEXTURES, name, "texture")
    values = build(np.random.default_rng([SIDE, *name.encode()])).astype(np.float32)
    values.setflags(write=False)
    return values


def sample(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The pattern at `(u, v)` (float `n`, one unit is one repeat), blended between the four nearest entries.

    Returns:
        float32 `n` in about [-1, 1].
    """
    values = table(name)
    u, v = u * SIDE, v * SIDE
    u0, v0 = np.floor(u), np.floor(v)
    fu, fv = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
    i, j = u0.astype(np.int64) % SIDE, v0.astype(np.int64) % SIDE
    i1, j1 = (i + 1) % SIDE, (j + 1) % SIDE
    near = values[i, j] * (1 - fv) + values[i, j1] * fv
    far = values[i1, j] * (1 - fv) + values[i1, j1] * fv
    return near * (1 - fu) + far * fu
