"""How a long video changes as it goes on, second by second, with no truth to compare with: its beginning stands for that.

sharpness    root mean square difference of neighbouring pixels, grey levels
contrast     deviation of the pixels' brightness, grey levels
saturation   mean of the largest less the smallest channel, grey levels
colour       distance of the mean colour from the beginning's, grey levels
movement     mean change of a pixel from the frame before, grey levels; 0 is a video that has frozen
"""

from __future__ import annotations

from typing import Any

import numpy as np

from armillary.errors import BadInput

MEASURES = ("sharpness", "contrast", "saturation", "colour", "movement")


def looks(frames: np.ndarray, first: int) -> dict[str, np.ndarray]:
    """What each frame of uint8 `t h w 3` looks like, float `t` each; colour is counted from the mean of the first `first` frames.

    Raises:
        BadInput: not such a video, or an empty beginning.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not 1 <= first <= len(frames):
        raise BadInput(f"Drift is of uint8 t h w 3 against 1 to t first frames; got {frames.dtype} {frames.shape}, {first}.")
    out: dict[str, list[float]] = {name: [] for name in MEASURES if name != "colour"}
    colours, before = [], None
    for frame in frames:  # one at a time, so that memory does not grow with the length
        x = frame.astype(np.float32)
        across, down = np.diff(x, axis=1), np.diff(x, axis=0)
        out["sharpness"].append(float(np.sqrt((across**2).mean() + (down**2).mean())))
        out["contrast"].append(float(x.mean(-1).std()))
        out["saturation"].append(float((x.max(-1) - x.min(-1)).mean()))
        out["movement"].append(float("nan") if before is None else float(np.abs(x - before).mean()))
        colours.append(x.mean((0, 1)))
        before = x
    mean = np.stack(colours)
    apart = np.linalg.norm(mean - mean[:first].mean(0), axis=1) / np.sqrt(3)
    return {name: np.asarray(values) for name, values in out.items()} | {"colour": apart}


def by_second(values: np.ndarray, fps: float) -> list[float | None]:
    """The mean of each second (the last may be shorter); None where nothing is finite."""
    second = (np.arange(len(values)) / fps + 1e-9).astype(int)
    out: list[float | None] = []
    for s in range(int(second[-1]) + 1 if len(values) else 0):
        part = values[second == s]
        part = part[np.isfinite(part)]
        out.append(float(part.mean()) if len(part) else None)
    return out


def drift(frames: np.ndarray, fps: float, first: int) -> dict[str, Any]:
    """The record of a dreamed video `t h w 3`: `{"first": frames of the beginning, "seconds": {measure: [a value each second]},
    "against_first": {measure: the last second's over the beginning's, or for colour their distance}}`."""
    seen = looks(frames, first)
    curves = {name: by_second(values, fps) for name, values in seen.items()}
    ratio: dict[str, float | None] = {}
    for name, curve in curves.items():
        begin, last = seen[name][:first], curve[-1]
        begin = begin[np.isfinite(begin)]
        known = len(begin) > 0 and last is not None
        if name == "colour":
            ratio[name] = last
        else:
            ratio[name] = float(last / begin.mean()) if known and begin.mean() > 0 and last is not None else None
    return {"first": first, "seconds": _rounded(curves), "against_first": _rounded(ratio)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value if value is None else round(float(value), 4)
