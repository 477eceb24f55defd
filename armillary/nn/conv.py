"""Convolution over video whose frames are folded into the batch axis, causal in time, and able to go on where it stopped.

Activations are `(b t) c h w`, channels last in memory. A spatial layer then is a plain 2-D convolution over many images; a temporal
one sees the same memory as `b c t (h w)` without a copy and is a 2-D convolution with a `k x 1` kernel. On a CPU both run on the fast
2-D kernels, which the 3-D ones with a degenerate side do not.

`Reel` says how the folded axis unfolds, and keeps, where wanted, what a causal layer must remember of the frames before: a clip run
through in pieces gives what it gives in one piece, up to rounding.
Source: spec section 2.2 («causal conv», «factorised conv», «hybrid downsample»).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass
class Reel:
    """What frame-folded layers must know of their input.

    Args:
        batch: how many clips the axis `(b t)` holds.
        keep: remember the tail of this piece for the next one.
        memory: what the layers remember, by layer; filled by them.
        started: whether a piece went before.
        limit: latent frames that attention over time looks back on, the present one among them; 0 for all.
    """

    batch: int
    keep: bool = False
    memory: dict[nn.Module, Any] = field(default_factory=dict)
    started: bool = False
    limit: int = 0

    def recall(self, layer: nn.Module) -> Tensor | None:
        return self.memory[layer] if self.started else None

    def remember(self, layer: nn.Module, value: Tensor) -> None:
        """Keep `value`, which owns its memory: a view would keep alive all of what it looks at."""
        if self.keep:
            self.memory[layer] = value.detach()


def fold(video: Tensor) -> Tensor:
    """`b c t h w` -> `(b t) c h w`, channels last in memory."""
    return rearrange(video, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)


def unfold(frames: Tensor, batch: int) -> Tensor:
    """`(b t) c h w` -> `b c t h w`."""
    return rearrange(frames, "(b t) c h w -> b c t h w", b=batch)


def columns(frames: Tensor, batch: int) -> Tensor:
    """`(b t) c h w` -> `b c t (h w)`: a view when the memory is channels last."""
    return rearrange(frames.permute(0, 2, 3, 1), "(b t) h w c -> b t (h w) c", b=batch).permute(0, 3, 1, 2)


def uncolumns(cells: Tensor, height: int) -> Tensor:
    """`b c t (h w)` -> `(b t) c h w`, the inverse of `columns`."""
    return rearrange(cells.permute(0, 2, 3, 1), "b t (h w) c -> (b t) h w c", h=height).permute(0, 3, 1, 2)


class TemporalConv(nn.Conv2d):
    """Causal `k x 1 x 1` convolution over `(b t) c h w`; before the first frame stand copies of it.

    Args:
        stride: 2 halves the frames: 1 + 2k become 1 + k (and 2k become k in a later piece).
    """

    def __init__(self, width_in: int, width_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(width_in, width_out, (kernel, 1), stride=(stride, 1))
        self.history = kernel - 1 if stride == 1 else kernel - stride

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:  # type: ignore[override]
        x = columns(frames, reel.batch)
        past = reel.recall(self)
        if past is None:
            # A strided kernel ends on its frame too: frame 0 alone fills the first window.
            past = x[:, :, :1].expand(-1, -1, self.kernel_size[0] - 1, -1)
        whole = torch.cat((past, x), dim=2).contiguous(memory_format=torch.channels_last)
        if reel.keep:
            reel.remember(self, whole[:, :, whole.shape[2] - self.history :].clone())
        return uncolumns(super().forward(whole), frames.shape[2])


class FactorizedConv(nn.Sequential):
    """A 3 x 3 convolution in space, then a causal one of 3 frames in time."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(nn.Conv2d(width_in, width_out, 3, padding=1), TemporalConv(width_out, width_out))

    @property
    def time(self) -> TemporalConv:
        layer = self[1]
        assert isinstance(layer, TemporalConv)
        return layer

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:  # type: ignore[override]
        return self.time(self[0](frames), reel)


class Conv(nn.Conv2d):
    """A 3 x 3 convolution in space that takes a reel and has no use for it: `FactorizedConv` of an image."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, 3, padding=1)

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:  # type: ignore[override]
        return super().forward(frames)


def pair_means(frames: Tensor, first: Tensor | None, batch: int) -> Tensor:
    """Average pairs of frames. Before the first frame stands a copy of it, so 1 + 2k frames become 1 + k."""
    x = columns(frames, batch)
    if first is None:
        x = torch.cat((x[:, :, :1], x), dim=2)
    return uncolumns(0.5 * (x[:, :, ::2] + x[:, :, 1::2]), frames.shape[2])


class Downsample(nn.Module):
    """Halve space, time or both: a strided convolution plus the mean over the same cells, then a 1 x 1 convolution.

    Args:
        space, time: which to halve; at least one.
    """

    def __init__(self, width: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, stride=2) if space else None
        self.conv2 = TemporalConv(width, width, stride=2) if time else None
        self.conv3 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        if self.conv1 is not None:
            x = F.pad(x, (0, 1, 0, 1))
            x = self.conv1(x) + F.avg_pool2d(x, 2)
        if self.conv2 is not None:
            past = reel.recall(self.conv2)
            x = self.conv2(x, reel) + pair_means(x, past, reel.batch)
        return self.conv3(x)


class Upsample(nn.Module):
    """Double time, space or both: repeat, add a convolution of the repeated; then a 1 x 1 convolution. Frame 0 is not doubled in time."""

    def __init__(self, width: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv1 = TemporalConv(width, width) if time else None
        self.conv2 = nn.Conv2d(width, width, 3, padding=1) if space else None
        self.conv3 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        if self.conv1 is not None:
            cells = columns(x, reel.batch).repeat_interleave(2, dim=2)
            x = uncolumns(cells if reel.started else cells[:, :, 1:], x.shape[2])
            x = self.conv1(x, reel) + x
        if self.conv2 is not None:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.conv2(x) + x
        return self.conv3(x)


class ImageDownsample(nn.Module):
    """Halve space by one strided convolution, padded on the right and below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class ImageUpsample(nn.Module):
    """Double space: repeat, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
