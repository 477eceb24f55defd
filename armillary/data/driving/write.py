"""Writing drives: a folder each, with one mp4 a camera, what each view shows, where the car went, and how the cameras stand on it.

`docs/data-posed.md` has the layout. Axes of the vehicle: x ahead, y to the left, z up, metres. A `rig` pose leads from a camera's axes
(OpenCV) to the vehicle's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.media import write_video
from armillary.store import atomic_dir, sha256_file, write_json
from armillary.types import Camera, Episode

FORMAT, VERSION = "armillary-drive", 1
# In the order in which they ride on the batch's time axis.
VIEWS = ("front", "left", "right", "rear", "rear_left", "rear_right")
POINTS, STEP = 64, 0.1  # of a trajectory, and the seconds between them
STILL = 1e-6  # how far a rig may differ from frame to frame


def ego_poses(ego: np.ndarray) -> np.ndarray:
    """Vehicle-to-world `t 4 4` of a level vehicle: `ego` holds x, y and heading (radians, 0 along +x, to the left) and is `t 3` or more."""
    out = np.tile(np.eye(4), (len(ego), 1, 1))
    c, s = np.cos(ego[:, 2]), np.sin(ego[:, 2])
    out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = c, -s, s, c
    out[:, :2, 3] = ego[:, :2]
    return out


def trajectories(poses: np.ndarray, fps: float, points: int = POINTS) -> np.ndarray:
    """Where the vehicle goes after each frame, as it sees it from there: float32 `t points 3`, a point every 0.1 s.

    Args:
        poses: vehicle-to-world `t 4 4`, `fps` a second; between frames it moves in straight lines. Where the drive ends earlier, its
            last place is repeated.
    """
    places, clock = poses[:, :3, 3], np.arange(len(poses)) / fps
    wanted = clock[:, None] + STEP * np.arange(1, points + 1)
    at = np.stack([np.interp(wanted, clock, places[:, k]) for k in range(3)], -1)  # t points 3
    return np.einsum("tpi,tij->tpj", at - places[:, None], poses[:, :3, :3]).astype(np.float32)


def write_drive(
    folder: str | Path,
    episode: Episode,
    ego: np.ndarray,
    *,
    trajectory: np.ndarray | None = None,
    source: str = "",
    crf: int = 18,
) -> Path:
    """Write one drive, whole or not at all.

    Args:
        folder: of this drive; its name is the drive's.
        episode: with frames and a moving camera (poses `t 4 4`) for each of `VIEWS`; its captions, actions and spec are kept.
        ego: vehicle-to-world `t 4 4`.
        trajectory: float32 `t 64 3`, where more is known than `ego` says (a log that went on); made from `ego` otherwise.
        source: what the drive was cut out of; drives of one source are never split between training and held out.

    Raises:
        BadInput: a view is missing, lengths differ, or a camera moves on the car.
    """
    n, cameras = len(episode), {c.name: c for c in episode.cameras}
    lacking = [v for v in VIEWS if v not in episode.frames or v not in cameras]
    if lacking:
        raise BadInput(f"Drive {episode.id!r} lacks {', '.join(lacking)}; a drive has {', '.join(VIEWS)}.")
    ego = np.asarray(ego, np.float64)
    if ego.shape != (n, 4, 4):
        raise BadInput(f"Drive {episode.id!r} has {n} actions; its ego poses are {ego.shape}, {(n, 4, 4)} is wanted.")
    if trajectory is not None and trajectory.shape != (n, POINTS, 3):
        raise BadInput(f"Drive {episode.id!r}: its trajectory is {trajectory.shape}, {(n, POINTS, 3)} is wanted.")
    for view in VIEWS:
        if len(episode.frames[view]) != n:
            raise BadInput(f"Drive {episode.id!r} has {n} actions but {len(episode.frames[view])} frames of {view}.")
    rig = {view: _on_car(cameras[view], ego, episode.id) for view in VIEWS}
    with atomic_dir(folder) as out:
        about: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "fps": episode.fps,
            "source": source,
            "caption": episode.caption,
            "captions": {view: episode.captions.get(view, "") for view in VIEWS},
            "cameras": {},
            "videos": {},
            "spec": episode.spec if episode.spec.dim else None,
        }
        for view in VIEWS:
            write_video(out / f"{view}.mp4", episode.frames[view], episode.fps, crf=crf)
            camera = cameras[view]
            about["cameras"][view] = {
                "width": camera.width,
                "height": camera.height,
                "intrinsics": camera.intrinsics,
                "rig": rig[view],
            }
            about["videos"][view] = sha256_file(out / f"{view}.mp4")
        motion = {"ego": ego, "trajectory": trajectories(ego, episode.fps) if trajectory is None else trajectory}
        _save(out / "motion.safetensors", motion | ({"actions": episode.actions} if episode.spec.dim else {}))
        write_json(out / "drive.json", about)
    return Path(folder)


def _on_car(camera: Camera, ego: np.ndarray, name: str) -> np.ndarray:
    """Camera-to-vehicle 4x4."""
    poses = camera.pose if camera.pose.ndim == 3 else np.broadcast_to(camera.pose, ego.shape)
    if poses.shape != ego.shape or camera.intrinsics.ndim != 2:
        raise BadInput(f"Drive {name!r}: camera {camera.name} wants one lens and a pose a frame; it has poses {poses.shape}.")
    rig = np.linalg.inv(ego) @ poses
    off = float(np.abs(rig - rig[0]).max())
    if off > STILL:
        raise BadInput(f"Drive {name!r}: camera {camera.name} moves on the car by {off:.2g}; it should stand still on it.")
    return rig[0]


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    kinds = {"ego": np.float64}
    save_file({k: np.ascontiguousarray(v, kinds.get(k, np.float32)) for k, v in arrays.items()}, path)
