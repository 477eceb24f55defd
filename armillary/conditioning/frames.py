"""Maps for a world: anything that lies on the latent's grid, frame by frame, enters as further channels of the latent.

A goal picture's latent, depth, a segmentation, the six numbers of each camera ray (the paper's camera control concatenates those).
Widening a network's first layer by channels whose weights are zero is the same as adding a convolution of those channels, with zero
weights, to what that layer gives; so the world itself stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from einops import rearrange
from torch import Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports, zeroed
from armillary.errors import BadInput


@dataclass(frozen=True)
class FramesCondition(Condition):
    """Args:
    channels: of the map.
    hidden: width of a first convolution, for maps that want reading before they are added; 0 for none.
    """

    channels: int
    hidden: int = 32

    port: ClassVar[Literal["modulation", "channels"]] = "channels"
    part: ClassVar[str] = "maps"

    def build(self, ports: Ports) -> FramesModule:
        return FramesModule(self, ports.channels, ports.patch)


class FramesModule(ConditionModule):
    def __init__(self, config: FramesCondition, width: int, patch: int) -> None:
        super().__init__()
        self.config, self.patch = config, patch
        between = config.hidden or config.channels
        self.read = (
            nn.Sequential(nn.Conv2d(config.channels, between, 3, padding=1), nn.SiLU()) if config.hidden else nn.Identity()
        )
        size, stride, pad = (patch, patch, 0) if patch > 1 else (3, 1, 1)
        self.down = zeroed(nn.Conv2d(between, width, size, stride=stride, padding=pad))

    def forward(self, said: Conditions) -> Tensor | None:
        """maps `b c t h w` -> `b d t h/p w/p`.

        Raises:
            BadInput: for maps of another width, or that the world's patches do not tile.
        """
        if said.maps is None:
            return None
        b, c, _, h, w = said.maps.shape
        if c != self.config.channels or h % self.patch or w % self.patch:
            raise BadInput(
                f"Maps of {self.config.channels} channels, their sides multiples of {self.patch}, are wanted; "
                f"got {c} channels of {h} by {w}."
            )
        out = self.down(self.read(rearrange(said.maps, "b c t h w -> (b t) c h w")))
        return rearrange(out, "(b t) d h w -> b d t h w", b=b)
