"""The network of the live world: a small convolutional U-Net that answers one next latent frame.

What is unusual in it: the past enters as channels, not as tokens. The `past` latest latent frames, each with a plane that says whether
it was given at all, are concatenated to the noisy frame, so that a convolution compares what was with what is at every cell. At a
budget of minutes on a CPU this beats a block-causal transformer over the same latents at a fifth of the samples. Noise level, action,
context noise and pooled text act through FiLM (Perez et al. 2018); text tokens also by cross-attention at the coarse level, for painters
at both.

    b batch   c latent channel   p past frame   h w cell   n text token   d width of the condition vector
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.nn.attention import attend
from armillary.nn.norm import RMSNorm


@dataclass(frozen=True)
class UNetConfig:
    """Args:
    fine, coarse: channels at the latent's own grid and at half of it.
    fine_blocks, coarse_blocks: residual blocks on each side of the fine level, and in the middle.
    heads: of attention.
    dim: width of the condition vector.
    coarse_mixers: so many of the coarse blocks are followed by attention to every cell and to text; at least the first.
    fine_mixers: so many of the fine blocks are, first those on the way up, which is where things of one cell get their colour from
        words, then those on the way down.
    """

    fine: int = 96
    coarse: int = 160
    fine_blocks: int = 2
    coarse_blocks: int = 3
    heads: int = 4
    dim: int = 256
    coarse_mixers: int = 1
    fine_mixers: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.coarse_mixers <= self.coarse_blocks or not 0 <= self.fine_mixers <= 2 * self.fine_blocks:
            raise BadInput(
                f"coarse_mixers lies between 1 and coarse_blocks={self.coarse_blocks}, fine_mixers between 0 and "
                f"2 * fine_blocks={2 * self.fine_blocks}; got {self.coarse_mixers} and {self.fine_mixers}."
            )


def waves(x: Tensor, dim: int, fastest: float = 64.0) -> Tensor:
    """Cosines and sines of a scalar at `dim / 2` rates from 1 to `fastest` radians per unit: `b` -> `b dim`."""
    rates = torch.exp(torch.linspace(0, math.log(fastest), dim // 2, device=x.device))
    angle = x.float()[:, None] * rates
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer with all parameters at zero, so that what it is added to is untouched at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResBlock(nn.Module):
    """Norm, FiLM, SiLU, convolution, twice over, around a shortcut; the second convolution starts at zero."""

    def __init__(self, into: int, out: int, dim: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(8, into), nn.GroupNorm(8, out)
        self.conv_1 = nn.Conv2d(into, out, 3, padding=1)
        self.film = nn.Linear(dim, 2 * out)
        self.conv_2 = zeroed(nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `b c h w`, condition `b d` (already through SiLU)."""
        y = self.conv_1(F.silu(self.norm_1(x)))
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_2(F.silu(torch.addcmul(shift, self.norm_2(y), 1 + scale)))
        return self.shortcut(x) + y


