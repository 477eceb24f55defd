"""Where the vehicle shall go, told to each camera as the motion of its own rays, on the `channels` port.

A trajectory says the same numbers to every cell of every view (`trajectory.py`, as published), and a small network has to find out what
they mean for a lamp post seen by the left camera. With the rig known that is geometry: the vehicle's motion from one latent frame to the
next, seen from where a camera is mounted, is a camera's motion, and each cell gets the ray that `camera.py` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports
from armillary.conditioning.camera import CHANNELS, check_rigid, plucker
from armillary.conditioning.frames import FramesCondition, FramesModule
from armillary.conditioning.trajectory import check_way, stand
from armillary.errors import BadInput


@dataclass(frozen=True)
class RaysCondition(Condition):
    """Args:
    rig: for each view the upper three rows of its camera-to-vehicle matrix, 12 numbers (OpenCV camera; vehicle ahead, left, up; metres).
    lens: for each view fx, fy, cx, cy in pixels.
    size: height and width in pixels of the frames that the lens means; spatial: the tokenizer's compression.
    pace: seconds that a latent frame spans.
    shift, turn: the usual motion in that time, root mean square of metres and radians. They normalise the rays.
    hidden: width of the first convolution.
    dropout: share of training rows whose way is withheld, so that the world also knows to go without.
    """

    rig: tuple[tuple[float, ...], ...]
    lens: tuple[tuple[float, ...], ...]
    size: tuple[int, int]
    spatial: int = 8
    pace: float = 0.1
    shift: float = 1.0
    turn: float = 1.0
    hidden: int = 64
    dropout: float = 0.0

    port: ClassVar[Literal["modulation", "channels"]] = "channels"
    part: ClassVar[str] = "trajectory"
    per_frame: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.rig or len(self.rig) != len(self.lens) or {*map(len, self.rig)} != {12} or {*map(len, self.lens)} != {4}:
            raise BadInput("A rig is 12 numbers a view and a lens four, for as many views.")
        if min(self.pace, self.shift, self.turn) <= 0 or not 0 <= self.dropout < 1:
            raise BadInput(
                f"Rays want pace, shift and turn > 0 and dropout in [0, 1); got {self.pace}, {self.shift}, {self.turn}, {self.dropout}."
            )

    def build(self, ports: Ports) -> RaysModule:
        return RaysModule(self, ports)


class RaysModule(ConditionModule):
    rig: Tensor

    def __init__(self, config: RaysCondition, ports: Ports) -> None:
        super().__init__()
        self.config = config
        rows = torch.tensor(config.rig, dtype=torch.float32).view(-1, 3, 4)
        self.register_buffer("rig", _whole(rows), persistent=False)
        check_rigid(self.rig[None])
        self.read = FramesModule(FramesCondition(CHANNELS, config.hidden), ports.channels, ports.patch)

    def maps(self, way: Tensor, frames: int) -> Tensor:
        """Rays of all views, `(b v) 9 t h w`, from trajectories `b 64 3`; in the first frame nothing has moved."""
        c = self.config
        motion = ego_motions(way.float(), c.pace, frames)  # b t 4 4
        seen = torch.linalg.inv(self.rig)[None, :, None] @ motion[:, None] @ self.rig[None, :, None]  # b v t 4 4
        seen = seen.flatten(0, 1)
        lens = way.new_tensor(c.lens).float()[None, :, None].expand(len(way), -1, frames, -1).flatten(0, 1)
        ray, moment, own = plucker(seen[..., :3, :3], seen[..., :3, 3], lens, c.size, c.spatial)
        return torch.cat([(ray - own) / c.turn, moment / c.shift, own], dim=2).transpose(1, 2)

    def forward(self, said: Conditions) -> Tensor | None:
        """trajectory `b 64 3` -> `b d v t h/p w/p`; where no clip is known (`frames` 0), the motion at its start for all frames.

        Raises:
            BadInput: another number of views or points, or points that are not finite.
        """
        if said.trajectory is None:
            return None
        if said.views != len(self.config.rig):
            raise BadInput(f"This way is told to the cameras of a rig of {len(self.config.rig)}; got {said.views} views.")
        way = check_way(said.trajectory)
        maps = self.maps(way, said.frames) if said.frames else self.maps(way, 2)[:, :, 1:]
        out = self.read(Conditions(maps=maps))
        assert out is not None
        return rearrange(out, "(b v) d t h w -> b d v t h w", v=said.views)


def ego_motions(way: Tensor, pace: float, frames: int) -> Tensor:
    """The vehicle at each of so many moments, `pace` seconds apart, in its own axes of the moment before: `b frames 4 4` of `b p 3`."""
    stood = [stand(way, pace * i) for i in range(frames)]
    places = _whole(torch.stack([torch.cat([_turned(turn), here[..., None]], dim=-1) for here, turn in stood], dim=1))
    before = torch.cat([places[:, :1], places[:, :-1]], dim=1)
    return torch.linalg.inv(before) @ places


def _turned(angle: Tensor) -> Tensor:
    """Rotations about the upward axis, `b 3 3`."""
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = (cos, -sin, none, sin, cos, none, none, none, none + 1)
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def _whole(rows: Tensor) -> Tensor:
    """Matrices `... 4 4` of their upper three rows."""
    last = rows.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*rows.shape[:-2], 1, 4)
    return torch.cat([rows, last], dim=-2)
