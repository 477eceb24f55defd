"""A vehicle's way as the motion of its cameras: the same rays as the cameras' own poses give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.conditioning import CameraCondition, Conditions, RaysCondition
from armillary.conditioning.rays import ego_motions
from armillary.conditioning.trajectory import POINTS, STEP
from armillary.errors import BadInput
from armillary.worlds.diffusion.common import Ports

PORTS = Ports(modulation=32, context=0, channels=16, patch=1, views=True)
LENS = (50.0, 50.0, 32.0, 32.0)


def mounted(yaw: float, place) -> np.ndarray:
    """A camera on a vehicle that looks `yaw` to the left of ahead: camera-to-vehicle."""
    out = np.eye(4)
    ahead, right = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([np.sin(yaw), -np.cos(yaw), 0])
    out[:3, :3] = np.stack([right, [0, 0, -1], ahead], axis=1)
    out[:3, 3] = place
    return out


RIG = np.stack([mounted(0.0, (1.5, 0.0, 1.4)), mounted(1.2, (0.8, 0.6, 1.5))])


def module(**more):
    rig = tuple(tuple(float(x) for x in m[:3].flat) for m in RIG)
    return RaysCondition(rig, (LENS, LENS), (64, 64), pace=0.2, shift=1.5, turn=0.05, **more).build(PORTS)


def circle(speed: float, radius: float) -> tuple[torch.Tensor, np.ndarray]:
    """A trajectory `1 64 3` on a circle to the left, and ego poses `9 4 4`, 0.2 s apart."""
    s = STEP * torch.arange(1, POINTS + 1) * speed / radius
    way = torch.stack([radius * s.sin(), radius * (1 - s.cos()), 0 * s], dim=-1)[None]
    ego = np.tile(np.eye(4), (9, 1, 1))
    for i in range(9):
        a = 0.2 * i * speed / radius
        ego[i, :2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
        ego[i, :2, 3] = radius * np.sin(a), radius * (1 - np.cos(a))
    return way, ego


@pytest.mark.parametrize(("speed", "radius"), [(8.0, 40.0), (5.0, -25.0), (10.0, 1e5)])
def test_rays_are_those_of_the_cameras_own_poses(speed, radius):
    way, ego = circle(speed, radius)
    mine = module().maps(way, 9).unflatten(0, (1, 2))
    for v, mount in enumerate(RIG):
        camera = CameraCondition((64, 64), shift=1.5, turn=0.05, lens=LENS).build(PORTS)
        theirs = camera.maps(torch.tensor(ego @ mount)[None], None)
        torch.testing.assert_close(mine[:, v, :, 1:], theirs, atol=0.02, rtol=0.02)


def test_nothing_has_moved_in_the_first_frame_or_where_a_car_stands():
    way, _ = circle(8.0, 40.0)
    assert module().maps(way, 3)[:, :6, 0].abs().max() < 1e-5
    assert module().maps(torch.zeros(1, POINTS, 3), 3)[:, :6].abs().max() < 1e-5
    motion = ego_motions(way, 0.2, 4)
    torch.testing.assert_close(motion[:, 2], motion[:, 3], atol=5e-3, rtol=0)  # on a circle every stretch is alike


def test_each_view_is_told_its_own_and_a_side_camera_sees_the_ground_pass():
    way, _ = circle(8.0, 1e5)  # straight on
    ahead, side = module().maps(way, 2)[:, :, 1]
    assert ahead[:3].abs().max() < 1e-3, "no ray turns"
    moved = (ahead[3:6] - side[3:6]).abs().max()
    assert moved > 0.5
    out = module()(Conditions(trajectory=way, views=2, frames=5))
    assert out.shape == (1, 16, 2, 5, 8, 8) and not out.any(), "silent until it is trained"


def test_what_cannot_work_is_said():
    way, _ = circle(8.0, 40.0)
    with pytest.raises(BadInput, match="rig of 2; got 6 views"):
        module()(Conditions(trajectory=way, views=6, frames=2))
    with pytest.raises(BadInput, match="64 points"):
        module()(Conditions(trajectory=way[:, :9], views=2, frames=2))
    with pytest.raises(BadInput, match="12 numbers a view"):
        RaysCondition(((1.0,) * 12,), (), (64, 64))
    with pytest.raises(BadInput, match="no rotation and shift"):
        RaysCondition(((1.0,) * 12,), (LENS,), (64, 64)).build(PORTS)
