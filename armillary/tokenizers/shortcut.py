"""What small sizes have and published ones have not: a linear way past the network, which saves the first minutes of training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Shortcut(nn.Module):
    """A linear autoencoder of whole latent cells, added to what the network makes: bands `(b t) c h w` <-> latents `(b t) c' h/r w/r`.

    It starts as the best linear one for pictures in which neighbouring pixels and colours resemble each other (the Karhunen-Loève
    transform of an exponentially decaying correlation), so that a fresh tokenizer already gives soft pictures and the network learns
    what is missing.

    Args:
        patchify: pixels to bands, as in `nn.wavelet.PATCHERS`; `patch` and `time` are its arguments.
        ratio: how many cells of bands, on each side, make one latent cell.
        channels: of a latent.
    """

    def __init__(self, patchify: Callable[..., Tensor], patch: int, time: bool, ratio: int, channels: int) -> None:
        super().__init__()
        bands = 3 * patch ** (3 if time else 2)
        self.analyse = nn.Conv2d(bands, channels, ratio, stride=ratio)
        self.synthesise = nn.ConvTranspose2d(channels, bands, ratio, stride=ratio)
        if self.analyse.weight.is_meta:
            return
        there, back = principal(patchify, patch, time, ratio, channels)
        with torch.no_grad():
            self.analyse.weight.copy_(there)
            self.synthesise.weight.copy_(back)
            for layer in (self.analyse, self.synthesise):
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def principal(patchify: Callable[..., Tensor], patch: int, time: bool, ratio: int, channels: int) -> tuple[Tensor, Tensor]:
    """Kernels `channels bands r r` that analyse and synthesise a cell's strongest components; latents get about unit variance."""
    side, frames = patch * ratio, patch if time else 1
    # Correlations decay over some 8 pixels in space and 16 frames in time; colours share most of what they say.
    factors = [torch.full((3, 3), 0.85, dtype=torch.float64) + 0.15 * torch.eye(3, dtype=torch.float64)]
    for size, reach in ((frames, 16.0), (side, 8.0), (side, 8.0)):
        at = torch.arange(size, dtype=torch.float64)
        factors.append(torch.exp(-(at[:, None] - at[None]).abs() / reach))
    # The correlation is a Kronecker product, and so are its eigenvectors: only the strongest products are ever formed.
    values, vectors = torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for factor in factors:
        value, vector = torch.linalg.eigh(factor)
        values = torch.outer(values, value).flatten()
        order = values.argsort(descending=True)[:channels]
        vectors, values = torch.kron(vectors.contiguous(), vector.contiguous())[:, order], values[order]
    cells = vectors.T.reshape(-1, 3, frames, side, side).float()
    back = patchify(cells, patch, time, False).squeeze(2)
    # The transform is orthogonal up to a factor for each cell's size, so that its inverse is its transpose.
    there = back / back.square().flatten(1).sum(1).view(-1, 1, 1, 1)
    scale = values.sqrt().float().view(-1, 1, 1, 1) * 0.5
    return there / scale, back * scale
