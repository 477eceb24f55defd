"""What sort of picture it is, as far as pixels alone say.

Paper section 3.2.4 trains a classifier on a taxonomy to leave out abstract patterns, games and animation. Without such a model only one
line can be drawn honestly: *graphics* (flat areas of a few exact values: slides, screens, test patterns, line art) against *pictures*.
A rendered film and a camera look alike to these measures; both are tagged `picture`. A sidecar may know better: `{"type": "simulated"}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.stage import Context, noted
from armillary.types import Clip, Rejection


@dataclass(frozen=True)
class TypeConfig:
    """Args:
    reject: tags that are left out.
    few: share of pixels with one of a few exact luma values (`measure.few_values`) from which it is graphics.
    plain: share of 8x8 cells without texture from which it is.
    """

    reject: tuple[str, ...] = ("screen", "drawing")
    few: float = 0.55
    plain: float = 0.6


class Type:
    name = "type"

    def __init__(self, config: TypeConfig | None = None) -> None:
        self.config = config or TypeConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c = self.config
        looks = context.segment.looks_within(clip.start, clip.end)
        if not looks:
            return noted(clip, tags={"type": "unknown"})
        few, plain = (float(np.median([k.measures[name] for k in looks])) for name in ("few", "plain"))
        score = min(few / c.few, plain / c.plain)
        tag = "picture"
        if float(np.median([k.measures["contrast"] for k in looks])) < 4.0:
            tag = "unknown"  # one colour only
        elif score >= 1.0:
            change = context.segment.change[context.segment.within(clip.start, clip.end)]
            tag = "drawing" if len(change) > 1 and float(np.median(change[1:])) > 1.0 else "screen"
        why = {
            "screen": "a screen, slides or a test pattern: flat areas of a few exact values",
            "drawing": "flat drawn animation",
        }
        rejected = (Rejection("type", why[tag], round(score, 6), 1.0),) if tag in c.reject and tag in why else ()
        return noted(clip, {"graphics": score}, {"type": tag}, rejected)
