"""Terms that compare pixels, and which pixels count more."""

from __future__ import annotations

import torch
from torch import Tensor

from armillary.tokenizers.objective.sight import Sight


def l1(sight: Sight) -> Tensor:
    return ((sight.made - sight.true).abs() * sight.weight).mean()


def l2(sight: Sight) -> Tensor:
    return ((sight.made - sight.true).square() * sight.weight).mean()


def gradient(sight: Sight) -> Tensor:
    """L1 of differences between neighbouring pixels: edges in their place, no checkerboard."""
    wrong, weight = sight.made - sight.true, sight.weight
    rows = (wrong.diff(dim=3).abs() * weight[:, :, :, 1:]).mean()
    return rows + (wrong.diff(dim=4).abs() * weight[..., 1:]).mean()


def saliency(video: Tensor, extra: float, contrast: float) -> Tensor:
    """Weight `b 1 t h w` of each pixel, mean 1: large where a frame differs from what usually stands there.

    What usually stands there is the clip's median over time, or for clips of one or two frames the mean over the batch (with clips of
    unlike scenes that differs everywhere, and the weight comes out flat).
    """
    usual = video.median(dim=2, keepdim=True).values if video.shape[2] > 2 else video.mean(dim=(0, 2), keepdim=True)
    moved = ((video - usual).abs().amax(1, keepdim=True) / contrast).clamp(max=1)
    weight = 1 + extra * moved
    return weight / weight.mean()


def psnr(made: Tensor, true: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1], over the pixels `where` (`b 1 t h w`, 0 or 1) or all."""
    error = (made.clamp(-1, 1) - true).square()
    mean = error.mean() if where is None else (error * where).sum() / (where.sum() * error.shape[1]).clamp(min=1)
    return 10 * torch.log10(4 / mean.clamp(min=1e-10))
