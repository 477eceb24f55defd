"""I3D (arXiv 1705.07750), the network of FVD (arXiv 1812.01717): Inception-v1 with every kernel grown in time, 400 classes of Kinetics.

Key names as pytorch-i3d has them. A clip is resized to 224 x 224 (bilinear); its vector is the mean over time of the 400 logits.
Frames alone mean nothing to it: it has no maps of frames and no distance between them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import BadInput
from armillary.features.base import Maps, check_clips
from armillary.features.norm import UNUSED as UNUSED
from armillary.features.norm import StillNorm

SIZE = 224
# Channels of a block: alone; 3x3x3 before and after; the second 3x3x3 before and after; after the pool.
BLOCKS = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
# Pools before a block: kernel and stride.
POOLS = {"Mixed_3b": ((1, 3, 3), (1, 2, 2)), "Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around `b c t h w` so that a kernel gives size / stride, rounded up; the odd one goes to the far side, as in TensorFlow."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1]):
        missing = max(k - (size % s or s), 0)
        pads += [missing // 2, missing - missing // 2]
    return functional.pad(x, pads)


def largest(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return functional.max_pool3d(same(x, kernel, stride), kernel, stride)


class Conv(nn.Module):
    def __init__(self, into: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(into, out, kernel, stride, bias=False)
        self.bn = StillNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        x = same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return functional.relu(self.bn(self.conv3d(x)))


class Block(nn.Module):
    def __init__(self, into: int, out: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Conv(into, out[0], 1)
        self.b1a, self.b1b = Conv(into, out[1], 1), Conv(out[1], out[2], 3)
        self.b2a, self.b2b = Conv(into, out[3], 1), Conv(out[3], out[4], 3)
        self.b3b = Conv(into, out[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.b3b(largest(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), pooled], 1)


class Logits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, 400, 1)


class I3d(Maps):
    """Clips of at least nine frames -> 400 numbers each."""

    shortest = 9

    def __init__(self, name: str = "i3d") -> None:
        super().__init__(name)
        self.Conv3d_1a_7x7, self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = Conv(3, 64, 7, 2), Conv(64, 64, 1), Conv(64, 192, 3)
        for title, (into, out) in BLOCKS.items():
            self.add_module(title, Block(into, out))
        self.logits = Logits()

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Raises BadInput: it looks at clips, by `embed`."""
        raise BadInput(
            f"Features {self.name!r} see clips, not single frames; use 'small' or 'vgg19' for a distance between frames."
        )

    @torch.no_grad()
    def embed(self, video: Tensor) -> Tensor:
        """See `Features.embed`.

        Raises:
            BadInput: also for fewer than nine frames.
        """
        check_clips(video, self.name)
        if video.shape[2] < self.shortest:
            raise BadInput(f"Features {self.name!r} want clips of at least {self.shortest} frames; got {video.shape[2]}.")
        return torch.cat([self._clip(x[None]) for x in video]).float()

    def _clip(self, video: Tensor) -> Tensor:
        frames = video[0].transpose(0, 1)
        x = functional.interpolate(frames, size=(SIZE, SIZE), mode="bilinear", align_corners=False).transpose(0, 1)[None]
        x = largest(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for title in BLOCKS:
            if title in POOLS:
                x = largest(x, *POOLS[title])
            x = self.get_submodule(title)(x)
        x = functional.avg_pool3d(x, (2, 7, 7), 1)
        return self.logits.conv3d(x).mean((2, 3, 4))
