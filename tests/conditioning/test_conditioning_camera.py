"""Rays of a camera's path: their geometry, their frame, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.conditioning import CameraCondition, Conditions
from armillary.conditioning.camera import motions, plucker
from armillary.errors import BadInput
from armillary.sims.rooms import pose_of
from armillary.worlds.diffusion.common import Ports

PORTS = Ports(modulation=32, context=0, channels=16, patch=1)
LENS = (60.0, 50.0, 32.0, 32.0)


def walk(frames: int, seed: int = 0, turn: float = 0.1) -> torch.Tensor:
    """`1 frames 4 4`, from a random stand."""
    rng = np.random.default_rng(seed)
    yaw, place, out = rng.uniform(-3, 3), rng.uniform(-2, 2, 3), []
    for _ in range(frames):
        out.append(pose_of(place, yaw, -0.1))
        yaw, place = yaw + turn, place + rng.uniform(-0.1, 0.1, 3)
    return torch.tensor(np.stack(out))[None]


def test_where_the_world_has_its_origin_does_not_matter():
    module = CameraCondition((64, 48), shift=0.1, turn=0.1, lens=LENS).build(PORTS)
    poses = walk(6)
    elsewhere = torch.tensor(pose_of((3.0, -2.0, 1.0), 0.7, 0.3)) @ poses
    maps = module.maps(poses, None)
    assert maps.shape == (1, 9, 5, 8, 6)
    torch.testing.assert_close(maps, module.maps(elsewhere, None), atol=1e-5, rtol=1e-4)


def test_a_point_on_a_ray_is_seen_in_its_cell_by_the_earlier_camera_too():
    """Plücker coordinates are those of the line: a point p on it fulfils p × d = m."""
    poses = walk(4, seed=1)
    turn, shift = motions(poses)
    ray, moment, _ = plucker(turn, shift, torch.tensor(LENS).double().expand(1, 3, 4), (64, 64), 8)
    depth = 1.0 + torch.rand(1, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    point = shift[..., None, None] + depth * ray
    torch.testing.assert_close(torch.linalg.cross(point, ray, dim=2), moment)
    # The same points from the world: through the later camera to its own pixels.
    inside = torch.linalg.inv(poses[:, :-1]) @ poses[:, 1:]
    back = torch.linalg.inv(inside)
    seen = torch.einsum("bmij,bmjhw->bmihw", back[..., :3, :3], point) + back[..., :3, 3][..., None, None]
    x = LENS[0] * seen[:, :, 0] / seen[:, :, 2] + LENS[2]
    torch.testing.assert_close(x[0, 0, 0], (torch.arange(8).double() + 0.5) * 8)


def test_standing_still_adds_nothing_and_turning_right_moves_rays_right():
    module = CameraCondition((64, 64), lens=LENS).build(PORTS)
    still = torch.eye(4).expand(1, 3, 4, 4)
    assert module.maps(still, None)[:, :6].abs().max() < 1e-6
    right = torch.tensor(np.stack([pose_of((0, 0, 1), yaw, 0) for yaw in (0.0, 0.2)]))[None]
    assert (module.maps(right, None)[:, 0] > 0).all() and module.maps(right, None)[:, 3:6].abs().max() < 1e-6


def test_a_frame_hears_its_own_motion_only():
    module = CameraCondition((64, 64), shift=0.1, turn=0.1, lens=LENS).build(PORTS)
    poses = walk(6, seed=2)
    other = poses.clone()
    other[:, 4:, 0, 3] += 0.3  # a jump between frames 3 and 4
    differs = (module.maps(poses, None) - module.maps(other, None)).abs().amax((0, 1, 3, 4)) > 1e-4
    assert differs.tolist() == [False, False, False, True, False]


def test_time_is_folded_as_the_tokenizer_folds_it():
    k = 4
    poses = walk(1 + 2 * k, seed=3)
    turn, shift = motions(poses, k)
    assert turn.shape == (1, 2, 3, 3)
    there = torch.linalg.inv(poses[:, [0]]) @ poses[:, [2]]  # the second of the four frames that the first latent frame folds
    torch.testing.assert_close(shift[:, 0], there[:, 0, :3, 3])


def test_what_is_no_path_is_refused():
    module = CameraCondition((64, 64), lens=LENS).build(PORTS)
    poses = walk(4)
    scaled = poses.clone()
    scaled[0, 2, :3, :3] *= 1.1
    with pytest.raises(BadInput, match="Pose 2 of row 0"):
        module(Conditions(poses=scaled))
    mirrored = poses.clone()
    mirrored[0, 1, :3, 0] *= -1
    with pytest.raises(BadInput, match="Pose 1"):
        module(Conditions(poses=mirrored))
    with pytest.raises(BadInput, match="t 4 4"):
        module(Conditions(poses=poses[..., :3, :]))
    with pytest.raises(BadInput, match="one for each pose"):
        module(Conditions(poses=poses, intrinsics=torch.eye(3).expand(1, 3, 3, 3)))
    assert module(Conditions()) is None
