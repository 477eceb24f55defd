"""Black stretches, frozen stretches, repeated frames, and black bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from armillary.curate.stage import Context, above, noted
from armillary.types import Clip

SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class BlackConfig:
    """Args:
    max_black: most of a clip that may be black. max_frozen: most that may stand still to the last pixel for `hold` seconds.
    max_repeats: most of a moving clip's frames that may repeat the one before: a slow film in a fast file is at three quarters.
    max_bars: most of the picture that may be black bars. Letterboxed film has 0.13 (1.85 to 1) to 0.26 (2.39 to 1).
    luma, contrast: under both, a frame is black. still: largest change of a cell, in 8-bit steps, of a frame that repeats the last.
    """

    max_black: float = 0.3
    max_frozen: float = 0.8
    max_repeats: float = 0.85
    max_bars: float = 0.1
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
        peak, times = s.change_peak[inside], s.times[inside]
        frozen = frozen_share(peak, times, clip.end, c)
        again = repeats(peak, times, c)
        scores, tags = {"black": black, "frozen": frozen, "repeats": again}, {}
        area = 0.0
        looks = s.looks_within(clip.start, clip.end)
        if looks and black < 0.5:
            rims = bars([k.measures for k in looks])
            area = bar_area(rims)
            scores |= {"bars": area, **{f"bars_{side}": rims[side] for side in SIDES}}
            if word := bar_word(rims):
                tags["bars"] = word
        if 0.15 < again < 0.3 and telecined(peak, times, c):
            tags["cadence"] = "telecine"
        return noted(
            clip,
            scores,
            tags,
            rejections=above("black", black, c.max_black, "black for much of its length")
            + above("black", frozen, c.max_frozen, "frozen: the same frame again and again")
            + above("black", again if frozen <= c.max_frozen else 0.0, c.max_repeats, "most frames repeat the one before")
            + above("black", area if tags.get("bars") else 0.0, c.max_bars, f"black bars ({tags.get('bars', '')})"),
        )


def _moments(change: np.ndarray, times: np.ndarray, c: BlackConfig) -> np.ndarray:
    """Which frames but the first repeat the one before, outside of runs of `hold` seconds: bool."""
    still = change[1:] < c.still
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    out = np.ones(len(still), bool)
    for a, b in zip(edges[::2], edges[1::2]):
        if times[min(b, len(times) - 1)] - times[a] >= c.hold:
            out[a:b] = False
    return still[out]


def repeats(change: np.ndarray, times: np.ndarray, c: BlackConfig) -> float:
    """Share of the frames that repeat the one before, where the picture moves at all (within every `hold` seconds)."""
    if len(times) < 2 or float(np.percentile(change[1:], 95)) < 5 * c.still:
        return 0.0  # a quiet scene under a standing camera repeats itself as well
    still = _moments(change, times, c)
    return float(still.mean()) if len(still) >= 8 else 0.0


def telecined(change: np.ndarray, times: np.ndarray, c: BlackConfig) -> bool:
    """Whether the repeats come every fourth or fifth frame, as film brought to a television's rate has them."""
    at = np.flatnonzero(_moments(change, times, c))
    return len(at) >= 4 and float(np.isin(np.diff(at), (4, 5)).mean()) > 0.8


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


def bars(measures: list[Mapping[str, float]]) -> dict[str, float]:
    """Share of each side that is black in every look but the dark ones: the least over looks that show something."""
    lit = [m for m in measures if m.get("luma", 0.0) >= 30 and "top" in m] or [m for m in measures if "top" in m]
    return {side: min((m[side] for m in lit), default=0.0) for side in SIDES}


def bar_area(rims: Mapping[str, float]) -> float:
    """Share of the picture that bars take."""
    return 1.0 - max(0.0, 1.0 - rims["top"] - rims["bottom"]) * max(0.0, 1.0 - rims["left"] - rims["right"])


def bar_word(rims: Mapping[str, float], least: float = 0.015, unequal: float = 0.02) -> str:
    """`letterbox` (above and below), `pillarbox` (left and right), `windowbox` (both) or "". Bars come in equal pairs."""

    def pair(a: str, b: str) -> bool:
        return min(rims[a], rims[b]) >= least and abs(rims[a] - rims[b]) <= unequal + 0.1 * max(rims[a], rims[b])

    letter, pillar = pair("top", "bottom"), pair("left", "right")
    return "windowbox" if letter and pillar else "letterbox" if letter else "pillarbox" if pillar else ""
