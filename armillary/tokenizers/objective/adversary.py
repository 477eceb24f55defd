"""The adversarial stage: a rival learns to tell reconstructions from videos, and the tokenizer learns what it cannot tell.

NVIDIA used such a stage for its highest compressions and never released it. The form chosen here: a small patch discriminator over each
frame and its change from the frame before (so that flicker is seen as blur is), hinge loss, a penalty on the gradient at true videos
(R1), and a weight that keeps the rival's pull on the last layer at a set share of what the other terms pull (Esser et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from armillary.tokenizers.objective.sight import Sight

LARGEST = 1e4  # of the balancing factor: a rival that says nothing must not be shouted


@dataclass(frozen=True)
class RivalConfig:
    """Args: `width` of its first layer; `depth` halvings of the picture; `penalty` weight of R1."""

    width: int = 32
    depth: int = 2
    penalty: float = 0.1


class Rival(nn.Module):
    """Video `b 3 t h w` -> realness of each patch `(b t) 1 h' w'`; positive for true ones."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        width, layers = config.width, [nn.Conv2d(6, config.width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(config.depth - 1):
            layers += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.GroupNorm(4, 2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, video: Tensor) -> Tensor:
        change = torch.diff(video, dim=2, prepend=video[:, :, :1])
        return self.layers(rearrange(torch.cat((video, change), dim=1), "b c t h w -> (b t) c h w"))

    def judge(self, video: Tensor) -> Tensor:
        """As `forward`, but its weights learn nothing from it."""
        return functional_call(self, {name: p.detach() for name, p in self.named_parameters()}, (video,))

    def loss(self, made: Tensor, true: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the rival learns from: (loss, metrics). Neither video gets a gradient."""
        true = true.detach().requires_grad_(self.config.penalty > 0)
        real, false = self(true), self(made.detach())
        loss = F.relu(1 - real).mean() + F.relu(1 + false).mean()
        metrics = {
            "rival_loss": loss.detach(),
            "rival_right": ((real > 0).float().mean() + (false < 0).float().mean()).detach() / 2,
        }
        if self.config.penalty:
            (slope,) = torch.autograd.grad(real.mean(dim=(1, 2, 3)).sum(), true, create_graph=True)
            steep = slope.square().sum(dim=(1, 3, 4)).mean()  # of a frame's mean realness
            loss = loss + self.config.penalty / 2 * steep
            metrics["rival_slope"] = steep.detach()
        return loss, metrics


def adversary(sight: Sight) -> Tensor:
    """Minus the realness that the rival sees in the reconstruction."""
    assert sight.judge is not None
    return -sight.judge(sight.made).mean()


def balance(others: Tensor, against: Tensor, last: Tensor) -> Tensor:
    """The factor at which `against` pulls on the weights `last` as strongly as `others` do."""
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (others, against))
    return (ours / (theirs + 1e-6)).clamp(max=LARGEST).detach()
