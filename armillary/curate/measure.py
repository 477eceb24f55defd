"""What one full-size luma picture says of its own quality: numbers between pictures of any content comparable, no model behind them."""

from __future__ import annotations

import numpy as np

from armillary.errors import require

CROP = 320  # the middle of a picture, in pixels, is enough
BLACK = 24  # luma of a bar, at most
STEPS = np.arange(256.0)


def measure(luma: np.ndarray) -> dict[str, float]:
    """Measures of uint8 `h w`.

    Returns:
        `blur`: 0 sharp to 1 blurred, the least of the two directions (after Crete et al., 2007: how little a further blur takes away).
        `blocks`: mean step across an 8-pixel grid over the mean step elsewhere; 1 without blocks.
        `neighbours`: correlation of pixels side by side; near 1 for pictures, near 0 for noise.
        `noise`: standard deviation of fine noise in 8-bit steps (Immerkaer, 1996).
        `luma`, `contrast`: mean and standard deviation. `dark`, `bright`: share of pixels under 20 and over 235.
        `plain`: share of 8x8 cells without any texture. `few`: see `few_values`.
        `top`, `bottom`, `left`, `right`: share of that side's rows or columns that are black from one end to the other (as stored, before
        a rotation that the file asks for).
    """
    h, w = luma.shape
    # the grid of blocks starts at the picture's corner: keep its phase while cropping
    top, left = max(0, (h - CROP) // 2) // 8 * 8, max(0, (w - CROP) // 2) // 8 * 8
    crop = luma[top : top + CROP, left : left + CROP]
    g = crop.astype(np.float32)
    turned = np.ascontiguousarray(g.T)
    small = luma[:: max(1, h // 180), :: max(1, w // 320)]
    seen = np.bincount(small.ravel(), minlength=256) / small.size
    mean = float(seen @ STEPS)
    return {
        "blur": min(_blur(g), _blur(turned)),
        "blocks": max(_blocks(g), _blocks(turned)),
        "neighbours": _neighbours(g),
        "noise": _noise(g),
        "luma": mean,
        "contrast": float(np.sqrt(max(0.0, seen @ STEPS**2 - mean**2))),
        "dark": float(seen[:20].sum()),
        "bright": float(seen[236:].sum()),
        "plain": _plain(crop),
        "few": few_values(crop),
        **_bars(small),
    }


def _bars(small: np.ndarray) -> dict[str, float]:
    """Share of rows, from the top and from the bottom, and of columns, from the left and the right, in which nothing is lit."""
    out = {}
    for names, least, most in (("top bottom", small.mean(1), small.max(1)), ("left right", small.mean(0), small.max(0))):
        lit = np.flatnonzero((least >= BLACK) | (most >= BLACK + 30))
        first, last = names.split()
        out[first] = float(lit[0] / len(least)) if len(lit) else 1.0
        out[last] = float((len(least) - 1 - lit[-1]) / len(least)) if len(lit) else 1.0
    return out


def few_values(g: np.ndarray, count: int = 8, apart: int = 3) -> float:
    """Share of pixels that have one of the `count` commonest values which lie `apart` or more from each other.

    Near 1 for graphics, whose colours are few and exact; a clear sky has few values too, but they lie side by side.
    """
    left = np.bincount(g.ravel(), minlength=256)
    total = 0
    for _ in range(count):
        top = int(left.argmax())
        total += int(left[top])
        left[max(0, top - apart + 1) : top + apart] = 0
    return total / g.size


def _blur(g: np.ndarray) -> float:
    if g.shape[1] < 16:
        return 0.0
    cv2 = require("cv2", "picture quality")
    steps = cv2.absdiff(g[:, 5:-4], g[:, 4:-5])
    total = float(cv2.sumElems(steps)[0])
    if total < 0.05 * steps.size:  # nothing to judge by
        return 0.0
    # Means over nine pixels, one pixel apart, differ by a ninth of the pixels that only one of them has.
    taken = cv2.scaleAdd(cv2.absdiff(g[:, 9:], g[:, :-9]), -1 / 9, steps)
    return 1.0 - float(cv2.sumElems(cv2.max(taken, 0.0))[0]) / total


def _blocks(g: np.ndarray) -> float:
    if g.shape[1] < 32:
        return 1.0
    cv2 = require("cv2", "picture quality")
    steps = cv2.reduce(
        cv2.min(cv2.absdiff(g[:, 1:], g[:, :-1]), 24.0), 0, cv2.REDUCE_AVG
    ).ravel()  # edges of things count little
    grid = np.arange(len(steps)) % 8 == 7
    return float((steps[grid].mean() + 0.1) / (steps[~grid].mean() + 0.1))


def _neighbours(g: np.ndarray) -> float:
    some = g[::2]
    a, b = some[:, :-1].ravel(), some[:, 1:].ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(float(a @ a) * float(b @ b)))
    return float(a @ b) / norm if norm > 1e-3 * a.size else 1.0


def _noise(g: np.ndarray) -> float:
    if min(g.shape) < 5:
        return 0.0
    d = g[:, :-2] - 2 * g[:, 1:-1] + g[:, 2:]
    d = np.abs(d[:-2:2] - 2 * d[1:-1:2] + d[2::2]).ravel()
    return float(np.partition(d, len(d) // 2)[len(d) // 2]) / (0.6745 * 6.0)


def _plain(g: np.ndarray) -> float:
    h, w = (s // 8 * 8 for s in g.shape)
    if not h or not w:
        return 0.0
    most, least = (_cells(f, g[:h, :w]) for f in (np.maximum, np.minimum))
    return float((most - least <= 2).mean())


def _cells(f: np.ufunc, a: np.ndarray) -> np.ndarray:
    """`f` over cells of 8x8 pixels, by halves: NumPy's own reduction of so short an axis takes several times as long."""
    for _ in range(3):
        a = f(a[::2], a[1::2])
        a = f(a[:, ::2], a[:, 1::2])
    return a
