"""Black stretches, frozen stretches, and black bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.stage import Context, above, noted
from armillary.types import Clip


@dataclass(frozen=True)
class BlackConfig:
    """Args:
    max_black: most of a clip that may be black. max_frozen: most that may stand still to the last pixel for `hold` seconds.
    luma, contrast: under both, a frame is black. still: largest change of a cell, in 8-bit steps, of a frame that repeats the last.
    """

    max_black: float = 0.3
    max_frozen: float = 0.8
    hold: float = 1.0
    luma: float = 28.0
    contrast: float = 5.0
    still: float = 0.6


class Black:
    name = "black"

    def __init__(self, config: BlackConfig | None = None) -> None:
        self.config = config or BlackConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c, s = self.config, context.segment
        inside = s.within(clip.start, clip.end)
        black = float(((s.luma[inside] < c.luma) & (s.contrast[inside] < c.contrast)).mean())
        frozen = frozen_share(s.change_peak[inside], s.times[inside], clip.end, c)
        looks = s.looks_within(clip.start, clip.end)
        scores = {"black": black, "frozen": frozen}
        if looks and black < 0.5:
            scores["bars"] = bars(np.stack([k.rgb for k in looks]))
        return noted(
            clip,
            scores,
            rejections=above("black", black, c.max_black, "black for much of its length")
            + above("black", frozen, c.max_frozen, "frozen: the same frame again and again"),
        )


def frozen_share(change: np.ndarray, times: np.ndarray, end: float, c: BlackConfig) -> float:
    """Share of the time spent in runs of at least `hold` seconds in which no frame differs from the one before."""
    if len(times) < 2:
        return 0.0
    still = np.r_[False, change[1:] < c.still]
    lengths = np.diff(np.r_[times, end])
    total, run, begun = 0.0, 0.0, False
    for i in range(len(times)):
        if still[i]:
            run, begun = run + lengths[i] + (0.0 if begun else lengths[i - 1]), True
        if not still[i] or i == len(times) - 1:
            total += run if run >= c.hold else 0.0
            run, begun = 0.0, False
    return min(1.0, total / max(1e-6, end - times[0]))


def bars(looks: np.ndarray) -> float:
    """Share of the picture that is black bars at its rim in every one of `n h w 3`."""
    brightest = looks.max((0, 3))
    h, w = brightest.shape
    rows, columns = brightest.mean(1) < 24, brightest.mean(0) < 24
    inner_h, inner_w = h - _rim(rows), w - _rim(columns)
    return 1.0 - inner_h * inner_w / (h * w)


def _rim(dark: np.ndarray) -> int:
    if dark.all():
        return 0
    lit = np.flatnonzero(~dark)
    return int(lit[0] + len(dark) - 1 - lit[-1])
