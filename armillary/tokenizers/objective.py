"""What a tokenizer learns from: its reconstruction, compared with the video.

The published recipe's first stage compares pixels and a network's features, later stages add optical flow and Gram terms and an adversary
(spec section 2.3). Here stand the terms that need no other network. A further term is a function of (made, true, weight) and a line in
`TERMS` with its weight in the config; a term that needs a network of its own takes it through `functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.tokenizers.tokenizer import Tokenizer
from armillary.types import Batch


@dataclass(frozen=True)
class ObjectiveConfig:
    """How the terms are weighed.

    Args:
        l1, l2, gradient: weights of the terms of those names.
        saliency: extra weight of a pixel that moves, or that differs from its scene; 0 for none. What matters in a small scene covers
            few pixels, and an even-handed loss spends its capacity on the background.
        contrast: difference, in units of [-1, 1], at which the extra weight is full.
        noise: standard deviation of noise on continuous latents, as a part of theirs. A world's latents are never exact; this keeps
            neighbouring latents decoding to neighbouring pictures.
    """

    l1: float = 1.0
    l2: float = 2.0
    gradient: float = 0.5
    saliency: float = 4.0
    contrast: float = 0.3
    noise: float = 0.05


def l1(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    return ((made - true).abs() * weight).mean()


def l2(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    return ((made - true).square() * weight).mean()


def gradient(made: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """L1 of differences between neighbouring pixels: edges in their place, no checkerboard."""
    wrong = made - true
    rows = (wrong.diff(dim=3).abs() * weight[:, :, :, 1:]).mean()
    return rows + (wrong.diff(dim=4).abs() * weight[..., 1:]).mean()


TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "gradient": gradient}


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


class TokenizerObjective(nn.Module):
    """The trainable: `loss, metrics = model(batch, rng)` for a `Batch` with `video`.

    Metrics: `psnr` (dB, all pixels), `psnr_moving` (dB, pixels of more than half the full saliency), one for each term, and `spread`
    (standard deviation of continuous latents) or `codes` (distinct codes in the batch).
    """

    def __init__(self, tokenizer: Tokenizer, config: ObjectiveConfig = ObjectiveConfig()) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.config = config

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        if batch.video is None:
            raise BadInput("A tokenizer learns from video; the batch has none.")
        video, config = batch.video, self.config
        if batch.views > 1:  # each view is a video of its own
            video = rearrange(video, "b c (v t) h w -> (b v) c t h w", v=batch.views)
        self.tokenizer.frames_to_latents(video.shape[2])
        latents = self.tokenizer.embed(video)
        metrics: dict[str, Tensor] = {}
        if self.tokenizer.quantizer is not None:
            latents = self.tokenizer.quantize(latents)
            ids = self.tokenizer.quantizer.ids(latents.detach())
            metrics["codes"] = torch.tensor(float(ids.unique().numel()))
        else:
            spread = latents.std()
            metrics["spread"] = spread.detach()
            if config.noise:
                noise = torch.randn(latents.shape, generator=rng, device=rng.device, dtype=torch.float32).to(latents)
                # The gradient sees that larger latents get larger noise; else they would grow without end to drown it.
                latents = latents + config.noise * spread * noise
        made = self.tokenizer.render(latents)
        weight = saliency(video, config.saliency, config.contrast) if config.saliency else torch.ones_like(video[:, :1])
        loss = torch.zeros((), device=video.device)
        for name, term in TERMS.items():
            if share := getattr(config, name):
                value = term(made, video, weight)
                metrics[name] = value.detach()
                loss = loss + share * value
        with torch.no_grad():
            moving = (weight > weight.min() * (1 + config.saliency / 2)).to(video.dtype)
            metrics |= {"psnr": psnr(made, video), "psnr_moving": psnr(made, video, moving)}
        return loss, metrics
