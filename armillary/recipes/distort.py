"""Ways to spoil a picture, by kind and strength: what features are taught to tell apart, and what they are then asked about.

`rank` says how much a kind disturbs a viewer among pictures of equal mean squared error: 0 hardly (a change of light, a shift of less than
a pixel), 1 grain, 2 structure that is gone or made up (studies of opinions, TID2013: doi 10.1016/j.image.2014.10.009, order mean shift
and contrast before noise before blur and blocks at the same PSNR). Kinds that are `held` are never trained on.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Rng = np.random.Generator


def _kernel(x: Tensor, kernel: Tensor) -> Tensor:
    """`3 h w` filtered with one odd `a b` kernel, edges repeated."""
    a, b = kernel.shape
    grown = functional.pad(x[None], (b // 2, b // 2, a // 2, a // 2), mode="replicate")
    return functional.conv2d(grown.transpose(0, 1), kernel[None, None].float()).transpose(0, 1)[0]


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """`3 h w` blurred by a Gaussian of so many pixels."""
    reach = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = line / line.sum()
    return _kernel(_kernel(x, line[:, None]), line[None])


def _moved(x: Tensor, matrix: list[list[float]]) -> Tensor:
    """An affine map of the picture, in units of half its size."""
    grid = functional.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, *x.shape], align_corners=False)
    return functional.grid_sample(x[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)[0]


def _disc(x: Tensor, radius: float, rng: Rng) -> Tensor:
    """A soft ellipse somewhere in the picture, `1 h w` in [0, 1]."""
    h, w = x.shape[1:]
    cy, cx, squeeze = rng.uniform(0.2, 0.8) * h, rng.uniform(0.2, 0.8) * w, rng.uniform(0.6, 1.0)
    y, z = torch.arange(h)[:, None] - cy, torch.arange(w)[None] - cx
    return torch.sigmoid(2 * (radius - ((y / squeeze) ** 2 + z**2).sqrt()))[None]


def blur(x: Tensor, s: float, rng: Rng) -> Tensor:
    return gaussian(x, 0.35 + 2.2 * s)


def noise(x: Tensor, s: float, rng: Rng) -> Tensor:
    return x + 0.15 * s * torch.from_numpy(rng.standard_normal(x.shape, np.float32))


def jpeg(x: Tensor, s: float, rng: Rng) -> Tensor:
    picture = (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=round(70 * (1 - s) + 4))
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255


def blocks(x: Tensor, s: float, rng: Rng) -> Tensor:
    """Towards the mean of 8x8 blocks."""
    mean = functional.interpolate(functional.avg_pool2d(x[None], 8, ceil_mode=True), scale_factor=8)[
        0, :, : x.shape[1], : x.shape[2]
    ]
    return x + 0.9 * s * (mean - x)


def missing(x: Tensor, s: float, rng: Rng) -> Tensor:
    """A part is gone and what lay around it spreads over it."""
    hole = _disc(x, 3 + 10 * s, rng)
    known = 1 - (hole > 0.02).float()
    fill, weight = x * known, known
    for sigma in (3.0, 8.0):
        fill, weight = gaussian(fill, sigma), gaussian(weight.expand(3, -1, -1), sigma)
    return x + hole * (fill / weight.clamp_min(1e-3) - x)


def pasted(x: Tensor, s: float, rng: Rng) -> Tensor:
    """A part of the same picture, turned about, where it does not belong."""
    return x + _disc(x, 3 + 10 * s, rng) * (x.flip(2).roll((int(rng.integers(9, 30)), int(rng.integers(9, 30))), (1, 2)) - x)


def shift(x: Tensor, s: float, rng: Rng) -> Tensor:
    """By up to one pixel."""
    angle = rng.uniform(0, 2 * math.pi)
    h, w = x.shape[1:]
    return _moved(x, [[1.0, 0.0, 2 * s * math.cos(angle) / w], [0.0, 1.0, 2 * s * math.sin(angle) / h]])


def brightness(x: Tensor, s: float, rng: Rng) -> Tensor:
    return x + (0.2 if rng.random() < 0.5 else -0.2) * s


def contrast(x: Tensor, s: float, rng: Rng) -> Tensor:
    mean = x.mean((1, 2), keepdim=True)
    return mean + (x - mean) * (1 + (0.4 if rng.random() < 0.5 else -0.4) * s)


def smear(x: Tensor, s: float, rng: Rng) -> Tensor:
    """As by motion: along one direction."""
    length = 1 + 8 * s
    angle = rng.uniform(0, math.pi)
    steps = np.linspace(-0.5, 0.5, 12)
    h, w = x.shape[1:]
    moved = [
        _moved(x, [[1.0, 0.0, 2 * t * length * math.cos(angle) / w], [0.0, 1.0, 2 * t * length * math.sin(angle) / h]])
        for t in steps
    ]
    return torch.stack(moved).mean(0)


def posterise(x: Tensor, s: float, rng: Rng) -> Tensor:
    levels = 3 + 24 * (1 - s) ** 2
    return (x * levels).round() / levels


def shrunk(x: Tensor, s: float, rng: Rng) -> Tensor:
    """Made smaller and grown again."""
    size = [max(8, round(v / (1 + 3 * s))) for v in x.shape[1:]]
    small = functional.interpolate(x[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return functional.interpolate(small, size=x.shape[1:], mode="bicubic", align_corners=False)[0]


def gamma(x: Tensor, s: float, rng: Rng) -> Tensor:
    return x.clamp(1e-3, 1) ** (math.exp(0.5 * s if rng.random() < 0.5 else -0.5 * s))


def tint(x: Tensor, s: float, rng: Rng) -> Tensor:
    return x * (1 + 0.3 * s * torch.from_numpy(rng.uniform(-1, 1, (3, 1, 1)).astype(np.float32)))


def turn(x: Tensor, s: float, rng: Rng) -> Tensor:
    """By up to a degree and a half."""
    angle = math.radians(1.5) * s * (1 if rng.random() < 0.5 else -1)
    return _moved(x, [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])


@dataclass(frozen=True)
class Kind:
    apply: Callable[[Tensor, float, Rng], Tensor]
    rank: int
    held: bool = False


DISTORTIONS: dict[str, Kind] = {
    "brightness": Kind(brightness, 0),
    "contrast": Kind(contrast, 0),
    "shift": Kind(shift, 0),
    "noise": Kind(noise, 1),
    "blur": Kind(blur, 2),
    "jpeg": Kind(jpeg, 2),
    "blocks": Kind(blocks, 2),
    "missing": Kind(missing, 2),
    "pasted": Kind(pasted, 2),
    "gamma": Kind(gamma, 0, held=True),
    "tint": Kind(tint, 0, held=True),
    "turn": Kind(turn, 0, held=True),
    "smear": Kind(smear, 2, held=True),
    "posterise": Kind(posterise, 2, held=True),
    "shrunk": Kind(shrunk, 2, held=True),
}


def distort(x: Tensor, kind: str, strength: float, seed: int) -> Tensor:
    """Float `3 h w` in [0, 1], spoilt with a strength in (0, 1]; the seed chooses place and direction, so that strengths compare."""
    return DISTORTIONS[kind].apply(x, strength, np.random.default_rng(seed)).clamp(0, 1)


def matched(x: Tensor, these: Tensor, those: Tensor) -> tuple[Tensor, Tensor]:
    """Two spoilt pictures brought to the same mean squared error from `x`, by taking back a part of the worse one."""
    a, b = (these - x).square().mean().sqrt(), (those - x).square().mean().sqrt()
    least = torch.minimum(a, b)
    return x + (these - x) * (least / a.clamp_min(1e-8)), x + (those - x) * (least / b.clamp_min(1e-8))
