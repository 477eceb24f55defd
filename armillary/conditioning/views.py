"""Which view a token is of: a learned vector for each camera, on the `channels` port, the same for all its frames and cells.

The published six-camera worlds concatenate that vector to the latent (spec section 6.3). Only this tells views apart: their positions are
the same, and attention is over all of them. With `repeats` it is joined by how often the frames of each view were repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports, zeroed
from armillary.errors import BadInput


@dataclass(frozen=True)
class ViewsCondition(Condition):
    """Args:
    views: how many, at the same moments. names: of their cameras, in the order in which they ride on the frame axis.
    dim: of a view's vector.
    repeats: also read how often the frames of each view were repeated (published; nothing said reads as 0).
    """

    views: int = 6
    names: tuple[str, ...] = ()
    dim: int = 6
    repeats: bool = False

    port: ClassVar[Literal["modulation", "channels"]] = "channels"
    part: ClassVar[str] = "views"
    per_frame: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.views < 1 or (self.names and len(self.names) != self.views):
            raise BadInput(f"{self.views} views are one or more, each with a name if any has; got names {list(self.names)}.")

    def build(self, ports: Ports) -> ViewsModule:
        """Raises BadInput: the world takes one view at a time."""
        if self.views > 1 and not getattr(ports, "views", False):
            raise BadInput(
                f"This world takes one view at a time, so {self.views} cannot be attached to it. A clip world (a DiT that is not causal) "
                "and a U-Net take several."
            )
        return ViewsModule(self, ports.channels)


class ViewsModule(ConditionModule):
    def __init__(self, config: ViewsCondition, width: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.views, config.dim)
        self.repeat = nn.Linear(1, config.dim) if config.repeats else None
        self.down = zeroed(nn.Linear(config.dim, width, bias=False))

    def forward(self, said: Conditions) -> Tensor:
        """`1|b d v 1 1 1`.

        Raises:
            BadInput: another number of views.
        """
        if said.views != self.config.views:
            named = f" ({', '.join(self.config.names)})" if self.config.names else ""
            raise BadInput(f"This world has been given {self.config.views} views{named}; got {said.views}.")
        vector = self.embedding.weight[None]  # 1 v d
        if self.repeat is not None:
            repeats = vector.new_zeros(1, self.config.views) if said.repeats is None else said.repeats
            vector = vector + self.repeat(repeats[..., None])
        return self.down(vector).transpose(1, 2)[..., None, None, None]
