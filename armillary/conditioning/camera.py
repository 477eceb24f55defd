"""The camera's path for a world that was trained without: a ray for every cell of the latent, on the `channels` port.

A ray is six numbers (Plücker: its direction `d`, and `c × d` for a point `c` on it); the paper's camera control concatenates those to the
latent (section 6.1). Two things differ here. Rays of a frame are said in the axes of the camera *one latent frame earlier*, not of a clip's
first: so a frame's map holds the motion that leads to it, whatever came before, and a rollout has no end. And since such a motion is small,
`d` enters as what it adds to the direction the cell would have had without it, both parts in units of the training data's usual motion;
the direction without motion (three more numbers) tells the lens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports
from armillary.conditioning.frames import FramesCondition, FramesModule
from armillary.errors import BadInput

CHANNELS = 9  # added direction, moment, direction without motion
RIGID = 1e-3  # largest entry of R Rᵀ - 1 that still counts as a rotation


@dataclass(frozen=True)
class CameraCondition(Condition):
    """Args:
    size: height and width in pixels of the frames that intrinsics mean. spatial, temporal: the tokenizer's compression.
    shift, turn: the usual motion from one frame to the next in training: root mean square of its translation (the data's unit of length)
        and of its angle (radians). They normalise the rays.
    lens: fx, fy, cx, cy in pixels that hold where a path brings none: the training data's median.
    hidden: width of the first convolution.
    """

    size: tuple[int, int]
    spatial: int = 8
    temporal: int = 1
    shift: float = 1.0
    turn: float = 1.0
    lens: tuple[float, float, float, float] = (1.0, 1.0, 0.5, 0.5)
    hidden: int = 64

    port: ClassVar[Literal["modulation", "channels"]] = "channels"
    part: ClassVar[str] = "poses"
    leads: ClassVar[bool] = True

    def build(self, ports: Ports) -> CameraModule:
        return CameraModule(self, ports)


def check_rigid(poses: Tensor) -> Tensor:
    """The same camera-to-world matrices `... 4 4`, once each is a rotation and a shift.

    Raises:
        BadInput: naming the first frame whose matrix is not, and by how much it misses.
    """
    if poses.ndim < 3 or poses.shape[-2:] != (4, 4):
        raise BadInput(f"A camera's path is camera-to-world matrices t 4 4 (OpenCV axes); got {tuple(poses.shape)}.")
    flat = poses.detach().reshape(-1, poses.shape[-3], 4, 4).double()
    turn = flat[..., :3, :3]
    off = (turn @ turn.transpose(-1, -2) - torch.eye(3, dtype=flat.dtype, device=flat.device)).abs().amax((-1, -2))
    last = (flat[..., 3, :] - flat.new_tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(-1)
    wrong = ~(flat.isfinite().all(-1).all(-1) & (off < RIGID) & (last < RIGID) & (torch.linalg.det(turn.nan_to_num()) > 0))
    if bool(wrong.any()):
        row, frame = (int(i) for i in wrong.nonzero()[0])
        raise BadInput(
            f"Pose {frame} of row {row} is no rotation and shift (R R^T misses the identity by {float(off[row, frame]):.2g}); rigid "
            "camera-to-world matrices without scale or mirroring are wanted."
        )
    return poses


def motions(poses: Tensor, temporal: int = 1) -> tuple[Tensor, Tensor]:
    """The camera of each latent frame but the first, in the axes of the one before it.

    Args:
        poses: camera-to-world `b 1+k*m 4 4` on the finest clock. The camera of a latent frame that folds `k` frames is that of the
            (k/2)-th of them (published: the 4th of 8).

    Returns:
        rotations `b m 3 3` (new axes in the old ones) and shifts `b m 3`.
    """
    m = (poses.shape[1] - 1) // temporal
    at = torch.arange(m, device=poses.device) * temporal + max(1, temporal // 2)
    pose = poses[:, torch.cat([at.new_zeros(1), at])]
    turn, place = pose[..., :3, :3], pose[..., :3, 3]
    back = turn[:, :-1].transpose(-1, -2)
    return back @ turn[:, 1:], (back @ (place[:, 1:] - place[:, :-1])[..., None])[..., 0]


def plucker(
    rotations: Tensor, shifts: Tensor, lens: Tensor, size: tuple[int, int], spatial: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays through the middle of each cell.

    Args:
        rotations: `b m 3 3`, shifts `b m 3`: a camera in some axes. lens: `b m 4`, fx, fy, cx, cy in pixels.
        size: height and width in pixels; a cell is `spatial` of them.

    Returns:
        `b m 3 h w` each: unit directions in those axes, moments `shift × direction`, unit directions in the camera's own axes.
    """
    h, w = size[0] // spatial, size[1] // spatial
    y, x = ((torch.arange(n, device=shifts.device, dtype=shifts.dtype) + 0.5) * spatial for n in (h, w))
    fx, fy, cx, cy = (v[..., None, None] for v in lens.unbind(-1))
    across = ((x - cx) / fx).expand(*lens.shape[:-1], h, w)
    down = ((y[:, None] - cy) / fy).expand(*lens.shape[:-1], h, w)
    own = torch.stack([across, down, torch.ones_like(across)], dim=2)
    own = own / torch.linalg.vector_norm(own, dim=2, keepdim=True)
    ray = torch.einsum("bmij,bmjhw->bmihw", rotations, own)
    moment = torch.linalg.cross(shifts[..., None, None].expand_as(ray), ray, dim=2)
    return ray, moment, own


class CameraModule(ConditionModule):
    def __init__(self, config: CameraCondition, ports: Ports) -> None:
        super().__init__()
        self.config = config
        self.read = FramesModule(FramesCondition(CHANNELS, config.hidden), ports.channels, ports.patch)

    def maps(self, poses: Tensor, intrinsics: Tensor | None) -> Tensor:
        """`b 9 m h w`, one map for each latent frame but the first; arguments as in `Conditions`."""
        c = self.config
        poses = check_rigid(poses).float()
        rotations, shifts = motions(poses, c.temporal)
        m = shifts.shape[1]
        if intrinsics is None:
            lens = shifts.new_tensor(c.lens).expand(len(shifts), m, 4)
        else:
            if intrinsics.shape[:2] != poses.shape[:2] or intrinsics.shape[-2:] != (3, 3):
                raise BadInput(
                    f"Intrinsics are b t 3 3, one for each pose; got {tuple(intrinsics.shape)} for {tuple(poses.shape)}."
                )
            k = intrinsics[:, 1 :: c.temporal][:, :m].float()
            lens = torch.stack([k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]], dim=-1)
        ray, moment, own = plucker(rotations, shifts, lens, c.size, c.spatial)
        step = c.temporal
        found = torch.cat([(ray - own) / (c.turn * step), moment / (c.shift * step), own], dim=2)
        return found.transpose(1, 2)

    def forward(self, said: Conditions) -> Tensor | None:
        """poses `b 1+k*m 4 4` -> `b d m h/p w/p`; row `i` leads to latent frame `i + 1`.

        Raises:
            BadInput: poses that are not rigid, or intrinsics that do not go with them.
        """
        if said.poses is None:
            return None
        return self.read(Conditions(maps=self.maps(said.poses, said.intrinsics)))
