"""Camera paths as they lie on disk: RealEstate10K text files and the `transforms.json` of nerfstudio and DL3DV.

RealEstate10K (Zhou et al. 2018, «Stereo Magnification»): a line with the video's address, then one a frame: a time in microseconds, the
focal lengths and principal point as fractions of width and height, two zeros, and the 3x4 world-to-camera matrix row by row.

`transforms.json`: camera-to-world matrices with OpenGL axes (x right, y up, z backward), intrinsics in pixels of pictures of `w` x `h`,
for all frames or for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.store import read_json

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # from OpenCV's axes to OpenGL's, and back
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
COLUMNS = 19


@dataclass(frozen=True)
class Path3D:
    """A camera's path.

    Args:
        key: its name; group: what it was filmed from.
        poses: camera-to-world float64 `t 4 4`, OpenCV axes; intrinsics: float64 `t 3 3`, in pixels of pictures of `shape`.
        shape: (height, width) that the intrinsics mean; (1, 1) where they are fractions of the picture.
        times: seconds, float64 `t`, or None where only the order is known.
        names: the picture of each pose, relative to the file's folder; empty where pictures go by time.
        bent: how far lens distortion, which is not undone, moves a corner: as a share of the picture's width.
    """

    key: str
    group: str
    poses: np.ndarray
    intrinsics: np.ndarray
    shape: tuple[float, float]
    times: np.ndarray | None = None
    names: tuple[str, ...] = ()
    bent: float = 0.0

    def __len__(self) -> int:
        return len(self.poses)


def is_realestate(path: Path) -> bool:
    """Whether a text file looks like one of RealEstate10K: its second line has 19 columns, the first a whole number."""
    try:
        with path.open(encoding="utf-8") as file:
            file.readline()
            row = file.readline().split()
    except (OSError, UnicodeDecodeError):
        return False
    return len(row) == COLUMNS and row[0].isdigit()


def read_realestate(path: Path) -> Path3D:
    """Raises BadInput: a line that is none, times that do not rise, a matrix that is no rotation."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            rows.append([float(x) for x in line.split()])
        except ValueError as error:
            raise BadInput(f"line {number} holds something else than numbers ({error})") from error
        if len(rows[-1]) != COLUMNS:
            raise BadInput(f"line {number} has {len(rows[-1])} columns instead of {COLUMNS}")
    if not rows:
        raise BadInput("it holds no pose")
    table = np.array(rows, np.float64)
    if (np.diff(table[:, 0]) <= 0).any():
        raise BadInput(f"its times do not rise (line {int(np.argmax(np.diff(table[:, 0]) <= 0)) + 3})")
    world = np.tile(np.eye(4), (len(table), 1, 1))
    world[:, :3] = table[:, 7:].reshape(-1, 3, 4)
    return Path3D(
        key=path.stem,
        group=lines[0].strip() or path.stem,
        poses=inverse(rigid(world)),
        intrinsics=pinhole(*table[:, 1:5].T),
        shape=(1.0, 1.0),
        times=table[:, 0] / 1e6,
    )


def read_transforms(path: Path, root: Path) -> Path3D:
    """Frames in the order of their file names (their times, where they have some).

    Raises:
        BadInput: no frames, a camera that is no pinhole, intrinsics that are missing, a matrix that is no rotation.
    """
    told = read_json(path)
    frames = told.get("frames") if isinstance(told, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(f, dict) for f in frames):
        raise BadInput("it has no list of `frames`")
    model = str(told.get("camera_model", "OPENCV"))
    if "FISHEYE" in model or model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
        raise BadInput(f"its camera_model {model} is no pinhole camera; undistort the pictures first")
    timed = all(isinstance(f.get("timestamp"), (int, float)) for f in frames)  # nerfstudio's `time` is no second but a share
    frames = sorted(frames, key=lambda f: (float(f["timestamp"]) if timed else 0.0, _natural(str(f.get("file_path", "")))))
    try:
        world = np.array([f["transform_matrix"] for f in frames], np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"a frame has no 4x4 transform_matrix of numbers ({error})") from error
    if world.shape[1:] == (3, 4):
        world = np.concatenate([world, np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(world), 1, 1))], 1)
    if world.shape[1:] != (4, 4):
        raise BadInput(f"its transform_matrix is {world.shape[1:]}; 4x4 is wanted")
    lenses = [_lens({**told, **f}) for f in frames]
    shapes = {shape for _, shape, _ in lenses}
    if len(shapes) > 1:
        raise BadInput(f"its pictures have different sizes: {sorted(shapes)[:3]}")
    times = np.array([f["timestamp"] for f in frames], np.float64) if timed else None
    if times is not None and (not np.isfinite(times).all() or (np.diff(times) <= 0).any()):
        raise BadInput("its timestamps are not all different numbers")
    folder = path.parent.relative_to(root).as_posix()
    key = folder if folder != "." else path.parent.resolve().name
    return Path3D(
        key=key,
        group=key,
        poses=rigid(world) @ OPENGL,
        intrinsics=np.stack([k for k, _, _ in lenses]),
        shape=shapes.pop(),
        times=times,
        names=tuple(str(f.get("file_path", "")) for f in frames),
        bent=max(bent for _, _, bent in lenses),
    )


