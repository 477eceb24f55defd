"""Where a camera is sent: commands, files, and what is no path."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from armillary.conditioning import CameraCondition
from armillary.errors import BadInput
from armillary.evaluate.camera import steps_of
from armillary.rollout.paths import resolve_path
from armillary.sims.rooms import pose_of

CONDITION = CameraCondition((64, 96), shift=0.1, turn=0.05, lens=(60.0, 60.0, 48.0, 32.0))
WORLD = SimpleNamespace(name="rooms", configs={"camera": CONDITION})


def test_commands_are_steps_of_the_usual_length_and_the_last_goes_on():
    camera = resolve_path("forward*3 right*2 back", WORLD, 8)
    steps = steps_of(camera.pose)
    assert camera.pose.shape == (9, 4, 4) and (camera.width, camera.height) == (96, 64)
    np.testing.assert_allclose(steps[:, 5], [0.14] * 3 + [0] * 2 + [-0.14] * 3, atol=1e-12)
    np.testing.assert_allclose(
        steps[:, 1], [0] * 3 + [0.07] * 2 + [0] * 3, atol=1e-12
    )  # to the right is positive about y, which is down
    short = steps_of(resolve_path("left*2", WORLD, 4).pose)
    np.testing.assert_allclose(short[:, 1], [-0.07, -0.07, 0, 0], atol=1e-12)


def test_turning_right_is_what_the_simulator_calls_right():
    turned = np.linalg.inv(pose_of((0, 0, 1), 0.0, 0)) @ pose_of((0, 0, 1), 0.07, 0)
    np.testing.assert_allclose(resolve_path("right", WORLD, 1).pose[1], turned, atol=1e-12)


def test_files(tmp_path):
    pose = np.stack([pose_of((0, 0.1 * t, 1), 0.1 * t, -0.1) for t in range(6)])
    np.save(tmp_path / "path.npy", pose)
    (tmp_path / "path.json").write_text(json.dumps(pose.tolist()))
    frames = [{"file_path": f"{t}.png", "transform_matrix": (p @ np.diag([1, -1, -1, 1])).tolist()} for t, p in enumerate(pose)]
    told = {"w": 192, "h": 128, "fl_x": 100.0, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(told))
    for name in ("path.npy", "path.json", "transforms.json"):
        camera = resolve_path(tmp_path / name, WORLD, 5)
        np.testing.assert_allclose(steps_of(camera.pose), steps_of(pose), atol=1e-9)
    assert camera.intrinsics.shape == (6, 3, 3) and camera.intrinsics[0, 0, 0] == 50.0  # half as many pixels


def test_what_is_no_path(tmp_path):
    with pytest.raises(BadInput, match="follows no camera"):
        resolve_path("forward", SimpleNamespace(name="t", configs={}), 3)
    with pytest.raises(BadInput, match="Did you mean 'forward'"):
        resolve_path("forwards", WORLD, 3)
    with pytest.raises(BadInput, match="forward\\*8"):
        resolve_path("forward*x", WORLD, 3)
    with pytest.raises(BadInput, match="no file"):
        resolve_path(str(tmp_path / "none.npy"), WORLD, 3)
    with pytest.raises(BadInput, match="want 4 poses"):
        resolve_path(np.tile(np.eye(4), (3, 1, 1)), WORLD, 3)
    with pytest.raises(BadInput, match="no rotation"):
        resolve_path(np.tile(1.1 * np.eye(4), (4, 1, 1)), WORLD, 3)
