"""A clip as one vector, computed on a CPU in a millisecond, and its frames as 64-bit hashes.

The vector is not learned. Per look: where which colours lie (low DCT coefficients of chroma), the layout of light and dark (low DCT
coefficients of luma, without the mean) and where edges of which direction lie (a coarse histogram of gradients); averaged over a clip's
looks. It finds the same footage again through scaling, re-encoding and small edits of brightness; it knows nothing of what things are,
so two different clips of the same street are far apart, and clips of like layout may lie close. The hashes settle that.
"""

from __future__ import annotations

import functools

import numpy as np

from armillary.errors import require

SIZE = 32  # pictures are compared at 32x32
LAYOUT = 8  # luma coefficients a side
CHROMA = 4
CELLS, DIRECTIONS = 4, 8
DIM = LAYOUT * LAYOUT - 1 + 2 * CHROMA * CHROMA + CELLS * CELLS * DIRECTIONS


@functools.cache
def _dct(n: int) -> np.ndarray:
    """The orthonormal DCT-II matrix `n n`."""
    k, i = np.mgrid[:n, :n]
    m = np.sqrt(2.0 / n) * np.cos(np.pi * k * (2 * i + 1) / (2 * n))
    m[0] /= np.sqrt(2.0)
    return m


def _low(picture: np.ndarray, side: int) -> np.ndarray:
    m = _dct(SIZE)[:side]
    return m @ picture @ m.T


def _planes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cv2 = require("cv2", "clip embeddings")
    small = cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float64)
    r, g, b = small[..., 0], small[..., 1], small[..., 2]
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return y, 0.564 * (b - y), 0.713 * (r - y)


def picture_vector(rgb: np.ndarray) -> np.ndarray:
    """float64 `DIM` of uint8 `h w 3`; each of the three parts has unit length (or is zero where there is nothing to say)."""
    return _vector(_planes(rgb))


def describe(rgb: np.ndarray) -> tuple[np.ndarray, int]:
    """`picture_vector` and `phash` of one picture, which share most of the work."""
    planes = _planes(rgb)
    return _vector(planes), _hash(planes[0])


def _vector(planes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    y, blue, red = planes
    layout = _low(y, LAYOUT).ravel()[1:]
    colour = np.concatenate([_low(blue, CHROMA).ravel(), _low(red, CHROMA).ravel()])
    edges = _gradients(y)
    return np.concatenate([_unit(layout), 0.7 * _unit(colour, 40.0), _unit(edges)])


def _unit(v: np.ndarray, least: float = 1e-6) -> np.ndarray:
    """`v` at length one; a vector shorter than `least` stays short: grey has no colour to compare."""
    return v / max(float(np.sqrt((v * v).sum())), least)


def _gradients(y: np.ndarray) -> np.ndarray:
    """Histogram of gradient directions in 4x4 cells, square-rooted lengths, about its mean."""
    dy, dx = np.gradient(y)
    length = np.sqrt(np.hypot(dx, dy))
    turn = (np.arctan2(dy, dx) % np.pi) / np.pi * DIRECTIONS
    low = np.floor(turn).astype(int) % DIRECTIONS
    part = turn - np.floor(turn)
    cell = np.arange(SIZE) * CELLS // SIZE
    where = (cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS
    bins = CELLS * CELLS * DIRECTIONS
    out = np.bincount((where + low).ravel(), (length * (1 - part)).ravel(), bins)
    out += np.bincount((where + (low + 1) % DIRECTIONS).ravel(), (length * part).ravel(), bins)
    return out - out.mean()


def embed(pictures: list[np.ndarray]) -> np.ndarray:
    """Unit vector float32 `DIM` of a clip's pictures (uint8 `h w 3` each)."""
    return average([picture_vector(p) for p in pictures])


def average(vectors: list[np.ndarray]) -> np.ndarray:
    """Unit vector float32 `d` of a clip's picture vectors, rounded so that a record does not hang on the last bit."""
    return _unit(np.mean(np.asarray(vectors, np.float64), axis=0)).round(6).astype(np.float32)


def phash(rgb: np.ndarray) -> int:
    """64 bits: which of the lowest 8x8 DCT coefficients of luma exceed their median (the mean left out)."""
    return _hash(_planes(rgb)[0])


def _hash(y: np.ndarray) -> int:
    low = _low(y, 9)[1:, 1:].ravel()  # without the first row and column, which follow brightness and gradients of light
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming(a: int, b: int) -> int:
    """How many bits differ."""
    return (a ^ b).bit_count()
