"""What one full-size luma picture says of its own quality: numbers between pictures of any content comparable, no model behind them."""

from __future__ import annotations

import numpy as np

from armillary.errors import require

CROP = 320  # the middle of a picture, in pixels, is enough


def measure(luma: np.ndarray) -> dict[str, float]:
    """Measures of uint8 `h w`.

    Returns:
        `blur`: 0 sharp to 1 blurred, the least of the two directions (after Crete et al., 2007: how little a further blur takes away).
        `blocks`: mean step across an 8-pixel grid over the mean step elsewhere; 1 without blocks.
        `neighbours`: correlation of pixels side by side; near 1 for pictures, near 0 for noise.
        `noise`: standard deviation of fine noise in 8-bit steps (Immerkaer, 1996).
        `luma`, `contrast`: mean and standard deviation. `dark`, `bright`: share of pixels under 20 and over 235.
        `plain`: share of 8x8 cells without any texture. `few`: see `few_values`.
    """
    h, w = luma.shape
    # the grid of blocks starts at the picture's corner: keep its phase while cropping
    top, left = max(0, (h - CROP) // 2) // 8 * 8, max(0, (w - CROP) // 2) // 8 * 8
    g = luma[top : top + CROP, left : left + CROP].astype(np.float32)
    turned = np.ascontiguousarray(g.T)
    whole = luma[:: max(1, h // 180), :: max(1, w // 320)].astype(np.float32)
    return {
        "blur": min(_blur(g), _blur(turned)),
        "blocks": max(_blocks(g), _blocks(turned)),
        "neighbours": _neighbours(g),
        "noise": _noise(g),
        "luma": float(whole.mean()),
        "contrast": float(whole.std()),
        "dark": float((whole < 20).mean()),
        "bright": float((whole > 235).mean()),
        "plain": _plain(g),
        "few": few_values(luma[top : top + CROP, left : left + CROP]),
    }


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
    soft = cv2.blur(g, (9, 1), borderType=cv2.BORDER_REPLICATE)
    steps = np.abs(g[:, 5:-4] - g[:, 4:-5])
    total = float(steps.sum())
    if total < 0.05 * steps.size:  # nothing to judge by
        return 0.0
    taken = steps - np.abs(soft[:, 5:-4] - soft[:, 4:-5])
    return 1.0 - float(taken[taken > 0].sum()) / total


def _blocks(g: np.ndarray) -> float:
    if g.shape[1] < 32:
        return 1.0
    steps = np.minimum(np.abs(np.diff(g, axis=1)), 24.0).mean(0)  # edges of things count little
    grid = np.arange(len(steps)) % 8 == 7
    return float((steps[grid].mean() + 0.1) / (steps[~grid].mean() + 0.1))


def _neighbours(g: np.ndarray) -> float:
    a, b = g[:, :-1].ravel(), g[:, 1:].ravel()
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-3 * a.size else 1.0


def _noise(g: np.ndarray) -> float:
    if min(g.shape) < 3:
        return 0.0
    d = g[:, :-2] - 2 * g[:, 1:-1] + g[:, 2:]
    d = d[:-2] - 2 * d[1:-1] + d[2:]
    return float(np.median(np.abs(d))) / (0.6745 * 6.0)


def _plain(g: np.ndarray) -> float:
    h, w = (s // 8 * 8 for s in g.shape)
    if not h or not w:
        return 0.0
    cells = g[:h, :w].reshape(h // 8, 8, w // 8, 8)
    return float((cells.max((1, 3)) - cells.min((1, 3)) <= 2).mean())
