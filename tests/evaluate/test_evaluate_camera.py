"""Views that go where they are sent, that stand still, and that go their own way."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import camera as measure
from armillary.evaluate.camera import Posed, evaluate_camera, exponential, logarithm, path_of, pose_error, steps_of
from armillary.sims.rooms import pose_of
from armillary.types import Camera

WALL = np.random.default_rng(0).integers(0, 256, (16, 600, 3), dtype=np.uint8)
PX = 0.02  # radians that a column of the wall is wide
WINDOWS = np.stack([WALL[:, i : i + 16] for i in range(WALL.shape[1] - 16)]).reshape(-1, 768).astype(np.float32)


def seen(offset: float) -> np.ndarray:
    """A window of the wall, uint8 `16 16 3`."""
    return WALL[:, round(offset) : round(offset) + 16]


def offset_of(frame: np.ndarray) -> int:
    return int(np.square(WINDOWS - frame.reshape(768).astype(np.float32)).sum(1).argmin())


class Exact:
    """Reads turns off the wall and nothing else."""

    std, mean = np.array([1.0, 0.05, 1.0, 1.0, 1.0, 1.0]), np.zeros(6)
    skill = np.array([np.nan, 1.0, np.nan, np.nan, np.nan, np.nan])
    trusted = np.array([False, True, False, False, False, False])

    def read(self, video: np.ndarray) -> np.ndarray:
        out = np.zeros((len(video) - 1, 6))
        out[:, 1] = PX * np.diff([offset_of(f) for f in video])
        return out


def clip(seed: int, frames: int = 12) -> Posed:
    """A camera that turns steadily, one way or the other."""
    rate = (-1) ** seed * (2 + seed % 3)  # columns a frame
    offsets = 300 + rate * np.arange(frames)
    pose = np.stack([pose_of((0, 0, 1), PX * rate * t, 0) for t in range(frames)])
    return Posed(f"clip-{seed}", np.stack([seen(o) for o in offsets]), Camera("eye", 16, 16, np.eye(3), pose))


CLIPS = [clip(seed) for seed in range(6)]


def follows(given, camera, text, seed):
    if camera is None:
        return np.repeat(given[-1:], 8, axis=0)
    turned = np.cumsum(steps_of(camera.pose)[:, 1]) / PX
    noise = np.random.default_rng(seed).normal(0, 2, (8, 16, 16, 3))
    return np.clip(np.stack([seen(offset_of(given[-1]) + o) for o in turned]) + noise, 0, 255).astype(np.uint8)


def test_a_view_that_follows():
    m = evaluate_camera(follows, CLIPS, Exact(), past=4, steps=8, baseline=follows).metrics  # type: ignore[arg-type]
    assert m["verdict"] == measure.FOLLOWS, m["why"]
    assert m["dream"]["rotation_deg"]["mean"] < 1e-3 < m["baseline"]["rotation_deg"]["mean"]
    assert m["dream"]["turns"]["mean"] == 1.0 and m["baseline"]["turns"]["mean"] == 0.0 and m["dream"]["turns"]["n"] == 6
    assert m["truth"]["rotation_deg"]["mean"] < 1e-3
    assert m["swap"]["follows"]["mean"] == 1.0 and m["probe"]["turn y"] == 1.0 and m["probe"]["ahead"] is None


def test_views_that_stand_still_or_go_their_own_way_are_blind():
    def still(given, camera, text, seed):
        return follows(given, None, text, seed)

    def stubborn(given, camera, text, seed):
        noise = np.random.default_rng(seed).normal(0, 20, (8, 16, 16, 3))
        return np.clip(np.repeat(given[-1:], 8, axis=0) + noise, 0, 255).astype(np.uint8)

    for dream in (still, stubborn):
        m = evaluate_camera(dream, CLIPS, Exact(), past=4, steps=8).metrics  # type: ignore[arg-type]
        assert m["verdict"] == measure.BLIND and m["dream"]["turns"]["mean"] == 0.0


def test_a_view_that_turns_the_wrong_way_is_blind_though_it_moves():
    def contrary(given, camera, text, seed):
        back = Camera("eye", 16, 16, np.eye(3), np.linalg.inv(np.linalg.inv(camera.pose[0]) @ camera.pose))
        return follows(given, back, text, seed)

    m = evaluate_camera(contrary, CLIPS, Exact(), past=4, steps=8).metrics  # type: ignore[arg-type]
    assert m["verdict"] == measure.BLIND and m["swap"]["ratio"]["low"] > 1.1 and m["dream"]["turns"]["mean"] == 0.0


def test_paths_and_steps_are_inverse():
    rng = np.random.default_rng(1)
    vectors = rng.uniform(-1, 1, (20, 3))
    np.testing.assert_allclose(logarithm(exponential(vectors)), vectors, atol=1e-9)
    steps = rng.uniform(-0.3, 0.3, (7, 6))
    start = pose_of((1, 2, 3), 0.4, 0.1)
    pose = path_of(steps, start)
    np.testing.assert_allclose(pose[0], start)
    np.testing.assert_allclose(steps_of(pose), steps, atol=1e-9)


def test_pose_error_is_in_degrees_and_shares_of_the_way():
    ahead = np.tile([0, 0, 0, 0, 0, 0.5], (4, 1))
    turning = ahead.copy()
    turning[:, 1] = np.deg2rad(3.0)
    degrees, _ = pose_error(turning, ahead)
    assert degrees == pytest.approx(3.0 * 2.5)  # 3, 6, 9, 12
    short = ahead * 0.5
    degrees, share = pose_error(short, ahead)
    assert degrees == pytest.approx(0.0, abs=1e-6) and share == pytest.approx(0.25 * 2.5 / 2.0)


def test_too_short_clips_are_refused():
    with pytest.raises(BadInput, match="Two clips of 20 frames"):
        evaluate_camera(follows, CLIPS, Exact(), past=4, steps=16)  # type: ignore[arg-type]
