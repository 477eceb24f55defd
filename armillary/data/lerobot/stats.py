"""Statistics as LeRobot data sets carry them: per feature and episode, and joined over episodes.

Each is a dict of `min max mean std count q01 q10 q50 q90 q99`. A number has shape `[n]`, a picture `[3, 1, 1]` scaled to [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Stats = dict[str, np.ndarray]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
PICTURES = 12  # frames of an episode that picture statistics look at


def of_numbers(values: np.ndarray) -> Stats:
    """Statistics of `t n` (or `t`) numbers, truth values included."""
    values = values.reshape(len(values), -1)
    wide = values.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": wide.mean(0),
        "std": wide.std(0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles)),
    }


def of_pictures(frames: np.ndarray) -> Stats:
    """Statistics of uint8 `t h w 3`, from up to `PICTURES` evenly spaced frames and every other pixel of a large one."""
    pick = np.unique(np.linspace(0, len(frames) - 1, PICTURES).round().astype(int))
    step = 1 if frames.shape[1] * frames.shape[2] <= 64 * 64 else 2
    pixels = frames[pick][:, ::step, ::step].reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])  # 3 x 256: everything follows from these
    level, total = np.arange(256) / 255.0, len(pixels)
    mean = counts @ level / total
    spread = np.sqrt(np.maximum(counts @ level**2 / total - mean**2, 0.0))
    below = np.cumsum(counts, 1) / total
    out = {
        "min": level[(counts > 0).argmax(1)],
        "max": level[255 - (counts[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": spread,
        **{name: level[(below >= q).argmax(1)] for name, q in QUANTILES.items()},
    }
    return {name: value.reshape(3, 1, 1) for name, value in out.items()} | {"count": np.array([len(pick)])}


def joined(parts: Sequence[Mapping[str, Any]]) -> Stats:
    """Statistics of several stretches together: exact, but for the quantiles, which are means weighted by count."""
    rows = [{k: np.asarray(v) for k, v in part.items()} for part in parts]
    shape = rows[0]["mean"].shape
    counts = np.array([float(r["count"].reshape(-1)[0]) for r in rows])
    weight = (counts / counts.sum()).reshape(-1, *([1] * len(shape)))
    means = np.stack([r["mean"].astype(np.float64) for r in rows])
    mean = (weight * means).sum(0)
    variance = (weight * (np.stack([r["std"].astype(np.float64) for r in rows]) ** 2 + (means - mean) ** 2)).sum(0)
    out = {
        "min": np.stack([r["min"] for r in rows]).min(0),
        "max": np.stack([r["max"] for r in rows]).max(0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    for name in QUANTILES:
        if all(name in r for r in rows):
            out[name] = (weight * np.stack([r[name].astype(np.float64) for r in rows])).sum(0)
    return out


def plain(stats: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """As JSON takes it."""
    return {feature: {name: np.asarray(v).tolist() for name, v in values.items()} for feature, values in stats.items()}
