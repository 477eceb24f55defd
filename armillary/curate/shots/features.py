"""What a shot boundary shows in very small pictures: a row of numbers a frame, from frames at most `REACH` away.

* *Differences at several lags*, centred on the frame: luma and its structure (correlation, blind to brightness) at the best of a few
  whole-picture shifts, colour, and histograms. A cut lasts at every lag; a flash, a shake and a passer-by do not.
* *Blend*: how far the middle frame lies off the straight line between the pictures before and after, and where along it.
* *Composite*: how well it is explained by taking each cell from either the picture before or the one after, the share taken from the one
  after, and how orderly the cells that changed lie. A wipe is such a composite with a growing share.
* *The picture itself*: contrast, brightness, their slopes, colour, detail; and how unevenly it changes from cell to cell.

All of it is array arithmetic over many frames at once; no number depends on frames further away, so windows agree.
"""

from __future__ import annotations

import numpy as np

from armillary.curate.shots.types import SmallFrames

LAGS = (1, 2, 4, 6, 9, 13, 20, 30, 44)
HALVES = (2, 4, 7, 11, 16, 24)
REACH = 24
BLOCK = 256  # frames worked on at once: stays in a processor's cache


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean of everything but the first axis, as a product with ones: several times as fast as `mean` on rows this short."""
    flat = x.reshape(len(x), -1)
    return flat @ np.full(flat.shape[1], 1.0 / flat.shape[1], np.float32)


def _std(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    flat = flat - _mean(flat)[:, None]
    return np.sqrt(np.einsum("nk,nk->n", flat, flat) / flat.shape[1])


def _thirds(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] + x[:, 1] + x[:, 2]) * np.float32(1 / 3)


def _pool(x: np.ndarray, k: int) -> np.ndarray:
    n, h, w = x.shape
    rows = x.reshape(n, h // k, k, w).sum(2, dtype=np.float32)  # whole rows first: long inner loops
    return rows.reshape(n, h // k, w // k, k).sum(3) / np.float32(k * k)


def features(small: SmallFrames) -> np.ndarray:
    """float32 `n f`. Before the first and after the last frame the picture counts as standing still."""
    n = len(small)
    rows = []
    for begin in range(0, n, BLOCK):
        at = np.clip(np.arange(begin - REACH, min(n, begin + BLOCK) + REACH), 0, n - 1)
        rows.append(_block(small.y[at], small.u[at], small.v[at]))
    return np.concatenate(rows)


def _block(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    fine = y.astype(np.float32)
    half = _pool(fine, 2)
    chroma = np.stack([u, v], 1).astype(np.float32)
    n = len(fine) - 2 * REACH
    middle = np.arange(REACH, REACH + n)
    cells = np.concatenate([_pool(fine, 4), _pool(chroma[:, 0], 2), _pool(chroma[:, 1], 2)], 1).reshape(len(fine), 3, 84)
    out = [*_picture(fine, half, chroma, middle), *_step(fine, cells, middle)]
    bins, windows = _histogram(fine, chroma), _windows(half)
    for lag in LAGS:
        a, b = middle - (lag + 1) // 2, middle + lag // 2
        out += _apart(half, windows, a, b)
        out.append(_mean(np.abs(cells[a, 1:] - cells[b, 1:])) / 10)
        out.append(np.abs(bins[a] - bins[b]).sum(1))
    flat = np.concatenate([half.reshape(len(fine), -1), chroma[:, :, ::2, ::2].reshape(len(fine), -1) * 2], 1)
    for h in HALVES:
        out += _between(flat, cells, middle, h)
    return np.stack(out, 1).astype(np.float32)


def _picture(fine: np.ndarray, half: np.ndarray, chroma: np.ndarray, middle: np.ndarray) -> list[np.ndarray]:
    mean, std = _mean(fine), _std(fine)
    detail = _mean(np.abs(fine[:, :, 1:] - fine[:, :, :-1]))
    colour = _std(chroma[:, 0]) + _std(chroma[:, 1])
    out = [std[middle] / 40, np.log1p(std[middle]), mean[middle] / 100 - 1, detail[middle] / 10, np.log1p(colour[middle])]
    for k in (1, 4, 12):
        out += [(x[middle + k] - x[middle - k]) / scale for x, scale in ((mean, 30), (std, 15), (detail, 5), (colour, 8))]
    for k in (4, 12):  # a dip or a hump: a blend of two pictures has less contrast and detail than either
        out += [
            (x[middle] - np.minimum(x[middle - k], x[middle + k])) / scale for x, scale in ((std, 15), (detail, 5), (mean, 30))
        ]
        out.append(_hump(mean, middle, k) / 30)
    return out


def _hump(x: np.ndarray, middle: np.ndarray, k: int) -> np.ndarray:
    return x[middle] - np.maximum(x[middle - k], x[middle + k])


def _step(fine: np.ndarray, cells: np.ndarray, middle: np.ndarray) -> list[np.ndarray]:
    """The change from the frame before: at the best shift, without one, and how it spreads over cells, rows and columns."""
    d = np.abs(fine[middle] - fine[middle - 1])
    shifted = _shifted(fine, middle - 1, middle, 3)
    each = np.abs(cells[middle] - cells[middle - 1]).max(1)
    ordered = np.sort(each, 1)
    spread = _std(fine[middle[0] - 1 : middle[-1] + 1])
    contrast = np.minimum(spread[1:], spread[:-1]) + 4
    rows, columns = d.mean(2), d.mean(1)
    whole = _mean(d)
    return [
        whole / 20,
        shifted / 20,
        np.log1p(shifted),
        shifted / contrast,
        ordered[:, 83] / 50,
        ordered[:, 42] / 20,
        ordered[:, 8] / 10,
        rows.max(1) / (whole + 2) / 4,
        columns.max(1) / (whole + 2) / 4,
    ]


def _shifted(x: np.ndarray, a: np.ndarray, b: np.ndarray, reach: int) -> np.ndarray:
    """Mean absolute difference at the best whole shift up to `reach` pixels, float32 `n`. Far diagonals are left out."""
    h, w = x.shape[1:]
    inner = np.ascontiguousarray(x[a][:, reach : h - reach, reach : w - reach])
    other, off = x[b], np.empty_like(inner)
    best = np.full(len(a), np.inf, np.float32)
    ones = np.full(inner[0].size, 1.0 / inner[0].size, np.float32)  # a product with ones is the fastest mean
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            if abs(dy - reach) + abs(dx - reach) > reach + 1:
                continue
            np.subtract(other[:, dy : dy + h - 2 * reach, dx : dx + w - 2 * reach], inner, out=off)
            np.abs(off, out=off)
            np.minimum(best, off.reshape(len(a), -1) @ ones, out=best)
    return best


def _windows(half: np.ndarray, r: int = 2) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pictures less a border, of mean 0 and norm 1 (nearly: a flat one stays near 0): unshifted, and at every shift up to `r`."""
    n, h, w = half.shape
    cut = [
        half[:, dy : dy + h - 2 * r, dx : dx + w - 2 * r].reshape(n, -1) for dy in range(2 * r + 1) for dx in range(2 * r + 1)
    ]
    unit = []
    for x in cut:
        x = x - x.mean(1, keepdims=True)
        x /= (np.sqrt(np.einsum("nk,nk->n", x, x)) + 20.0)[:, None]
        unit.append(x)
    return unit[len(unit) // 2], unit


def _apart(half: np.ndarray, windows: tuple[np.ndarray, list[np.ndarray]], a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """1 - correlation of two pictures at the shift, of up to two pixels, that correlates best; and their mean difference unshifted."""
    inner, shifted = windows
    one, best = inner[a[0] : a[-1] + 1], np.full(len(a), -1.0, np.float32)
    for two in shifted:
        np.maximum(best, np.einsum("nk,nk->n", one, two[b[0] : b[-1] + 1]), out=best)
    return [1 - best, _mean(np.abs(half[a] - half[b])) / 25]


def _histogram(fine: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Cumulative shares of luma in 16 bins and of each chroma in 16, float32 `n 48`: differences are earth mover's distances."""
    out = []
    for x, low, span in ((fine, 0.0, 256.0), (chroma[:, 0], 80.0, 96.0), (chroma[:, 1], 80.0, 96.0)):
        k = np.clip((x.reshape(len(x), -1) - low) * (16 / span), 0, 15).astype(np.int64) + 16 * np.arange(len(x))[:, None]
        counts = np.bincount(k.ravel(), minlength=16 * len(x)).reshape(len(x), 16)
        out.append(np.cumsum(counts, 1, dtype=np.float32) / k.shape[1] / 8)
    return np.concatenate(out, 1)


def _between(flat: np.ndarray, cells: np.ndarray, middle: np.ndarray, h: int) -> list[np.ndarray]:
    """Blend and composite of the frames `h` before and after."""
    a, d = flat[middle - h], flat[middle + h] - flat[middle - h]
    length = np.einsum("nk,nk->n", d, d) + 2000.0
    out = []
    for offset in (-(h // 2), 0, h // 2) if h > 2 else (0,):
        m = flat[middle + offset] - a
        w = np.einsum("nk,nk->n", m, d) / length
        off = np.maximum(np.einsum("nk,nk->n", m, m) - 2 * w * np.einsum("nk,nk->n", m, d) + w * w * length, 0)
        out += [np.clip(w, -1.5, 2.5), np.minimum(np.sqrt(off / length), 3.0)]
    one, two = _thirds(np.abs(cells[middle] - cells[middle - h])), _thirds(np.abs(cells[middle + h] - cells[middle]))
    whole = np.minimum(_mean(one), _mean(two)) + 1.0
    mixed = np.minimum(one, two)
    taken = two / (one + two + 1.0)
    changed = (np.maximum(one, two) > 6).astype(np.float32)
    after = (one > two) * changed
    grid = (one - two).reshape(-1, 7, 12)
    spread = _mean(np.abs(grid)) + 1.0
    out += [
        _mean(mixed) / whole,
        np.log1p(_mean(mixed)),
        _mean(after),
        _mean(changed),
        _mean(taken),
        _mean(taken * (1 - taken)) * 4,
        _mean(np.abs(grid[:, 1:] - grid[:, :-1])) / spread,
        _mean(np.abs(grid[:, :, 1:] - grid[:, :, :-1])) / spread,
        np.abs(grid.mean(1)).max(1) / spread / 3,
        np.abs(grid.mean(2)).max(1) / spread / 3,
    ]
    return out
