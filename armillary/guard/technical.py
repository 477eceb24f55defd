"""Checks of frames that need no model: is there a picture, is it a number, does it move, does it flash.

Flashes follow WCAG 2.x success criterion 2.3.1: a flash is a pair of opposing changes of relative luminance of a tenth or more whose
darker state is below 0.8, or a pair of opposing changes to or from a saturated red; more than three within a second over more than a
quarter of the area is not allowed.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from armillary.errors import BadInput
from armillary.guard.rail import Finding


@dataclass(frozen=True)
class TechnicalConfig:
    """Thresholds.

    Args:
        uniform: standard deviation (0-255) under which a frame counts as one flat colour.
        frozen: mean absolute difference (0-255) under which a frame counts as a repeat.
        block_frozen: whether a video without any motion is refused; by default it is only recorded.
        red: change of (R - G - B) x 320 from which one to or from a saturated red counts.
        flashes: allowed in any second; `area`: share of the picture that must flash at once to count.
    """

    uniform: float = 1.0
    frozen: float = 0.25
    block_frozen: bool = False
    flashes: int = 3
    area: float = 0.25
    change: float = 0.1
    dark: float = 0.8
    red: float = 20.0


def luminance(frames: np.ndarray, size: int = 64) -> np.ndarray:
    """Relative luminance (sRGB decoded, ITU-R BT.709 weights) of `t h w 3` uint8, area-averaged to at most `size` cells a side."""
    return linear(frames, size) @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def redness(colours: np.ndarray) -> np.ndarray:
    """(R - G - B) x 320 of linear `t h w 3` where R is four fifths of R + G + B or more (saturated red), elsewhere 0."""
    total = colours.sum(-1)
    saturated = (colours[..., 0] >= 0.8 * total) & (total > 0)
    return np.where(saturated, np.maximum(0.0, 2 * colours[..., 0] - total) * 320.0, 0.0)


def linear(frames: np.ndarray, size: int = 64) -> np.ndarray:
    """sRGB `t h w 3` uint8 decoded to linear light, area-averaged to at most `size` cells a side."""
    t, h, w, _ = frames.shape
    table = np.arange(256) / 255.0
    table = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4).astype(np.float32)
    rows, columns = (np.linspace(0, n, min(n, size) + 1).astype(int) for n in (h, w))
    out = np.empty((t, len(rows) - 1, len(columns) - 1, 3), np.float32)
    cells = np.outer(np.diff(rows), np.diff(columns)).astype(np.float32)[..., None]
    for i in range(t):
        out[i] = np.add.reduceat(np.add.reduceat(table[frames[i]], rows[:-1], 0), columns[:-1], 1) / cells
    return out


def flashes_per_second(light: np.ndarray, fps: float, config: TechnicalConfig) -> int:
    """The most flashes that any second holds over more than `area` of the picture.

    Args:
        light: relative luminance `t h w`.
    """
    t = len(light)
    if t < 3:
        return 0
    # Per cell: walk the extremes; a swing of `change` against the last extreme ends a half flash (hysteresis, so slow ramps count once).
    extreme = light[0].copy()
    direction = np.zeros(light.shape[1:], np.int8)
    half = np.zeros(light.shape, bool)
    for i in range(1, t):
        now = light[i]
        swing = now - extreme
        dark = np.minimum(now, extreme) < config.dark
        turned = (np.abs(swing) >= config.change) & dark & (np.sign(swing) != direction)
        half[i] = turned & (direction != 0)
        first = turned & (direction == 0)
        half[i] |= first
        direction = np.where(turned, np.sign(swing), direction).astype(np.int8)
        further = ((direction > 0) & (now > extreme)) | ((direction < 0) & (now < extreme))
        extreme = np.where(turned | further, now, extreme)
    # Half flashes of one frame over enough of the area count together; two opposing ones make a flash.
    wide = half.reshape(t, -1).mean(1) > config.area
    window = max(1, round(fps))
    counts = np.convolve(wide.astype(int), np.ones(min(window, t), int))
    return int(counts.max()) // 2


class Technical:
    """The rail: refuses what is no video and what may trigger seizures; records flat and frozen video."""

    name, first, version = "technical", True, "1"

    def __init__(self, config: TechnicalConfig | None = None) -> None:
        self.config = config or TechnicalConfig()

    def check(self, frames: np.ndarray, fps: float) -> Finding:
        config = self.config
        if frames.ndim != 4 or frames.shape[-1] != 3:
            return Finding(True, f"frames are t h w 3; got the shape {frames.shape}")
        if 0 in frames.shape:
            return Finding(True, f"the video is empty: its shape is {frames.shape}")
        if not (np.isfinite(fps) and fps > 0):
            raise BadInput(f"frames a second must be a positive number; got {fps}")
        if frames.dtype != np.uint8:
            if not np.issubdtype(frames.dtype, np.floating):
                return Finding(True, f"frames are uint8, or float in [0, 1]; got {frames.dtype}")
            bad = ~np.isfinite(frames).all(axis=(1, 2, 3))
            if bad.any():
                return Finding(
                    True, f"{int(bad.sum())} of {len(frames)} frames hold NaN or infinity (first: {int(bad.argmax())})"
                )
            frames = (np.clip(frames, 0, 1) * 255 + 0.5).astype(np.uint8)
        means = np.array([f.mean() for f in frames])
        flat = np.array([f.reshape(-1, 3).std(0).max() for f in frames]) < config.uniform
        if flat.all():
            colour = "black" if means.max() < 4 else "white" if means.min() > 251 else "one flat colour"
            return Finding(True, f"every frame is {colour}: there is no picture")
        colours = linear(frames)
        light = colours @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        red = dataclasses.replace(config, change=config.red, dark=np.inf)
        flashes = max(flashes_per_second(light, fps, config), flashes_per_second(redness(colours), fps, red))
        if flashes > config.flashes:
            return Finding(
                True,
                f"flashes {flashes} times within a second over more than {config.area:.0%} of the picture; {config.flashes} are allowed",
            )
        notes = [f"{int(flat.sum())} of {len(frames)} frames are one flat colour"] if flat.any() else []
        if len(frames) > 1:
            still = [np.abs(a.astype(np.int16) - b).mean() < config.frozen for a, b in itertools.pairwise(frames)]
            if all(still):
                return Finding(config.block_frozen, "the video is frozen: no frame differs from the one before")
            if (n := sum(still)) > len(still) / 2:
                notes.append(f"{n} of {len(still)} frame steps are still")
        return Finding(False, "; ".join(notes) or "a moving picture without flashes", facts={"flashes_per_second": flashes})
