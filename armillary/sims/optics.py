"""Pinhole cameras of a MuJoCo model in the house's convention (OpenCV: x right, y down, z forward), and projection.

Pixel coordinates are continuous: column `j`, row `i` is the square [j, j+1) x [i, i+1), its centre at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.types import Camera

# MuJoCo's cameras look along -z with y up.
FLIP = np.diag([1.0, -1.0, -1.0])


def camera_id(model: Any, name: str) -> int:
    """The index of a camera.

    Raises:
        BadInput: naming those there are.
    """
    names = [model.camera(i).name for i in range(model.ncam)]
    if name not in names:
        raise BadInput(f"There is no camera {name!r} here; there are {', '.join(names)}.")
    return names.index(name)


def intrinsics(fovy: float, size: int) -> np.ndarray:
    """3x3 for a square picture of `size` pixels and a vertical field of view in degrees."""
    focal = 0.5 * size / np.tan(0.5 * np.deg2rad(fovy))
    return np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])


def view(model: Any, data: Any, name: str, size: int) -> Camera:
    """Camera `name` as it stands now; pose is camera-to-world 4x4."""
    if size < 1:
        raise BadInput(f"A picture needs at least 1 pixel a side; got size={size}.")
    index = camera_id(model, name)
    pose = np.eye(4)
    pose[:3, :3] = data.cam_xmat[index].reshape(3, 3) @ FLIP
    pose[:3, 3] = data.cam_xpos[index]
    return Camera(name, size, size, intrinsics(float(model.cam_fovy[index]), size), pose)


def directions(camera: Camera, offset: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """Unit directions in the world through every pixel at `offset` within it, float64 `h*w 3`, row by row."""
    i, j = np.divmod(np.arange(camera.width * camera.height), camera.width)
    return through(camera, j + offset[0], i + offset[1])


def through(camera: Camera, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Unit directions in the world through the pixel coordinates `x`, `y` (float `n`): float64 `n 3`."""
    k, r = camera.intrinsics, camera.pose[:3, :3]
    a, b = (x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1]
    rays = a[:, None] * r[:, 0] + b[:, None] * r[:, 1] + r[:, 2]
    return rays / np.sqrt(a * a + b * b + 1.0)[:, None]


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """World points `... 3` to pixel coordinates `... 2`; a point not in front of the camera becomes NaN."""
    local = (points - camera.pose[:3, 3]) @ camera.pose[:3, :3]
    depth = np.where(local[..., 2:] > 1e-6, local[..., 2:], np.nan)
    k = camera.intrinsics
    return local[..., :2] / depth * np.array([k[0, 0], k[1, 1]]) + np.array([k[0, 2], k[1, 2]])