class Mixer(nn.Module):
    """Every cell looks at every cell, of all views of its moment, and, where there is text, at the tokens of its view.

    A learned empty token stands before the text, so that a row without text still has something to look at.
    """

    def __init__(self, width: int, heads: int, text_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = zeroed(nn.Linear(width, width))
        self.empty = nn.Parameter(torch.zeros(1, 1, width)) if text_dim else None
        if text_dim:
            self.text = nn.Linear(text_dim, width)
            self.cross_q, self.cross_kv = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
            self.cross_norm_q, self.cross_norm_k = RMSNorm(width // heads), RMSNorm(width // heads)
            self.cross_norm = nn.LayerNorm(width)
            self.cross_out = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor | None, context_mask: Tensor | None, views: int = 1) -> Tensor:
        height, heads = x.shape[-2], self.heads
        tokens = rearrange(x, "b c h w -> b (h w) c")
        normed = rearrange(self.norm(x), "(b v) c h w -> b (v h w) c", v=views)
        q, k, v = rearrange(self.qkv(normed), "b n (s m d) -> s b m n d", s=3, m=heads)
        mixed = attend(self.norm_q(q), self.norm_k(k), v)
        tokens = tokens + self.out(rearrange(mixed, "b m (v n) d -> (b v) n (m d)", v=views))
        if self.empty is not None:
            words = self.empty.expand(len(x), 1, -1)
            seen = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
            if context is not None:
                words = torch.cat([words, self.text(context)], dim=1)
                mask = context_mask if context_mask is not None else seen.expand(-1, context.shape[1])
                seen = torch.cat([seen, mask], dim=1)
            q = rearrange(self.cross_q(self.cross_norm(tokens)), "b n (m d) -> b m n d", m=heads)
            k, v = rearrange(self.cross_kv(words), "b n (s m d) -> s b m n d", s=2, m=heads)
            told = attend(self.cross_norm_q(q), self.cross_norm_k(k), v, mask=seen[:, None, None, :])
            tokens = tokens + self.cross_out(rearrange(told, "b m n d -> b n (m d)"))
        return rearrange(tokens, "b (h w) c -> b c h w", h=height)


class UNet(nn.Module):
    """Args:
    channels: of a latent; past: how many earlier frames come along.
    action_dim: 0 for a world without actions; text_dim: 0 for one without text.
    """

    def __init__(self, config: UNetConfig, channels: int, past: int, action_dim: int = 0, text_dim: int = 0) -> None:
        super().__init__()
        c, dim = config, config.dim
        self.config, self.channels, self.action_dim, self.text_dim = config, channels, action_dim, text_dim
        self.enter = nn.Conv2d(channels + past * (channels + 1), c.fine, 3, padding=1)
        self.time = nn.Linear(64, dim)
        self.level = nn.Linear(32, dim)
        self.action = nn.Sequential(nn.Linear(action_dim, dim), nn.SiLU(), nn.Linear(dim, dim)) if action_dim else None
        self.pooled = zeroed(nn.Linear(text_dim, dim)) if text_dim else None
        self.condition = nn.Linear(dim, dim)
        down = [ResBlock(c.fine, c.fine, dim) for _ in range(c.fine_blocks)]
        middle = [ResBlock(c.coarse, c.coarse, dim) for _ in range(c.coarse_blocks)]
        up = [ResBlock(2 * c.fine if i == 0 else c.fine, c.fine, dim) for i in range(c.fine_blocks)]
        self.blocks = nn.ModuleList(down + middle + up)
        self.shrink = nn.Conv2d(c.fine, c.coarse, 3, stride=2, padding=1)
        self.mixer = Mixer(c.coarse, c.heads, text_dim)
        self.mixers = nn.ModuleList(Mixer(c.coarse, c.heads, text_dim) for _ in range(c.coarse_mixers - 1))
        self.fine_mixers = nn.ModuleList(Mixer(c.fine, c.heads, text_dim) for _ in range(c.fine_mixers))
        self.grow = nn.Conv2d(c.coarse, c.fine, 1)
        self.norm = nn.GroupNorm(8, c.fine)
        self.leave = zeroed(nn.Conv2d(c.fine, channels, 3, padding=1))

    def forward(self, *told: Any, **more: Any) -> Tensor:
        """One evaluation, `b c h w`; arguments as of `features`."""
        return self.leave(self.features(*told, **more))

    def features(
        self,
        noisy: Tensor,
        past: Tensor,
        given: Tensor,
        c_noise: Tensor,
        level: Tensor,
        action: Tensor | None = None,
        has_action: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        modulation: Tensor | None = None,
        channels: Tensor | None = None,
        views: int = 1,
    ) -> Tensor:
        """What the answer is read off by one convolution.

        Args:
            noisy: `b c h w`, scaled for the network.
            past: `b p c h w`, oldest first; given: `b p`, 1 where that frame is there.
            c_noise: `b`; level: `b`, standard deviation of the noise that was put on `past`.
            action: `b a`, normalised, the one that leads to the frame asked for; has_action: `b`, 0 where there is none.
            context, context_mask: `b n text_dim` and `b n`, true where there is text.
            modulation: `b d`, port, added to the condition vector.
            channels: `b fine h w`, port, added to the embedded input (what more input channels would add).
            views: `b` counts views of moments, those of a moment side by side; they meet in attention alone.

        Returns:
            `b fine h w`.
        """
        height, width = noisy.shape[-2:]
        there = given[:, :, None, None, None]
        planes = torch.cat([past * there, there.expand(-1, -1, 1, height, width)], dim=2).flatten(1, 2)
        x = self.enter(torch.cat([noisy, planes.to(noisy.dtype)], dim=1))
        if channels is not None:
            x = x + channels
        condition = self.time(waves(4 * c_noise, 64)) + self.level(waves(10 * level, 32))
        if self.action is not None and action is not None:
            acted = self.action(action)
            condition = condition + (acted if has_action is None else acted * has_action[:, None])
        if self.pooled is not None and context is not None:
            seen = context.new_ones(context.shape[:2]) if context_mask is None else context_mask.to(context.dtype)
            mean = (context * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
            condition = condition + self.pooled(mean)
        if modulation is not None:
            condition = condition + modulation
        condition = F.silu(self.condition(F.silu(condition)))

        c = self.config
        down, middle, up = (
            self.blocks[: c.fine_blocks],
            self.blocks[c.fine_blocks : c.fine_blocks + c.coarse_blocks],
            self.blocks[c.fine_blocks + c.coarse_blocks :],
        )
        for i, block in enumerate(down, c.fine_blocks):
            x = block(x, condition)
            if i < len(self.fine_mixers):
                x = self.fine_mixers[i](x, context, context_mask, views)
        y = self.shrink(x)
        mixers = (self.mixer, *self.mixers)
        for i, block in enumerate(middle):
            y = block(y, condition)
            if i < len(mixers):
                y = mixers[i](y, context, context_mask, views)
        y = F.interpolate(self.grow(y), size=(height, width), mode="nearest")
        x = torch.cat([x, y], dim=1)
        for i, block in enumerate(up):
            x = block(x, condition)
            if i < len(self.fine_mixers):
                x = self.fine_mixers[i](x, context, context_mask, views)
        return F.silu(self.norm(x))