def _lens(told: Mapping[str, Any]) -> tuple[np.ndarray, tuple[float, float], float]:
    """Intrinsics, the shape they mean, and how far distortion moves a corner, of what is told of one frame."""
    try:
        w, h = float(told["w"]), float(told["h"])
        if "fl_x" in told:
            fx = float(told["fl_x"])
            fy = float(told.get("fl_y", fx))
        else:  # Blender's way: the angle that the width spans
            fx = fy = 0.5 * w / float(np.tan(0.5 * float(told["camera_angle_x"])))
        cx, cy = float(told.get("cx", w / 2)), float(told.get("cy", h / 2))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"its intrinsics lack {error} (w, h, and fl_x or camera_angle_x are wanted)") from error
    if min(w, h, fx, fy) <= 0:
        raise BadInput(f"its intrinsics make no sense: w {w:g}, h {h:g}, fl_x {fx:g}, fl_y {fy:g}")
    k1, k2, k3, k4, p1, p2 = (float(told.get(name) or 0.0) for name in DISTORTION)
    x, y = max(cx, w - cx) / fx, max(cy, h - cy) / fy
    r = x * x + y * y
    radial = r * (k1 + r * (k2 + r * (k3 + r * k4)))
    moved = np.hypot(x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x), y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y)
    return pinhole(*(np.array([v]) for v in (fx, fy, cx, cy)))[0], (h, w), float(moved * fx / w)


def pinhole(fx: np.ndarray, fy: np.ndarray, cx: np.ndarray, cy: np.ndarray) -> np.ndarray:
    """Intrinsics `t 3 3` of four vectors `t`."""
    out = np.zeros((len(fx), 3, 3))
    out[:, 0, 0], out[:, 1, 1], out[:, 0, 2], out[:, 1, 2], out[:, 2, 2] = fx, fy, cx, cy, 1.0
    if not np.isfinite(out).all() or (fx <= 0).any() or (fy <= 0).any():
        raise BadInput("its focal lengths are not positive numbers throughout")
    return out


def rigid(matrices: np.ndarray) -> np.ndarray:
    """The same `t 4 4`, once each is a rotation and a shift.

    Raises:
        BadInput: naming the first that is not: a scale, a mirror image, or no number at all.
    """
    turn = matrices[:, :3, :3]
    off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    wrong = ~(np.isfinite(matrices).all((1, 2)) & (off < 1e-3) & (np.linalg.det(np.nan_to_num(turn)) > 0))
    if wrong.any():
        raise BadInput(f"the matrix of frame {int(np.argmax(wrong))} is no rotation and shift")
    return matrices


def inverse(matrices: np.ndarray) -> np.ndarray:
    """Of rigid motions `t 4 4`."""
    out = np.tile(np.eye(4), (len(matrices), 1, 1))
    out[:, :3, :3] = matrices[:, :3, :3].transpose(0, 2, 1)
    out[:, :3, 3] = -np.einsum("tij,tj->ti", out[:, :3, :3], matrices[:, :3, 3])
    return out


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts frame_2 before frame_10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name))
