"""The frame rail: a classifier of pictures behind a protocol, and the rule by which its frame scores decide over a video.

No weights of such a classifier ship here, and rules of thumb on skin colour or redness are not sold as safety: without a classifier the
rail says «not checked», in the verdict and so in the sidecar. A server that shows video to others sets `required=True`, and the same
absence then refuses. Frame-wise checks see no harm that only the order of frames tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from armillary.errors import BadInput, Failed
from armillary.guard.rail import Finding

UNAVAILABLE = "no frame classifier weights; content not checked"


class FrameClassifier(Protocol):
    """Scores pictures: `classes` names what it looks for, `scores` gives float `t c` in [0, 1] for uint8 `t h w 3`."""

    name: str
    version: str
    classes: tuple[str, ...]

    def scores(self, frames: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class FramesConfig:
    """Sampling and aggregation.

    Args:
        rate: frames looked at per second, at least; the first and the last always are.
        thresholds: per class, from which a frame counts; `default` for classes not named.
        share: a class refuses when more than this share of the looked-at frames counts ...
        sure: ... or when one frame alone reaches this score.
        batch: frames given to the classifier at a time.
        required: whether the absence of a classifier refuses.
    """

    rate: float = 4.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default: float = 0.5
    share: float = 0.1
    sure: float = 0.9
    batch: int = 16
    required: bool = False


def sample_indices(frames: int, fps: float, rate: float) -> list[int]:
    """Which frames are looked at: at least `rate` a second, first and last included; all of them when the video is slower than that."""
    if frames <= 0:
        return []
    step = max(1, int(fps / rate)) if fps > 0 else 1
    return sorted({*range(0, frames, step), frames - 1})


class Frames:
    """The rail."""

    name, first = "frames", False

    def __init__(self, classifier: FrameClassifier | None = None, config: FramesConfig | None = None) -> None:
        self.classifier, self.config = classifier, config or FramesConfig()
        if classifier is not None:
            strange = set(self.config.thresholds) - set(classifier.classes)
            if strange:
                raise BadInput(
                    f"Thresholds for unknown classes {sorted(strange)}; {classifier.name} has {list(classifier.classes)}."
                )
        self.version = f"1+{classifier.name}-{classifier.version}" if classifier else "1"

    def check(self, frames: np.ndarray, fps: float) -> Finding:
        if self.classifier is None:
            if self.config.required:
                raise Failed(UNAVAILABLE)
            return Finding(False, UNAVAILABLE, skipped=True)
        if len(frames) == 0:
            return Finding(True, "the video is empty")
        chosen = sample_indices(len(frames), fps, self.config.rate)
        parts = []
        for i in range(0, len(chosen), self.config.batch):
            part = np.asarray(self.classifier.scores(frames[chosen[i : i + self.config.batch]]), np.float64)
            wanted = (len(chosen[i : i + self.config.batch]), len(self.classifier.classes))
            if part.shape != wanted or not np.isfinite(part).all() or part.min() < 0 or part.max() > 1:
                raise Failed(f"{self.classifier.name} gave scores of shape {part.shape} or outside [0, 1]; wanted {wanted}")
            parts.append(part)
        scores = np.concatenate(parts)
        found = []
        for k, name in enumerate(self.classifier.classes):
            over = scores[:, k] >= self.config.thresholds.get(name, self.config.default)
            if over.mean() > self.config.share:
                found.append(f"{name} in {int(over.sum())} of {len(over)} frames looked at")
            elif scores[:, k].max() >= self.config.sure:
                found.append(f"{name} with score {scores[:, k].max():.2f} in frame {chosen[int(scores[:, k].argmax())]}")
        top = float(scores.max())
        told = "; ".join(found) or f"nothing of {', '.join(self.classifier.classes)} in {len(chosen)} frames looked at"
        return Finding(bool(found), told, top)
