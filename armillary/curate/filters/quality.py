"""Picture quality by measurement: blur, blocks, noise, exposure, size. No learned taste: a dull clip passes, a broken one does not.

The paper (section 3.2.2) drops the lowest 15 % by a perceptual model and a loose aesthetic score; neither model is part of this
package. The measures are those of `curate.measure`; the median over a clip's looks decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.stage import Context, above, below, noted
from armillary.types import Clip


@dataclass(frozen=True)
class QualityConfig:
    """Args:
    max_blur, max_blocks, max_noise: see `measure`. min_neighbours: correlation of adjacent pixels.
    max_dark, max_bright: share of pixels without detail. min_contrast: in 8-bit steps.
    min_side: least shorter side in pixels.
    """

    max_blur: float = 0.75
    max_blocks: float = 2.0
    max_noise: float = 15.0
    min_neighbours: float = 0.5
    max_dark: float = 0.92
    max_bright: float = 0.92
    min_contrast: float = 6.0
    min_side: int = 48


class Quality:
    name = "quality"

    def __init__(self, config: QualityConfig | None = None) -> None:
        self.config = config or QualityConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c, side = self.config, min(clip.width, clip.height)
        small = below("quality", side, c.min_side, f"{clip.width}x{clip.height} is small")
        looks = context.segment.looks_within(clip.start, clip.end)
        if not looks:
            return noted(clip, rejections=small)
        m = {name: float(np.median([k.measures[name] for k in looks])) for name in looks[0].measures}
        return noted(
            clip,
            {k: m[k] for k in ("blur", "blocks", "noise", "neighbours", "luma", "contrast", "dark", "bright")},
            rejections=small
            + above("quality", m["blur"], c.max_blur, "blurred")
            + above("quality", m["blocks"] if m["few"] < 0.6 else 1.0, c.max_blocks, "coding blocks show")
            + above("quality", m["noise"], c.max_noise, "noisy")
            + below("quality", m["neighbours"], c.min_neighbours, "noise without any structure")
            + above("quality", m["dark"], c.max_dark, "too dark")
            + above("quality", m["bright"], c.max_bright, "burnt out")
            + below("quality", m["contrast"], c.min_contrast, "without contrast"),
        )
