"""Where a dreamed car is, found by the simulator that recorded the drive: the place from which it would see what the dream shows.

The drive's street, weather and traffic are set up again, and the car is put where its pictures come nearest to the dream's, some frames
at a time: first how much it turns, then how far ahead it is along that arc, then both again more finely. Pictures are compared by their
correlation, view by view. On the recorded frames themselves, which went through a video codec, this errs by what `truth` says in any
report made with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armillary import media
from armillary.errors import BadInput
from armillary.evaluate.odometry import body_of
from armillary.evaluate.rides import Ride

SIDE = 32  # of the pictures that are compared
STRIDE = 4  # frames between places that are looked for
FAST, CURVED = 1.8, 0.09  # metres and radians a frame that are looked for at most
# What is tried in turn: 1 the turn or 0 the length, how many, within which share of all there are about the best so far. Turns first and
# finely: pictures change most with them, and at a wrong one lengths mislead.
TRIES = ((1, 9, 1.0), (1, 7, 0.25), (0, 9, 1.0), (1, 5, 0.1), (0, 7, 0.25), (1, 5, 0.04), (0, 5, 0.08))


class Twin:
    """The driving simulator at the beginning of a ride.

    Raises:
        BadInput: the ride was not recorded by it, or does not begin as it was recorded.
    """

    def __init__(self, root: str | Path, ride: Ride) -> None:
        from armillary import sims
        from armillary.data.lerobot.read import LeRobotDataset

        key, _, first = ride.key.partition("@")
        number = key.rpartition("_")[2]
        if not (Path(root) / "meta" / "info.json").is_file() or not number.isdecimal():
            raise BadInput(f"{root} is no recorded simulator; nothing knows its streets.")
        episode = LeRobotDataset(Path(root)).episode(int(number), cameras=())
        name, _, seed = episode.id.rpartition("-")
        if name != "driving" or not seed.isdecimal():
            raise BadInput(f"Episode {episode.id!r} is not of the driving simulator.")
        self.ride, self.names = ride, ride.names
        self.sim: Any = sims.make("driving", smooth=False)
        self.sim.reset(int(seed))
        self.traffic, self.ego = [], []
        for frame in range(int(first or 0) + len(ride)):
            if frame >= int(first or 0):
                self.traffic.append(self.sim.traffic.copy())
                self.ego.append(self.sim.ego.copy())
            self.sim.step(np.clip(episode.actions[frame], self.sim.spec.low, self.sim.spec.high).astype(np.float32))
        here = self._put(0, self.ego[0]).camera(self.names[0], SIDE)
        if not np.allclose(here.pose, ride.at(0, 0).pose, atol=1e-4):
            raise BadInput(f"Episode {episode.id!r} driven again goes elsewhere than it was recorded.")

    def _put(self, frame: int, ego: np.ndarray) -> Any:
        self.sim.traffic, self.sim.ego = self.traffic[frame], np.asarray(ego, np.float64)
        self.sim._set()
        return self.sim

    def seen(self, frame: int, ego: np.ndarray) -> np.ndarray:
        """What all views show at a frame's traffic from (x, y, heading): uint8 `v h w 3`."""
        shown = self._put(frame, ego).render(self.names, SIDE)
        return np.stack([shown[n] for n in self.names])

    def find(self, frames: np.ndarray, first: int) -> np.ndarray:
        """Where the car is at `first + STRIDE`, `first + 2 STRIDE` ... of a video uint8 `v t h w 3`: (x, y, heading) `n 3`."""
        small = np.stack([media.fit(video, (SIDE, SIDE)) for video in frames])
        at, out = self.ego[first].copy(), []
        for frame in range(first + STRIDE, small.shape[1], STRIDE):
            reach = np.array([FAST / 2, CURVED]) * STRIDE
            best = np.array([FAST / 2 * STRIDE, 0.0])
            for axis, count, share in TRIES:
                options = np.repeat(best[None], count, axis=0)
                options[:, axis] = best[axis] + share * reach[axis] * np.linspace(-1, 1, count)
                options[:, 0] = np.maximum(options[:, 0], 0.0)
                scores = [alike(self.seen(frame, moved(at, *o)), small[:, frame]) for o in options]
                best = options[int(np.argmax(scores))]
            at = moved(at, *best)
            out.append(at)
        return np.array(out).reshape(-1, 3)


class Twins:
    """A reader for `evaluate_trajectory`: each ride by its own twin. About 2.5 core-seconds for four places of one video.

    Args:
        root: the recorded simulator's dataset.
    """

    about = (
        "The way is the one from which the simulator that recorded the drive would see what the dream shows: its places, every "
        f"{STRIDE} frames, are those whose pictures correlate best with the dream's over all views."
    )

    def __init__(self, root: str | Path) -> None:
        self.root, self._made = root, dict[str, Twin]()

    def way(self, ride: Ride, frames: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """See `trajectory.Reader`."""
        if ride.key not in self._made:
            self._made = {ride.key: Twin(self.root, ride)}  # rides come one after the other
        twin = self._made[ride.key]
        body = body_of(ride.at(0, first).pose)[np.ix_((0, 1, 3), (0, 1, 3))]
        begun = flat(twin.ego[first])
        mount = np.linalg.inv(begun) @ body  # the body axes on the car
        places = [(np.linalg.inv(body) @ flat(ego) @ mount)[:2, 2] for ego in twin.find(frames, first)]
        return STRIDE * np.arange(1, len(places) + 1), np.array(places).reshape(-1, 2)


def flat(ego: np.ndarray) -> np.ndarray:
    """(x, y, heading) as 3x3 to the world."""
    c, s = np.cos(ego[2]), np.sin(ego[2])
    return np.array([[c, -s, ego[0]], [s, c, ego[1]], [0.0, 0.0, 1.0]])


def moved(ego: np.ndarray, ahead: float, turn: float) -> np.ndarray:
    """(x, y, heading) after an arc of a length and a turn."""
    middle = ego[2] + turn / 2
    return np.array([ego[0] + np.cos(middle) * ahead, ego[1] + np.sin(middle) * ahead, ego[2] + turn])


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """Mean correlation of two sets of views uint8 `v h w 3`; a flat one counts as 0."""
    x, y = (v.reshape(len(v), -1).astype(np.float64) for v in (a, b))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    below = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return float(np.where(below > 1e-6, (x * y).sum(1) / np.maximum(below, 1e-6), 0.0).mean())
