"""A walk through a simulated room, and that walk as other people would have written it down, in conventions spelled out anew."""

from __future__ import annotations

import json

import numpy as np

from armillary import media
from armillary.sims import record_episode
from armillary.sims.rooms import Rooms
from armillary.types import Camera

SIZE, FRAMES, FPS = 96, 12, 10.0


class Walk:
    """`frames` uint8 `t 96 96 3`, `poses` camera-to-world `t 4 4`, `k` intrinsics, `depth` float `t 96 96`."""

    def __init__(self, seed: int) -> None:
        sim = Rooms(smooth=False)
        episode = record_episode(sim, seed, "wander", FRAMES, ("eye",), SIZE)
        self.seed, self.episode = seed, episode
        self.frames, (camera,) = episode.frames["eye"], episode.cameras
        self.poses, self.k = camera.pose, camera.intrinsics
        sim.reset(seed)  # nothing in a room moves: any pose can be looked at again
        self.depth = np.stack([sim.rays.render(Camera("eye", SIZE, SIZE, self.k, pose)).depth for pose in self.poses])

    def stamps(self, begin: float = 0.0) -> np.ndarray:
        """Microseconds."""
        return np.rint((begin + np.arange(FRAMES) / FPS) * 1e6).astype(np.int64)


def realestate(folder, name, walk, begin=0.0, rows=None):
    """World-to-camera rows, intrinsics as fractions; returns the text file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"https://www.youtube.com/watch?v={name}"]
    for stamp, pose in zip(walk.stamps(begin), walk.poses):
        w2c = np.linalg.inv(pose)[:3]
        inside = [walk.k[0, 0] / SIZE, walk.k[1, 1] / SIZE, walk.k[0, 2] / SIZE, walk.k[1, 2] / SIZE, 0, 0]
        lines.append(" ".join([str(stamp), *(f"{x:.9f}" for x in [*inside, *w2c.ravel()])]))
    path = folder / f"{name}.txt"
    path.write_text("\n".join(lines[: None if rows is None else rows + 1]) + "\n")
    return path


def pictures(folder, names, frames):
    for name, frame in zip(names, frames):
        media.write_image(folder / name, frame)


def transforms(folder, walk, names, told=1, **more):
    """OpenGL camera-to-world; intrinsics of pictures `told` times as large as ours."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for t, (name, pose) in enumerate(zip(names, walk.poses)):
        right, down, forward = pose[:3, 0], pose[:3, 1], pose[:3, 2]
        gl = np.eye(4)
        gl[:3, 0], gl[:3, 1], gl[:3, 2], gl[:3, 3] = right, -down, -forward, pose[:3, 3]
        frames.append(
            {"file_path": name, "transform_matrix": gl.tolist(), **({"timestamp": t / FPS} if "timed" in more else {})}
        )
    order = np.random.default_rng(0).permutation(len(frames))  # tools write them in any order
    told_k = {"fl_x": walk.k[0, 0] * told, "fl_y": walk.k[1, 1] * told, "cx": walk.k[0, 2] * told, "cy": walk.k[1, 2] * told}
    about = {
        "camera_model": "OPENCV",
        "w": SIZE * told,
        "h": SIZE * told,
        **told_k,
        **more,
        "frames": [frames[k] for k in order],
    }
    (folder / "transforms.json").write_text(json.dumps(about))
