"""Where the vehicle shall go: 64 points, one every 0.1 s, on the `channels` port (spec section 6.3).

Published: one linear layer of the 192 numbers, concatenated to the latent, the same for every view, frame and cell. That is this condition
with its defaults. `pace` tells each latent frame the way as seen from the place before it instead, so that its own motion comes first; no
frame has to find its part of the whole, which a small network is slow to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports, zeroed
from armillary.errors import BadInput

POINTS, STEP = 64, 0.1  # of a trajectory, and the seconds between them


@dataclass(frozen=True)
class TrajectoryCondition(Condition):
    """Args:
    dim: width between the points and the port.
    hidden: of a layer (GELU) between the points and that, 0 for the published single one.
    scale: metres that count as one.
    horizon: how many of the points are read, 0 for all. Recordings that end repeat their last place; a short horizon stays before that.
    pace: seconds that a latent frame spans: each frame is then told what it sees from the place one frame earlier. 0 tells all the same.
    dropout: share of training rows whose trajectory is withheld, so that the world also knows to go without.
    """

    dim: int = 6
    hidden: int = 0
    scale: float = 1.0
    horizon: int = 0
    pace: float = 0.0
    dropout: float = 0.0

    port: ClassVar[Literal["modulation", "channels"]] = "channels"
    part: ClassVar[str] = "trajectory"
    per_frame: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.scale <= 0 or not 0 <= self.horizon <= POINTS or self.pace < 0 or not 0 <= self.dropout < 1:
            raise BadInput(
                f"A trajectory wants scale > 0, horizon in 0..{POINTS}, pace >= 0 and dropout in [0, 1); got {self.scale}, {self.horizon}, "
                f"{self.pace} and {self.dropout}."
            )

    def build(self, ports: Ports) -> TrajectoryModule:
        return TrajectoryModule(self, ports.channels)


class TrajectoryModule(ConditionModule):
    def __init__(self, config: TrajectoryCondition, width: int) -> None:
        super().__init__()
        self.config = config
        numbers = 3 * (config.horizon or POINTS)
        self.read = (
            nn.Sequential(nn.Linear(numbers, config.hidden), nn.GELU("tanh"), nn.Linear(config.hidden, config.dim))
            if config.hidden
            else nn.Linear(numbers, config.dim)
        )
        self.down = zeroed(nn.Linear(config.dim, width, bias=False))

    def forward(self, said: Conditions) -> Tensor | None:
        """trajectory `b 64 3` -> `b d 1 1|t 1 1`.

        Raises:
            BadInput: for another number of points, or points that are not finite.
        """
        if said.trajectory is None:
            return None
        way, c = check_way(said.trajectory), self.config
        moments = range(max(said.frames, 1)) if c.pace else range(1)
        told = torch.stack([onward(way, c.pace * max(i - 1, 0)) for i in moments], dim=1)  # b t p 3
        if c.horizon:
            told = told[:, :, : c.horizon]
        out = self.down(self.read(told.flatten(2) / c.scale))
        return out.transpose(1, 2)[:, :, None, :, None, None]


def check_way(way: Tensor) -> Tensor:
    """The same trajectories `b 64 3`.

    Raises:
        BadInput: another number of points, or points that are not finite.
    """
    if way.ndim != 3 or way.shape[1:] != (POINTS, 3) or not bool(torch.isfinite(way).all()):
        raise BadInput(
            f"A trajectory is {POINTS} points (ahead, to the left, up; metres), one every {STEP:g} s, all finite: b {POINTS} 3; got "
            f"{tuple(way.shape)}."
        )
    return way


def onward(way: Tensor, seconds: float) -> Tensor:
    """What is left of trajectories `b p 3` after some time, as the vehicle sees it from where it is by then; see `stand`."""
    if seconds <= 0:
        return way
    p, at = way.shape[1], seconds / STEP
    here, turn = stand(way, seconds)
    rest = places(way, at + 1 + torch.arange(p, device=way.device, dtype=way.dtype)) - here[:, None]
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    x, y, z = rest.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=-1)


def stand(way: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    """Where the vehicle is after some time on trajectories `b p 3`, and how far it has turned to the left: `b 3`, `b`.

    The place lies on straight lines between points, the heading is that of the motion there (a car's rear axle goes where it points), and
    beyond the last point the last step goes on. A vehicle that stands still keeps the axes it had.
    """
    if seconds <= 0:
        return way.new_zeros(len(way), 3), way.new_zeros(len(way))
    at = seconds / STEP
    here = places(way, at)[:, 0]
    along = (places(way, at + 1) - places(way, at - 1))[:, 0]
    moved = torch.linalg.vector_norm(along[:, :2], dim=-1) > 1e-3
    return here, torch.where(moved, torch.atan2(along[:, 1], along[:, 0]), torch.zeros_like(along[:, 0]))


def places(way: Tensor, points: Tensor | float) -> Tensor:
    """Trajectories `b p 3`, from their start (0) on, at fractions of a point: `b n 3`. Beyond the end the last step goes on."""
    index = torch.as_tensor(points, device=way.device, dtype=way.dtype).clamp(min=0).reshape(-1)
    whole = torch.cat([way.new_zeros(len(way), 1, 3), way], dim=1)
    more = max(int(index.max()) + 2 - way.shape[1], 1)
    end, last = whole[:, -1:], whole[:, -1:] - whole[:, -2:-1]
    whole = torch.cat([whole, end + last * torch.arange(1, more + 1, device=way.device, dtype=way.dtype)[None, :, None]], dim=1)
    low = index.floor().long()
    share = (index - low)[None, :, None]
    return whole[:, low] * (1 - share) + whole[:, low + 1] * share
