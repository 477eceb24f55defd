"""What every term of the loss looks at: a reconstruction beside its video, and what can be asked about the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.features import Features


@dataclass(frozen=True)
class Sight:
    """One batch as it went through.

    Args:
        made, true: the reconstruction (not clamped) and the video, float `b 3 t h w`.
        weight: of each pixel, `b 1 t h w`, mean 1.
        temporal: frames a latent stands for.
        again: video -> its reconstruction, for terms that send part of the clip through once more.
        features: what the perceptual and Gram terms see by; layers: weight of each of its maps, empty for its own.
        chosen: the frames of each clip that the features see; None for all.
        judge: video -> realness of each patch, by the rival as it stands; None without one.
    """

    made: Tensor
    true: Tensor
    weight: Tensor
    temporal: int
    again: Callable[[Tensor], Tensor]
    features: Features | None = None
    layers: tuple[float, ...] = ()
    chosen: Tensor | None = None
    judge: Callable[[Tensor], Tensor] | None = None

    @cached_property
    def maps(self) -> list[tuple[float, Tensor, Tensor, Tensor]]:
        """Of each layer its weight, the maps of both, `b t c h' w'`, and the pixels' weights at its size, `b t 1 h' w'`.

        Raises:
            BadInput: no features were given, or they give another number of maps than there are weights.
        """
        if self.features is None:
            raise BadInput(
                "The perceptual and Gram terms compare features; set model.features to a name of armillary.features.FEATURES."
            )

        def frames(x: Tensor) -> Tensor:
            x = x if self.chosen is None else x.index_select(2, self.chosen)
            return rearrange(x, "b c t h w -> (b t) c h w")

        with torch.no_grad():
            true = self.features.forward(frames(self.true))
        made = self.features.forward(frames(self.made))
        layers = self.layers or tuple(self.features.weights)
        if len(layers) != len(made):
            raise BadInput(
                f"model.objective.layers has {len(layers)} weights; these features give {len(made)} maps. "
                "Leave it empty for the usual ones."
            )
        batch, weight = len(self.made), frames(self.weight)

        def clips(x: Tensor) -> Tensor:
            return rearrange(x, "(b t) c h w -> b t c h w", b=batch)

        return [
            (share, clips(a), clips(b), clips(F.adaptive_avg_pool2d(weight, (a.shape[-2], a.shape[-1]))))
            for share, a, b in zip(layers, made, true)
        ]
