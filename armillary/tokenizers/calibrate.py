"""Fitting the linear shortcut of a fresh discrete tokenizer to its data, before the first step.

FSQ squashes each latent and rounds it to a few levels. With the shortcut's own scale some channels use three of their eight levels, and
codes decode too faintly, for a rounded value is nearer to 0 than the latent it stands for. Both are numbers that a batch of data tells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armillary.tokenizers.autoencoder import Autoencoder

SPREAD = (
    0.6  # of a latent before it is squashed: the best of 0.5 to 1.2 for five to sixteen levels on simulated and filmed clips
)


@torch.no_grad()
def calibrate(tokenizer: Autoencoder, video: Tensor) -> None:
    """Bring each latent channel to mean 0 and deviation `SPREAD`, and codes to the size that decodes best (least squares), in place.

    For a fresh tokenizer, whose network adds nothing yet, with a shortcut and levels; any other stays as it is.

    Args:
        video: float `b 3 t h w` in [-1, 1], as much of the data as one likes.
    """
    shortcut, quantizer = tokenizer.shortcut, tokenizer.quantizer
    if shortcut is None or quantizer is None or shortcut.analyse.bias is None or shortcut.synthesise.bias is None:
        return
    axes = (0, 2, 3, 4)
    latents = tokenizer.embed(video)
    mean, std = latents.mean(axes), latents.std(axes).clamp(min=1e-3)
    shortcut.analyse.weight.mul_((SPREAD / std).view(-1, 1, 1, 1))
    shortcut.analyse.bias.copy_((shortcut.analyse.bias - mean) * SPREAD / std)
    codes = tokenizer.quantize(tokenizer.embed(video))
    centred = latents - mean.view(1, -1, 1, 1, 1)
    gain = (codes * centred).sum(axes) / codes.square().sum(axes).clamp(min=1e-6)
    # What the mean latent decodes to is what no code says: one value a band, for bands of a cell share the kernel's places.
    usual = (shortcut.synthesise.weight * mean.view(-1, 1, 1, 1)).sum(0).mean((1, 2))
    shortcut.synthesise.bias.add_(usual)
    shortcut.synthesise.weight.mul_(gain.view(-1, 1, 1, 1))
