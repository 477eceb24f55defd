"""One moment of a data set with its past and future: what LeRobot calls delta timestamps.

>>> sample(data, 3, 40, {"front": (-0.2, -0.1, 0.0), "action": (0.0, 0.1, 0.2)})
{"front": uint8 3 h w 3, "front_is_pad": bool 3, "action": float32 3 a, "action_is_pad": bool 3}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.data.lerobot.pictures import at_times
from armillary.data.lerobot.read import LeRobotDataset
from armillary.errors import BadInput, did_you_mean

TOLERANCE = 1e-4  # seconds, LeRobot's own


def sample(data: LeRobotDataset, episode: int, frame: int, deltas: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Values at `frame` of an episode and at some seconds before and after it. Only the frames that are asked for leave the decoder.

    Args:
        deltas: camera (`front`, or its feature's name) or feature -> seconds from that frame, each a multiple of `1 / fps`.

    Returns:
        for each name the values `k ...` and `<name>_is_pad`, bool `k`: true where the moment lies outside the episode and the first or
        last frame stands in for it.

    Raises:
        BadInput: for a frame, name or delta that there is none of, or pictures that do not decode.
    """
    rows = data.rows(episode)
    n = len(next(iter(rows.values())))
    if not 0 <= frame < n:
        raise BadInput(f"Episode {episode} has frames 0 to {n - 1}; got {frame}.")
    cameras = {**{k: k for k in data.keys}, **{key: name for name, key in data.keys.items()}}
    out: dict[str, np.ndarray] = {}
    for name, seconds in deltas.items():
        steps = np.asarray(seconds, np.float64) * data.fps
        off = np.abs(steps - steps.round()) / data.fps
        if not len(steps) or off.max() > TOLERANCE:
            wrong = "nothing" if not len(steps) else f"{seconds[int(off.argmax())]} s"
            raise BadInput(f"Deltas of {name} are multiples of 1/fps, {1 / data.fps:g} s; got {wrong}.")
        wanted = frame + steps.round().astype(int)
        at = wanted.clip(0, n - 1)
        if name in cameras:
            out[name] = _pictures(data, episode, cameras[name], rows, at)
        elif name in ("action", "observation.state") and data.parts(name):
            out[name] = data.vector(rows, name)[at]  # a vector, even of one component or in several columns
        elif name in rows:
            out[name] = rows[name][at]
        else:
            raise BadInput(did_you_mean("camera or feature", name, [*cameras, *rows]))
        out[f"{name}_is_pad"] = wanted != at
    return out


def _pictures(data: LeRobotDataset, episode: int, camera: str, rows: Mapping[str, np.ndarray], at: np.ndarray) -> np.ndarray:
    """uint8 `k h w 3` of rows `at`, in any order and with repetitions."""
    unique, back = np.unique(at, return_inverse=True)
    if data.features[data.keys[camera]]["dtype"] == "image":
        frames = [f for k, f in enumerate(data.pictures(episode, camera, rows)) if k in set(unique.tolist())]
    else:
        times = data.video_times(episode, camera, rows)[unique]
        frames = list(at_times(data.video_path(episode, camera), times, data.fps))
    return np.stack(frames)[back]
