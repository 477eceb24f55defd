"""When a dream that goes on has fallen apart: its objects are gone, or its look has left everything that the truth ever looks like.

Judged window by window (a second, or less where the video is short), each video against its own beginning:

* fewer than half of the objects that the truth shows in that window are still there, or
* sharpness, contrast or saturation are a factor away from the beginning's, or the mean colour a distance, that is more than `FAR` times
  the farthest that the truth of any episode ever goes.

Leaving the range of the truth itself (a factor of one) is told apart, as `left`: a dream may be softer than any truth and still hold.
The beginning of a dream is the given frames as the tokenizer shows them, so that the tokenizer's own blur counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

RATIOS = ("sharpness", "contrast", "saturation")
LOOKS = (*RATIOS, "colour")
FAR = 2.0
HALF = 0.5
# A still scene's truth goes nowhere; less than a tenth, or two grey levels, is no drift.
LEAST = {"sharpness": math.log(1.1), "contrast": math.log(1.1), "saturation": math.log(1.1), "colour": 2.0}

Looks = Mapping[str, np.ndarray]


def windows(steps: int, fps: float) -> list[slice]:
    """Seconds of a video of `steps` frames, or sixteenths of it where that is less; what is left over goes to the last."""
    size = max(1, min(round(fps), steps // 16))
    count = max(1, steps // size)
    return [slice(i * size, steps if i == count - 1 else (i + 1) * size) for i in range(count)]


def distances(looks: Looks) -> dict[str, np.ndarray]:
    """How far each value is from the beginning: `|ln ratio|` of the ratios, the colour's distance as it is."""
    with np.errstate(divide="ignore"):
        return {name: np.abs(np.log(looks[name])) if name in RATIOS else np.asarray(looks[name]) for name in LOOKS}


def farthest(truths: Sequence[Looks]) -> dict[str, float]:
    """The farthest that the truth of any episode gets from its beginning, at least `LEAST`."""
    every = [distances(t) for t in truths]
    return {name: max(LEAST[name], *(float(np.nanmax(d[name])) for d in every)) for name in LOOKS}


def first(
    looks: Looks, reach: Mapping[str, float], kept: np.ndarray | None = None, factor: float = FAR
) -> tuple[int, str] | None:
    """The first window that has fallen apart and why (`objects` or the name of a look); None when none has.

    Args:
        looks: by window, ratios to the beginning and the colour's distance; reach: what `farthest` says.
        kept: share of the objects still there by window, NaN where none can be judged; None asks for the looks alone.
    """
    far = distances(looks)
    broken = [(name, far[name] > factor * reach[name]) for name in LOOKS]
    if kept is not None:
        broken.insert(0, ("objects", np.nan_to_num(kept, nan=1.0) < HALF))
    found = [(int(np.argmax(mask)), name) for name, mask in broken if mask.any()]
    return min(found, key=lambda f: f[0]) if found else None
