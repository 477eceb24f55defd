"""Consistency along the motion of the video.

The published term runs RAFT over the video and over its reconstruction, both ways in time, and compares the two flows. Here the
motion is estimated on the true video only, without gradient and without a network (pyramidal Lucas-Kanade), and what is compared is the
change of the picture along it: `warp(x[t+1], F) - x[t]` of the reconstruction against that of the truth, and the same backwards.
Warping is linear, so this is the error of the reconstruction taken along the motion, `|warp(e[t+1], F) - e[t]|`: an error that moves with
what it sits on costs nothing here, one that flickers or slides off costs its whole change.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from armillary.tokenizers.objective.sight import Sight

SMALLEST = 16  # pixels of the shorter side at which motion is first looked for
ROUNDS = 2  # refinements a level
WINDOW = 7  # pixels, a side
DAMPING = 1e-3  # of the structure tensor, in squared units of [-1, 1] a pixel: where nothing has structure nothing moves


def flow(sight: Sight) -> Tensor:
    """Mean change of the error along the motion, both ways."""
    error = sight.made - sight.true
    total = torch.zeros((), device=error.device)
    for back in (False, True):
        true, wrong = (sight.true.flip(2), error.flip(2)) if back else (sight.true, error)
        now, then = (rearrange(x, "b c t h w -> (b t) c h w") for x in (true[:, :, :-1], true[:, :, 1:]))
        motion = lucas_kanade(now, then)
        here, there = (rearrange(x, "b c t h w -> (b t) c h w") for x in (wrong[:, :, :-1], wrong[:, :, 1:]))
        seen = _trusted(now, then, motion)
        total = total + ((warp(there, motion) - here).abs() * seen).mean()
    return total / 2


@torch.no_grad()
def lucas_kanade(now: Tensor, then: Tensor) -> Tensor:
    """Where each pixel of `now` is found in `then`: frames `n c h w` -> displacements (x, y) in pixels, `n 2 h w`.

    Lucas and Kanade 1981, from coarse to fine (Bouguet 2001): in a small window the one shift that explains most, found by least squares.
    """
    levels = [(now.mean(1, keepdim=True), then.mean(1, keepdim=True))]
    while min(levels[-1][0].shape[-2:]) >= 2 * SMALLEST:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    motion = torch.zeros_like(levels[-1][0]).expand(-1, 2, -1, -1)
    for a, b in reversed(levels):
        if motion.shape[-2:] != a.shape[-2:]:
            motion = 2 * F.interpolate(motion, a.shape[-2:], mode="bilinear", align_corners=False)
        dx, dy = _slopes(a)
        xx, xy, yy = _window(dx * dx) + DAMPING, _window(dx * dy), _window(dy * dy) + DAMPING
        whole = xx * yy - xy * xy
        for _ in range(ROUNDS):
            left = a - warp(b, motion)
            x, y = _window(dx * left), _window(dy * left)
            step = torch.cat(((yy * x - xy * y) / whole, (xx * y - xy * x) / whole), dim=1)
            motion = motion + step.clamp(-2, 2)
    return motion


def warp(frames: Tensor, motion: Tensor) -> Tensor:
    """`frames` `n c h w` read at each pixel's place plus `motion` `n 2 h w`; at the border the border's pixels."""
    height, width = frames.shape[-2:]
    ys = torch.arange(height, device=frames.device, dtype=motion.dtype).view(-1, 1)
    xs = torch.arange(width, device=frames.device, dtype=motion.dtype)
    # Pixel centres at (2 i + 1) / n - 1: the convention without aligned corners.
    x = (2 * (xs + motion[:, 0]) + 1) / width - 1
    y = (2 * (ys + motion[:, 1]) + 1) / height - 1
    grid = torch.stack((x, y), dim=-1).to(frames.dtype)
    return F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def _trusted(now: Tensor, then: Tensor, motion: Tensor) -> Tensor:
    """1 where the motion explains the pixel, falling to 0 where it does not (uncovered, lost, a cut): `n 1 h w`."""
    off = (warp(then, motion) - now).abs().amax(1, keepdim=True)
    return (1 - off / 0.2).clamp(0, 1)


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _window(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
