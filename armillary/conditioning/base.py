"""What a condition is: a config that builds a module whose output goes to one port of a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn


class Ports(Protocol):
    """Widths of a world's ports; `patch` is how many cells of the latent, along h and w, lie under one cell of the `channels` map."""

    @property
    def modulation(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def patch(self) -> int: ...


@dataclass(frozen=True)
class Conditions:
    """What is said, in raw form; a condition picks its part.

    Args:
        actions: `b t a`, raw units, `k` a latent frame.
        context, context_mask: text embeddings `b n d` and `b n`, true where there is text.
        maps: `b c t h w` at the latent's own grid, one a latent frame: a depth map, a goal's latent.
        poses: where the camera stands, camera-to-world `b t 4 4` (OpenCV) on the finest clock, from the last frame that is known on;
            intrinsics: `b t 3 3` of them, in pixels.
        views: how many ride on `t` of latents and maps; repeats: `b v`, how often the frames of each were repeated.
        trajectory: `b 64 3`, where the vehicle goes, as seen from the clip's first frame (see `Batch`).
        frames: latent frames of the clip, of one view, given ones too; 0 where a world goes frame by frame.
    """

    actions: Tensor | None = None
    context: Tensor | None = None
    context_mask: Tensor | None = None
    maps: Tensor | None = None
    poses: Tensor | None = None
    intrinsics: Tensor | None = None
    views: int = 1
    repeats: Tensor | None = None
    trajectory: Tensor | None = None
    frames: int = 0


class ConditionModule(nn.Module):
    """Turns its part of `Conditions` into a port's tensor, or `None` where nothing is said."""

    def forward(self, said: Conditions) -> Tensor | None:
        raise NotImplementedError


@dataclass(frozen=True)
class Condition:
    """Base of the configs. `port` is where the module's output goes, `part` the field of `Conditions` it reads.

    `per_frame`: whether the output has a frame axis (without one, `channels` is `b d v t h w` for a whole clip, given frames too, with
    axes of 1 where all are alike); `leads`: whether row `i` leads to frame `i + 1`, as an action or a motion does.
    """

    port: ClassVar[Literal["modulation", "channels"]]
    part: ClassVar[str]
    per_frame: ClassVar[bool] = True
    leads: ClassVar[bool] = False

    def build(self, ports: Ports) -> ConditionModule:
        raise NotImplementedError


def zeroed(layer: Any) -> Any:
    """The layer with all parameters at zero: what it is added to stays as it was until training says otherwise."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
