"""What every extractor is, and how far apart two pictures are to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from armillary.errors import BadInput


@runtime_checkable
class Features(Protocol):
    """A frozen network from pictures to maps.

    `name` and `sha256` (of its weights, empty when untrained) are written beside every figure it has a part in; `weights` says how much
    each map counts in a distance, and is empty where there are no maps of frames.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def weights(self) -> tuple[float, ...]: ...

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames float `n 3 h w` in [-1, 1] -> maps `n c h' w'`, fine to coarse, differentiable with respect to the frames.

        Raises:
            BadInput: another shape or type, or frames too small for the network.
        """
        ...

    def embed(self, video: Tensor) -> Tensor:
        """Clips float `b 3 t h w` in [-1, 1] -> one vector each, float32 `b d`, without gradients.

        `d` is the same for all clips of two frames and more; a still (t = 1) has no change and may have a shorter vector.
        """
        ...


class Maps(nn.Module):
    """Base of extractors that see frames one by one: a clip's vector is what its maps hold and how they change.

    The vector is, for each channel of each map, the mean over space and time, and after these (for more than one frame) the mean absolute
    change from frame to frame at the same place. The first half of a still's vector is thus the whole of it.
    """

    smallest = 1  # pixels a side
    shortest = 1  # frames of a clip
    embedded = slice(None)  # which maps a clip's vector is of
    weights: tuple[float, ...] = ()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, ""

    def check(self, frames: Tensor) -> Tensor:
        """The frames, when this network can see them.

        Raises:
            BadInput: in one sentence.
        """
        if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
            shape = f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, Tensor) else type(frames).__name__
            raise BadInput(f"Features {self.name!r} look at float n 3 h w in [-1, 1]; got {shape}.")
        if not len(frames) or min(frames.shape[2:]) < self.smallest:
            raise BadInput(
                f"Features {self.name!r} want at least one frame of {self.smallest} pixels a side; got {tuple(frames.shape)}."
            )
        return frames

    def forward(self, frames: Tensor) -> list[Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def embed(self, video: Tensor) -> Tensor:
        """See `Features.embed`. One frame at a time: memory does not grow with the length."""
        check_clips(video, self.name)
        before: list[Tensor] = []
        total: Tensor | None = None
        for frame in video.unbind(2):
            maps = self(frame)[self.embedded]
            parts = [m.mean((2, 3)) for m in maps]
            if video.shape[2] > 1:
                parts += [(m - b).abs().mean((2, 3)) for m, b in zip(maps, before)] or [torch.zeros_like(p) for p in parts]
            row = torch.cat(parts, 1).double()
            total = row if total is None else total + row
            before = maps
        assert total is not None
        length = video.shape[2]
        if length > 1:
            held, change = total.chunk(2, 1)
            total = torch.cat([held / length, change / (length - 1)], 1)
        return total.float()


def check_clips(video: Tensor, name: str) -> None:
    """Raises:
    BadInput: not float `b 3 t h w`.
    """
    if not isinstance(video, Tensor) or video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
        shape = f"{video.dtype} {tuple(video.shape)}" if isinstance(video, Tensor) else type(video).__name__
        raise BadInput(f"Features {name!r} embed clips, float b 3 t h w in [-1, 1]; got {shape}.")
    if 0 in video.shape:
        raise BadInput(f"There is nothing to embed: shape {tuple(video.shape)}.")


def maps_apart(these: Sequence[Tensor], those: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum over maps of their mean absolute difference, one value a frame: `n`. The published perceptual distance
    (Cosmos tokenizers: L1 on VGG-19 maps, no learned heads).
    """
    parts = [w * (a - b).abs().mean((1, 2, 3)) for a, b, w in zip(these, those, weights, strict=True)]
    return torch.stack(parts).sum(0)


def apart(features: Features, these: Tensor, those: Tensor) -> Tensor:
    """How far apart frames are, float `n 3 h w` each -> `n`; 0 for equal ones. Differentiable."""
    return maps_apart(features.forward(these), features.forward(those), features.weights)
