"""What feature extractors see of clips and of single frames, and how far apart that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary import media
from armillary.evaluate.frechet import frechet_estimate
from armillary.evaluate.stats import estimate

if TYPE_CHECKING:
    from armillary.features import Features

PICTURES = 8  # frames of a clip that enter rFID
TOGETHER = 8  # frames that are looked at at once


@dataclass
class Eyes:
    """Two extractors (of whole clips for rFVD, of single frames for rFID), and the truth as they see it.

    `clip_of` and `still_of` say which clip each kept row is of; `blind` counts clips that are too small to be seen.
    """

    clip: Features | None
    picture: Features | None
    clips: list[np.ndarray] = field(default_factory=list)
    stills: list[np.ndarray] = field(default_factory=list)
    clip_of: list[int] = field(default_factory=list)
    still_of: list[int] = field(default_factory=list)
    blind: int = 0

    def look(self, frames: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(one row for the clip, rows for single frames) of uint8 `t h w 3`; None where an extractor is absent or the clip too short."""
        video = media.to_tensor(frames)
        clip = still = None
        if self.clip is not None and len(frames) >= max(2, getattr(self.clip, "shortest", 1)):
            clip = self.clip.embed(video.to(_device(self.clip))).cpu().numpy()
        if self.picture is not None:
            places = np.unique(np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().astype(int))
            stills = video[0, :, places].transpose(0, 1)[:, :, None]
            still = self.picture.embed(stills.to(_device(self.picture))).cpu().numpy()
        return clip, still

    def keep(self, number: int, clip: np.ndarray | None, stills: np.ndarray | None) -> None:
        """Remember what `look` saw of the truth of clip `number`."""
        if clip is not None:
            self.clips.append(clip)
            self.clip_of.append(number)
        if stills is not None:
            self.stills.append(stills)
            self.still_of += [number] * len(stills)

    def apart(self, truth: np.ndarray, made: np.ndarray) -> float | None:
        """Mean perceptual distance of the frames; None where the extractor of clips sees no single frames."""
        if self.clip is None or not self.clip.weights:
            return None
        import torch

        from armillary.features import apart

        device = _device(self.clip)
        both = (media.to_tensor(x)[0].transpose(0, 1).to(device).split(TOGETHER) for x in (truth, made))
        with torch.no_grad():
            return float(torch.cat([apart(self.clip, a, b) for a, b in zip(*both)]).mean())

    def large_enough(self, frames: np.ndarray) -> bool:
        least = max((getattr(f, "smallest", 1) for f in (self.clip, self.picture) if f is not None), default=1)
        return min(frames.shape[1:3]) >= least


def distance(truth: list[np.ndarray], made: list[np.ndarray], of: list[int]) -> Mapping[str, Any]:
    """Fréchet distance with its interval over clips."""
    return frechet_estimate(np.concatenate(truth), np.concatenate(made), np.asarray(of)) if truth else estimate([])


def named(extractor: Features | None) -> dict[str, str] | None:
    """As it stands beside every figure it has a part in."""
    return None if extractor is None else {"name": extractor.name, "sha256": extractor.sha256}


def _device(extractor: Any) -> Any:
    first = next(iter(extractor.parameters()), None) if hasattr(extractor, "parameters") else None
    return "cpu" if first is None else first.device
