"""The nouns of shot detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = (28, 48)  # luma height and width a detector works on; chroma is half of it


@dataclass(frozen=True)
class Transition:
    """Frames `start..end` (both included) belong to neither shot; a hard cut is `start == end`, the first frame of the new shot.

    Args:
        kind: cut, dissolve, fade or wipe (pushes and slides are wipes).
        score: how sure, 0 to 1.
    """

    kind: str
    start: int
    end: int
    score: float = 1.0


@dataclass(frozen=True)
class SmallFrames:
    """What a detector sees: uint8 luma `n 28 48` and chroma `n 14 24` twice."""

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    def __len__(self) -> int:
        return len(self.y)
