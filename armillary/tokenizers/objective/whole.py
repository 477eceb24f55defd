"""The loss as a whole: a weighted sum of terms, and the trainable that the loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.features import Features
from armillary.nn.conv import FactorizedConv
from armillary.tokenizers.objective.adversary import Rival, RivalConfig, adversary, balance
from armillary.tokenizers.objective.flow import flow
from armillary.tokenizers.objective.perceive import gram, perceptual
from armillary.tokenizers.objective.pixels import gradient, l1, l2, psnr, saliency
from armillary.tokenizers.objective.sight import Sight
from armillary.tokenizers.objective.window import window
from armillary.tokenizers.tokenizer import Tokenizer
from armillary.types import Batch


@dataclass(frozen=True)
class ObjectiveConfig:
    """How the terms are weighed; 0 leaves one out.

    Args:
        l1, l2, gradient: comparing pixels.
        perceptual, gram: comparing features, which must be given; layers: weight of each of their maps, empty for the features' own.
        looks: frames of each clip that the features see, drawn anew at each step; 0 for all.
        flow, window: consistency in time (see `flow`, `window`); single frames go without.
        adversary: of the rival's pull, as a share of that of all other terms together; rival: its form.
        saliency: extra weight of a pixel that moves, or that differs from its scene; 0 for none. What matters in a small scene covers
            few pixels, and an even-handed loss spends its capacity on the background.
        contrast: difference, in units of [-1, 1], at which the extra weight is full.
        noise: standard deviation of noise on continuous latents, as a part of theirs. A world's latents are never exact; this keeps
            neighbouring latents decoding to neighbouring pictures.
    """

    l1: float = 1.0
    l2: float = 2.0
    gradient: float = 0.5
    perceptual: float = 0.0
    gram: float = 0.0
    layers: tuple[float, ...] = ()
    looks: int = 0
    flow: float = 0.0
    window: float = 0.0
    adversary: float = 0.0
    rival: RivalConfig = field(default_factory=RivalConfig)
    saliency: float = 4.0
    contrast: float = 0.3
    noise: float = 0.05


TERMS: dict[str, Callable[[Sight], Tensor]] = {
    "l1": l1,
    "l2": l2,
    "gradient": gradient,
    "perceptual": perceptual,
    "gram": gram,
    "flow": flow,
    "window": window,
}
SEEING = ("perceptual", "gram")
MOVING = ("flow", "window")


class TokenizerObjective(nn.Module):
    """The trainable: `loss, metrics = model(batch, rng)` for a `Batch` with `video`.

    Metrics: `psnr` (dB, all pixels), `psnr_moving` (dB, pixels of more than half the full saliency), one for each term, and `spread`
    (standard deviation of continuous latents) or `codes` (distinct codes in the batch).

    Args:
        features: frozen; no part of what is saved. Wanted by the perceptual and Gram terms.

    Attributes:
        rival: what the adversarial stage trains against, `None` without; the loop trains it by an optimizer of its own on `rival_loss`.
    """

    def __init__(
        self, tokenizer: Tokenizer, config: ObjectiveConfig = ObjectiveConfig(), features: Features | None = None
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.config = config
        self.rival = Rival(config.rival) if config.adversary else None
        self._features = [features]  # in a list: a module's module would be saved with it
        self._last: tuple[Tensor, Tensor] | None = None
        if features is None and (missing := [name for name in SEEING if getattr(config, name)]):
            raise BadInput(f"The terms {' and '.join(missing)} compare features; set model.features, for instance to 'small'.")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """The features follow to wherever the model is moved."""
        for features in self._features:
            if isinstance(features, nn.Module):
                features._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        if batch.video is None:
            raise BadInput("A tokenizer learns from video; the batch has none.")
        video, config = batch.video, self.config
        if batch.views > 1:  # each view is a video of its own
            video = rearrange(video, "b c (v t) h w -> (b v) c t h w", v=batch.views)
        self.tokenizer.frames_to_latents(video.shape[2])
        made, metrics = self.reconstruct(video, rng)
        weight = saliency(video, config.saliency, config.contrast) if config.saliency else torch.ones_like(video[:, :1])
        sight = Sight(
            made,
            video,
            weight,
            self.tokenizer.temporal,
            lambda part: self.reconstruct(part, None)[0],
            self._features[0],
            config.layers,
            self._chosen(video, rng),
            self.rival.judge if self.rival is not None else None,
        )
        loss = torch.zeros((), device=video.device)
        for name, term in TERMS.items():
            share = getattr(config, name)
            if share and (video.shape[2] > 1 or name not in MOVING):
                value = term(sight)
                metrics[name] = value.detach()
                loss = loss + share * value
        if self.rival is not None:
            against = adversary(sight)
            metrics["adversary"] = against.detach()
            if torch.is_grad_enabled():
                loss = loss + config.adversary * balance(loss, against, self.last_weight) * against
                self._last = (made.detach(), video)
        with torch.no_grad():
            moving = (weight > weight.min() * (1 + config.saliency / 2)).to(video.dtype)
            metrics |= {"psnr": psnr(made, video), "psnr_moving": psnr(made, video, moving)}
        return loss, metrics

    def reconstruct(self, video: Tensor, rng: Generator | None) -> tuple[Tensor, dict[str, Tensor]]:
        """There and back with gradients: (video, what is said of the latents). With `rng` continuous latents are noised on the way."""
        latents = self.tokenizer.embed(video)
        metrics: dict[str, Tensor] = {}
        if self.tokenizer.quantizer is not None:
            latents = self.tokenizer.quantize(latents)
            metrics["codes"] = torch.tensor(float(self.tokenizer.quantizer.ids(latents.detach()).unique().numel()))
        else:
            spread = latents.std()
            metrics["spread"] = spread.detach()
            if self.config.noise and rng is not None:
                noise = torch.randn(latents.shape, generator=rng, device=rng.device, dtype=torch.float32).to(latents)
                # The gradient sees that larger latents get larger noise; else they would grow without end to drown it.
                latents = latents + self.config.noise * spread * noise
        return self.tokenizer.render(latents), metrics

    def rival_loss(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the rival learns from the batch that `forward` saw last."""
        assert self.rival is not None and self._last is not None
        made, true = self._last
        self._last = None
        return self.rival.loss(made, true)

    @property
    def last_weight(self) -> Tensor:
        """The weights of the decoder's last layer."""
        out = self.tokenizer.decoder.conv_out
        return (out.time if isinstance(out, FactorizedConv) else out).weight

    def _chosen(self, video: Tensor, rng: Generator) -> Tensor | None:
        looks, frames = self.config.looks, video.shape[2]
        if not looks or looks >= frames or not any(getattr(self.config, name) for name in SEEING):
            return None
        return torch.randperm(frames, generator=rng, device=rng.device)[:looks].to(video.device)
