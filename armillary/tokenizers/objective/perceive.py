"""Terms that compare what a frozen network sees (published code: VGG-19, no LPIPS heads; spec section 2.3).

The features say themselves how much each map counts; VGG-19's are weighed as published.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from armillary.tokenizers.objective.sight import Sight


def perceptual(sight: Sight) -> Tensor:
    """L1 between feature maps: structure in its place."""
    total = torch.zeros((), device=sight.made.device)
    for share, made, true, weight in sight.maps:
        total = total + share * ((made - true).abs() * weight).mean()
    return total


def gram(sight: Sight) -> Tensor:
    """Squared difference of the channels' second moments over a clip: as much texture of each kind, wherever it lies."""
    total = torch.zeros((), device=sight.made.device)
    for share, made, true, weight in sight.maps:
        total = total + share * (_moments(made * weight) - _moments(true * weight)).square().mean()
    return total


def _moments(maps: Tensor) -> Tensor:
    flat = rearrange(maps, "b t c h w -> b c (t h w)")
    return flat @ flat.mT / flat.shape[-1]
