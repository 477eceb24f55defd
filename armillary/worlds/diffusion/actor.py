"""A hand for a world that takes actions: what it does next, read off frames and a sentence.

With it such a world carries out an instruction by itself. What is uncertain of the future, when and where the hand moves, is drawn in
the few numbers of an action, and the world dreams what that one action leads to. A world that is asked for the next frame from the
sentence alone has to answer the mean of all that the hand might do, and in a few frames hand and things dissolve in it.

Convolutions and attention at the latent's own grid, then for each of some maps where in the picture it is strongest (spatial softmax,
Levine et al. 2016), because what a hand does next is a matter of places. The network answers a mixture of Gaussians, so that going left
or right around a thing does not become going straight at it.

    b batch   c channel   a action (all that lead to one latent frame)   m mode
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from armillary.worlds.diffusion.unet import Mixer, ResBlock, waves

QUIET, WILD = -4.0, 1.0  # bounds of the natural logarithm of a mode's deviation, in deviations of the training data's actions


@dataclass(frozen=True)
class ActorConfig:
    """Args:
    width, blocks: channels and residual blocks, each followed by attention to every cell and to text.
    heads: of attention. dim: width of the condition vector. maps: places that are looked up. modes: of the mixture.
    """

    width: int = 96
    blocks: int = 3
    heads: int = 4
    dim: int = 192
    maps: int = 48
    modes: int = 4


class Actor(nn.Module):
    """Args:
    channels: of a latent; action_dim: numbers that lead to one latent frame; text_dim: of a text token.
    """

    def __init__(self, config: ActorConfig, channels: int, action_dim: int, text_dim: int) -> None:
        super().__init__()
        c = config
        self.config, self.action_dim = config, action_dim
        self.enter = nn.Conv2d(channels, c.width, 3, padding=1)
        self.level = nn.Linear(32, c.dim)
        self.pooled = nn.Linear(text_dim, c.dim)
        self.blocks = nn.ModuleList(ResBlock(c.width, c.width, c.dim) for _ in range(c.blocks))
        self.mixers = nn.ModuleList(Mixer(c.width, c.heads, text_dim) for _ in range(c.blocks))
        self.norm = nn.GroupNorm(8, c.width)
        self.maps = nn.Conv2d(c.width, c.maps, 1)
        self.hidden = nn.Linear(2 * c.maps + c.width + c.dim, 2 * c.dim)
        self.leave = nn.Linear(2 * c.dim, c.modes * (1 + 2 * action_dim))

    def forward(
        self, frame: Tensor, level: Tensor, context: Tensor | None, context_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What may be done next.

        Args:
            frame: `b c h w`, the newest, normalised; level: `b`, standard deviation of the noise on it.
            context, context_mask: `b n text_dim` and `b n`, true where there is text.

        Returns:
            log of the modes' weights `b m`, their means `b m a` and log deviations `b m a`, of normalised actions.
        """
        b, _, height, width = frame.shape
        x = self.enter(frame)
        condition = self.level(waves(10 * level, 32))
        if context is not None:
            seen = context.new_ones(context.shape[:2]) if context_mask is None else context_mask.to(context.dtype)
            condition = condition + self.pooled((context * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1))
        condition = F.silu(condition)
        for block, mixer in zip(self.blocks, self.mixers):
            x = mixer(block(x, condition), context, context_mask)
        x = F.silu(self.norm(x))
        heat = self.maps(x).flatten(2).softmax(-1).unflatten(2, (height, width))
        down, across = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in (height, width))
        places = torch.cat([heat.sum(3) @ down, heat.sum(2) @ across], dim=1)
        y = self.leave(F.silu(self.hidden(torch.cat([places, x.mean((2, 3)), condition], dim=1))))
        weights, mean, deviation = y.split([self.config.modes, *[self.config.modes * self.action_dim] * 2], dim=1)
        shape = (b, self.config.modes, self.action_dim)
        return weights.log_softmax(1), mean.view(shape), deviation.view(shape).clamp(QUIET, WILD)


def surprise(answer: tuple[Tensor, Tensor, Tensor], action: Tensor) -> Tensor:
    """How little likely the actions (`b a`) were: minus the log density of each row, `b`."""
    weights, mean, deviation = answer
    off = (action[:, None] - mean) * torch.exp(-deviation)
    each = weights - (0.5 * off.square() + deviation + 0.5 * math.log(2 * math.pi)).sum(-1)
    return -each.logsumexp(1)


def drawn(answer: tuple[Tensor, Tensor, Tensor], generator: Generator, spread: float = 1.0) -> Tensor:
    """An action of each row, `b a`: a mode by its weight, and in it a draw whose deviation is `spread` times the mode's own.

    With `spread` 0 it is the middle of the likeliest mode.
    """
    weights, mean, deviation = (x.float() for x in answer)
    # Drawn on the generator's device, so that a seed means the same on every machine.
    chances = torch.rand(weights.shape, generator=generator, device=generator.device).to(weights)
    noise = torch.randn(mean[:, 0].shape, generator=generator, device=generator.device).to(mean)
    gumbel = -torch.log(-torch.log(chances.clamp(1e-9, 1 - 1e-7)))
    mode = (weights + gumbel * (spread > 0)).argmax(1)
    rows = torch.arange(len(mode), device=mode.device)
    return mean[rows, mode] + spread * torch.exp(deviation[rows, mode]) * noise
