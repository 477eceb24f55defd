"""Where a camera is sent: a name, a run of joystick commands, or a file of poses.

Steps of a named path are those that the world saw most of in training (root mean square, times what a command that is given half of the
time needs for that); longer ones are asked for with a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from armillary.conditioning import CameraCondition
from armillary.errors import BadInput, did_you_mean
from armillary.media import poses as files
from armillary.types import ActionSpec, Camera

# Command -> (ahead, turn to the right), in units of the usual step. OpenCV axes: x right, y down, z ahead.
STICKS: dict[str, tuple[float, float]] = {
    "forward": (1.4, 0.0),
    "back": (-1.4, 0.0),
    "left": (0.0, -1.4),
    "right": (0.0, 1.4),
    "stay": (0.0, 0.0),
}


def camera_condition(world: Any) -> CameraCondition:
    """The condition by which a world follows a camera.

    Raises:
        BadInput: it follows none.
    """
    if (found := follows(world)) is None:
        raise BadInput(f"World {world.name!r} follows no camera; `armillary posttrain camera` makes one that does.")
    return found


def follows(world: Any) -> CameraCondition | None:
    """As `camera_condition`; None where there is none."""
    return next((c for c in getattr(world, "configs", {}).values() if isinstance(c, CameraCondition)), None)


def resolve_path(path: str | Path | np.ndarray, world: Any, frames: int) -> Camera:
    """The camera of the last given frame and of `frames` further ones.

    Args:
        path: commands of `STICKS`, each with how many frames it holds (`forward*8 left*4 forward`; the last one to the end); a file: .npy
            or .json with camera-to-world matrices `t 4 4` (OpenCV axes), a `transforms.json`, or a RealEstate10K .txt; or such matrices.
            Their first is the camera of the last given frame.

    Raises:
        BadInput: the world follows no camera, a command is not one, or a file holds no path or too short a one.
    """
    condition = camera_condition(world)
    h, w = condition.size
    fx, fy, cx, cy = condition.lens
    lens = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    if isinstance(path, np.ndarray):
        pose = path
    elif Path(path).suffix.lower() in (".npy", ".json", ".txt"):
        pose, found = _read(Path(path), (h, w))
        lens = lens if found is None else found
    else:
        pose = _commanded(str(path), condition, frames)
    if pose.ndim != 3 or pose.shape[1:] != (4, 4) or len(pose) < frames + 1:
        raise BadInput(
            f"{frames} further frames want {frames + 1} poses t 4 4, the first of the last given frame; got {tuple(pose.shape)}."
        )
    try:
        files.rigid(np.asarray(pose, np.float64))
    except BadInput as error:
        raise BadInput(f"The path {path if not isinstance(path, np.ndarray) else ''}: {error}.") from error
    lens = lens[: frames + 1] if lens.ndim == 3 else lens
    return Camera("path", w, h, lens, np.asarray(pose[: frames + 1], np.float64))


def _commanded(text: str, condition: CameraCondition, frames: int) -> np.ndarray:
    commands: list[str] = []
    parts = [p for p in re.split(r"[,\s]+", text) if p]
    if not parts:
        raise BadInput(f"A path is commands such as 'forward*8 left*4 forward'; got {text!r}.")
    for i, part in enumerate(parts):
        name, star, count = part.partition("*")
        if name not in STICKS:
            raise BadInput(did_you_mean("command of a path", name, STICKS))
        if star and not count.isdecimal():
            raise BadInput(f"A command says for how many frames it holds, as forward*8; got {part!r}.")
        left = max(0, frames - len(commands))
        commands += [name] * (int(count) if star else left if i == len(parts) - 1 else 1)
    commands += ["stay"] * (frames - len(commands))
    pose = [np.eye(4)]
    for name in commands[:frames]:
        pose.append(pose[-1] @ motion(condition, *STICKS[name]))
    return np.stack(pose)


def motion(condition: CameraCondition, ahead: float, turn: float) -> np.ndarray:
    """Where the camera is after one frame, in its axes before it (`4 4`).

    Args:
        ahead, turn: along the axis of view and about the vertical, to the right, in units of the training data's usual step.
    """
    angle = turn * condition.turn
    step = np.eye(4)
    step[0, 0] = step[2, 2] = np.cos(angle)
    step[0, 2], step[2, 0] = np.sin(angle), -np.sin(angle)
    step[2, 3] = ahead * condition.shift
    return step


def joystick(condition: CameraCondition, fps: float) -> ActionSpec:
    """The two numbers that stand for a camera's path where a world is stepped: a world that follows a camera as an environment."""
    most = (max(abs(a) for a, _ in STICKS.values()), max(abs(t) for _, t in STICKS.values()))
    units = (f"{condition.shift:.3g} of the data's length", f"{condition.turn:.3g} rad")
    return ActionSpec(("ahead", "turn_right"), units, "camera", fps, "delta", tuple(-m for m in most), most)


def _read(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """Poses, and intrinsics `t 3 3` where the file has some, scaled to pictures of `size`."""
    if not path.is_file():
        raise BadInput(f"There is no file {path}.")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False), None
        if path.suffix.lower() == ".txt":
            found = files.read_realestate(path)
        elif path.name == "transforms.json":
            found = files.read_transforms(path, path.parent)
        else:
            from armillary.store import read_json

            return np.array(read_json(path), np.float64), None
    except (BadInput, ValueError, OSError) as error:
        raise BadInput(f"{path} holds no camera's path: {error}") from error
    scale = np.array([size[1] / found.shape[1], size[0] / found.shape[0], 1.0])
    return found.poses, found.intrinsics * scale[:, None]
