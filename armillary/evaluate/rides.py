"""Drives as they are judged: all views of a stretch, with cameras, captions and the way that was taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data import VIEWS, DrivingConfig
from armillary.data.base import Entry
from armillary.data.pixels import Pixels
from armillary.errors import BadInput
from armillary.types import Camera


@dataclass(frozen=True)
class Ride:
    """A stretch of one drive.

    Args:
        frames: uint8 `v t h w 3`; cameras: one a view, its poses `t 4 4` absolute, intrinsics in pixels of `frames`.
        trajectory: float32 `t 64 3`, see `Batch`: of each frame. texts: of each view, or none. fps: of `frames`.
    """

    key: str
    frames: np.ndarray
    cameras: tuple[Camera, ...]
    trajectory: np.ndarray
    texts: tuple[str, ...]
    fps: float

    def __len__(self) -> int:
        return self.frames.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.cameras)

    def at(self, view: int, frame: int) -> Camera:
        """Where a camera stood at a frame."""
        camera = self.cameras[view]
        k = camera.intrinsics[frame] if camera.intrinsics.ndim == 3 else camera.intrinsics
        return Camera(camera.name, camera.width, camera.height, k, camera.pose[frame])

    def part(self, first: int, frames: int) -> Ride:
        """So many frames from `first` on."""
        cut = slice(first, first + frames)
        cameras = tuple(
            Camera(c.name, c.width, c.height, c.intrinsics[cut] if c.intrinsics.ndim == 3 else c.intrinsics, c.pose[cut])
            for c in self.cameras
        )
        key, _, before = self.key.partition("@")
        return Ride(
            f"{key}@{int(before or 0) + first}", self.frames[:, cut], cameras, self.trajectory[cut], self.texts, self.fps
        )


def rides(data: Pixels, length: int = 0, most: int = 0) -> list[Ride]:
    """The drives of a dataset of `DrivingConfig`.

    Args:
        length: only the first so many frames of each, and only those that have them; 0 for all there are.
        most: at most so many drives; 0 for all.

    Raises:
        BadInput: none is long enough, or the data do not say where cameras and car were.
    """
    if not {"poses", "trajectory"} <= data.fields:
        raise BadInput(f"{data.what} does not say where the cameras and the car were; drives as in docs/data-posed.md do.")
    kept = [e for e in data.entries if e.length >= length]
    if not kept:
        raise BadInput(f"No drive of {data.what} has {length} frames; the longest has {max(e.length for e in data.entries)}.")
    return [_ride(data, e, length) for e in (kept[:most] if most else kept)]


def _ride(data: Pixels, entry: Entry, length: int) -> Ride:
    frames = data.read(entry).reshape(data.views, entry.length, *data.size, 3)
    assert entry.trajectory is not None
    whole = Ride(entry.key, frames, tuple(entry.cameras), entry.trajectory, tuple(entry.view_texts), data.fps)
    return whole.part(0, length) if length else whole


def replay(root: str | Path, ride: Ride, size: int) -> Iterator[dict[str, tuple[Camera, np.ndarray, np.ndarray]]]:
    """A recorded simulator's drive, driven again: for each frame, view -> (camera, depth in metres `h w`, whose pixel it is `h w`).

    Raises:
        BadInput: the drive is not of the driving simulator, or it does not begin as it was recorded.
    """
    from armillary import sims
    from armillary.data.lerobot.read import LeRobotDataset

    key, _, first = ride.key.partition("@")
    number = key.rpartition("_")[2]
    if not (Path(root) / "meta" / "info.json").is_file() or not number.isdecimal():
        raise BadInput(f"{root} is no recorded simulator; only its depth is exact.")
    episode = LeRobotDataset(Path(root)).episode(int(number), cameras=())
    name, _, seed = episode.id.rpartition("-")
    if name != "driving" or not seed.isdecimal():
        raise BadInput(f"Episode {episode.id!r} is not of the driving simulator.")
    sim: Any = sims.make("driving")
    sim.reset(int(seed))
    start = int(first or 0)
    for frame in range(start + len(ride)):
        if frame >= start:
            made = {}
            for view, camera in enumerate(ride.cameras):
                picture = sim.picture(camera.name, size)
                here = sim.camera(camera.name, size)
                if not np.allclose(here.pose, ride.at(view, frame - start).pose, atol=1e-4):
                    raise BadInput(f"Episode {episode.id!r} driven again goes elsewhere than it was recorded.")
                made[camera.name] = (here, picture.depth, sim.owner[picture.geom])
            yield made
        sim.step(np.clip(episode.actions[frame], sim.spec.low, sim.spec.high).astype(np.float32))


def held_out(path: str, views: Sequence[str] = (), size: tuple[int, int] = (64, 64), share: float = 0.0) -> Pixels:
    """Drives to judge on: all of them, or with `share` those that training with that share held out."""
    config = DrivingConfig(path, tuple(views) or VIEWS, frames=2, size=size, held_out=share, actions=False)
    return config.build("held-out" if share else "train")
