"""Where a car went, read off what its cameras show.

Dense optical flow of every view (OpenCV's DIS), summed up over 8 x 8 cells with how much there is to see in each, and a ridge regression
from that to the car's motion. Only flow is looked at and no colour or shape, so that it reads streets it has not learned on, and dreams
as it reads truth. It learns in closed form on training drives and their mirror images; what it is worth is measured on held-out truth
first: `skill`, and the error of whole paths, which is the floor of all that is measured with it.

    body axes   origin on the ground below the first camera, x where that looks, y to the left
    motion      what was driven from one frame to the next: (x, y, turn to the left) in the body axes of the former; metres, radians
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from armillary.errors import BadInput, require
from armillary.evaluate.rides import Ride
from armillary.progress import track

CELLS, SIDE = 8, 96  # a side; pixels of the picture that flow is taken of
RIDGE = 1000.0  # deviations: features are scaled to have 1
FEWEST = 32  # pairs of frames to learn from
NAMES = ("ahead", "aside", "turn")


def body_of(pose: np.ndarray) -> np.ndarray:
    """Body axes to the world (z up), 4x4, of a first camera at camera-to-world `pose`."""
    ahead = pose[:2, 2] / max(float(np.linalg.norm(pose[:2, 2])), 1e-9)
    out = np.eye(4)
    out[:2, 0], out[:2, 1] = ahead, (-ahead[1], ahead[0])
    out[:2, 3] = pose[:2, 3]
    return out


def driven(ride: Ride) -> np.ndarray:
    """The true motions of a ride, float64 `t-1 3`."""
    bodies = [body_of(ride.at(0, i).pose) for i in range(len(ride))]
    steps = [np.linalg.inv(a) @ b for a, b in pairwise(bodies)]
    return np.array([(s[0, 3], s[1, 3], np.arctan2(s[1, 0], s[0, 0])) for s in steps]).reshape(-1, 3)


def path_of(motion: np.ndarray) -> np.ndarray:
    """Places `n 2` after each of motions `n 3`, in the body axes where they began."""
    here, out = np.eye(3), []
    for x, y, turn in motion:
        c, s = np.cos(turn), np.sin(turn)
        here = here @ np.array([[c, -s, x], [s, c, y], [0.0, 0.0, 1.0]])
        out.append(here[:2, 2])
    return np.array(out).reshape(-1, 2)


def flows(frames: np.ndarray, every: int = 1) -> np.ndarray:
    """What moved: float32 `n v 8 8 3` (right, down in pixels of a 64-pixel picture; how much there is to see), of frames uint8 `v t h w 3`.

    Args:
        every: pairs of frames `(i, i + 1)` with `i` a multiple of this.
    """
    cv2 = require("cv2", "reading where a car went")
    flow, contrast = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST), cv2.createCLAHE(4.0, (4, 4))
    each = SIDE // CELLS

    def grey(frame: np.ndarray) -> np.ndarray:
        large = cv2.resize(np.ascontiguousarray(frame), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return contrast.apply(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY))

    def cells(x: np.ndarray) -> np.ndarray:
        return x.reshape(CELLS, each, CELLS, each, *x.shape[2:]).mean((1, 3))

    out = np.zeros((len(range(0, frames.shape[1] - 1, every)), len(frames), CELLS, CELLS, 3), np.float32)
    for v, video in enumerate(frames):
        for n, i in enumerate(range(0, len(video) - 1, every)):
            a, b = grey(video[i]), grey(video[i + 1])
            edges = np.abs(cv2.Sobel(a, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(a, cv2.CV_32F, 0, 1))
            seen = cells(edges)
            moved = cells(flow.calc(a, b, None) * edges[..., None]) / (seen[..., None] + 1e-3)
            out[n, v, ..., :2], out[n, v, ..., 2] = moved * (64 / SIDE), np.log1p(seen)
    return out


def mirrored(seen: np.ndarray, motion: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """The same drives in a mirror: what `flows` gave, and the motions; None where the cameras have no opposites by their names."""
    swap = {"left": "right", "right": "left"}
    opposite = ["_".join(swap.get(part, part) for part in name.split("_")) for name in names]
    if sorted(opposite) != sorted(names):
        return None
    flipped = seen[:, [list(names).index(o) for o in opposite], :, ::-1].copy()
    flipped[..., 0] *= -1
    return flipped, motion * (1.0, -1.0, -1.0)


class Odometer:
    """Args:
    rides: to learn from, all by the same cameras. every: of their pairs of frames.

    Attributes:
        names: of the cameras; skill: float `3`, share of the variance of each part of `motion` explained on held-out truth, NaN before
            `measure`; usual: the mean motion it has learned from.

    Raises:
        BadInput: too few frames to learn from.
    """

    def __init__(self, rides: Sequence[Ride], every: int = 2) -> None:
        self.names = rides[0].names if rides else ()
        parts = [(flows(r.frames, every), driven(r)[::every]) for r in track(rides, "learn to read motion")]
        if sum(len(m) for _, m in parts) < FEWEST:
            raise BadInput(
                f"Reading where a car went wants {FEWEST} pairs of frames to learn from, at least; got {len(parts)} drives."
            )
        seen, motion = (np.concatenate(x) for x in zip(*parts))
        self.usual = motion.mean(0)
        if (other := mirrored(seen, motion, self.names)) is not None:
            seen, motion = np.concatenate([seen, other[0]]), np.concatenate([motion, other[1]])
        x = seen.reshape(len(seen), -1).astype(np.float64)
        self._mean, self._std = x.mean(0), x.std(0) + 1e-3
        self._centre, self._spread = motion.mean(0), np.maximum(motion.std(0), 1e-6)
        x, y = (x - self._mean) / self._std, (motion - self._centre) / self._spread
        self._weight = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        self.skill = np.full(3, np.nan)

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Motions `t-1 3` of a video uint8 `v t h w 3`."""
        if len(frames) != len(self.names):
            raise BadInput(f"It has learned to read {len(self.names)} views ({', '.join(self.names)}); got {len(frames)}.")
        seen = flows(frames).reshape(frames.shape[1] - 1, -1)
        return (seen - self._mean) / self._std @ self._weight * self._spread + self._centre

    @property
    def about(self) -> str:
        told = ", ".join(f"{100 * s:.0f} % of {n}" for n, s in zip(NAMES, self.skill) if np.isfinite(s)) or "nothing measured"
        return (
            "The way is read off all views by optical flow and a ridge regression that learned on other drives; of held-out truth it "
            f"explains {told} (variance of a step)."
        )

    def way(self, ride: Ride, frames: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """See `trajectory.Reader`."""
        path = path_of(self.read(frames[:, first:]))
        return np.arange(1, len(path) + 1), path

    def measure(self, rides: Sequence[Ride]) -> np.ndarray:
        """Sets and gives `skill` on rides it has not learned from."""
        read, truth = (np.concatenate(x) for x in zip(*((self.read(r.frames), driven(r)) for r in rides)))
        spread = truth.var(0)
        self.skill = np.where(spread > 1e-9, 1 - ((read - truth) ** 2).mean(0) / np.maximum(spread, 1e-9), np.nan)
        return self.skill
