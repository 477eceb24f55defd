"""Picture quality by measurement: blur, blocks, noise, exposure, size; and by learned judges where their weights are given.

The paper (section 3.2.2) drops the lowest 15 % by a perceptual model and a loose aesthetic score; neither model is part of this package.
The measures are those of `curate.measure`; the median over a clip's looks decides. `aesthetic` and `perceptual` name local files of such
judges (`filters.judges`); without them there is no such score, which is not the same as a score of nought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate import kinds
from armillary.curate.analyse import Look
from armillary.curate.filters.judges import Head, Perceptual
from armillary.curate.stage import Context, above, below, noted
from armillary.errors import BadInput
from armillary.types import Clip

JUDGED = 3  # looks of a clip that learned judges see


@dataclass(frozen=True)
class QualityConfig:
    """Args:
    max_blur, max_blocks, max_noise: see `measure`. min_neighbours: correlation of adjacent pixels.
    max_dark, max_bright: share of pixels without detail. min_contrast: in 8-bit steps.
    min_side: least shorter side in pixels.
    aesthetic: a `.safetensors` head on embeddings; embedder: the local CLIP or SigLIP folder that makes them ("": the model-free vector).
    perceptual: an `.onnx` network from a picture to a score. min_aesthetic, min_perceptual: least mean score of a clip.
    """

    max_blur: float = 0.75
    max_blocks: float = 2.0
    max_noise: float = 15.0
    min_neighbours: float = 0.5
    max_dark: float = 0.92
    max_bright: float = 0.92
    min_contrast: float = 6.0
    min_side: int = 48
    aesthetic: str = ""
    embedder: str = ""
    perceptual: str = ""
    min_aesthetic: float = 3.5
    min_perceptual: float = 0.0


class Quality:
    """Loads the judges its config names when it is made.

    Raises:
        BadInput: a judge's file is missing or does not fit; MissingExtra: what runs it is not installed.
    """

    name = "quality"

    def __init__(self, config: QualityConfig | None = None) -> None:
        self.config = c = config or QualityConfig()
        self.head = Head(c.aesthetic) if c.aesthetic else None
        self.embedder = kinds.embedder(c.embedder) if self.head else None
        self.perceptual = Perceptual(c.perceptual) if c.perceptual else None
        if self.head and self.embedder and self.head.dim != self.embedder.dim:
            raise BadInput(
                f"The head {c.aesthetic} takes embeddings of {self.head.dim} numbers and the embedder {self.embedder.name} gives "
                f"{self.embedder.dim}: set quality.embedder to the folder of the model it was trained on."
            )

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c, side = self.config, min(clip.width, clip.height)
        small = below("quality", side, c.min_side, f"{clip.width}x{clip.height} is small")
        looks = context.segment.looks_within(clip.start, clip.end)
        if not looks:
            return noted(clip, rejections=small)
        m = {name: float(np.median([k.measures[name] for k in looks])) for name in looks[0].measures}
        judged = self._judged(looks)
        return noted(
            clip,
            {**{k: m[k] for k in ("blur", "blocks", "noise", "neighbours", "luma", "contrast", "dark", "bright")}, **judged},
            rejections=small
            + above("quality", m["blur"], c.max_blur, "blurred")
            + above("quality", m["blocks"] if m["few"] < 0.6 else 1.0, c.max_blocks, "coding blocks show")
            + above("quality", m["noise"], c.max_noise, "noisy")
            + below("quality", m["neighbours"], c.min_neighbours, "noise without any structure")
            + above("quality", m["dark"], c.max_dark, "too dark")
            + above("quality", m["bright"], c.max_bright, "burnt out")
            + below("quality", m["contrast"], c.min_contrast, "without contrast")
            + below("quality", judged.get("aesthetic", np.inf), c.min_aesthetic, "of little beauty")
            + below("quality", judged.get("perceptual", np.inf), c.min_perceptual, "of poor quality to a viewer's eye"),
        )

    def _judged(self, looks: list[Look]) -> dict[str, float]:
        """Mean scores of the learned judges there are, over a few looks."""
        if self.head is None and self.perceptual is None:
            return {}
        picks = np.unique(np.linspace(0, len(looks) - 1, min(JUDGED, len(looks))).round().astype(int))
        pictures, out = [looks[i].rgb for i in picks], {}
        if self.head is not None and self.embedder is not None:
            out["aesthetic"] = float(np.mean([self.head(self.embedder.embed([p])) for p in pictures]))
        if self.perceptual is not None:
            out["perceptual"] = float(np.mean([self.perceptual(p) for p in pictures]))
        return out
