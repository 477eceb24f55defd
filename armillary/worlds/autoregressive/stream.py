"""A diffusion decoder that goes on from what is drawn already: each frame of tokens from its tokens and the frames before it.

`refine.py` draws a chunk whole and begins each chunk anew, as published. A world that continues given frames can do better: most of a
picture is as it was in the frame before, which tokens only say roughly. So this one is a live world (`diffusion.stepping`) over the
latents of a continuous tokenizer, with a frame's tokens (and those before it) on its `channels` port in place of an action. Given
frames are seen as they are, and no chunk has to be blended into the next.

A frame of tokens stands for k frames of video, its first for one. Where the continuous tokenizer folds as many they go frame by frame;
where it sees each frame alone, k frames are drawn at once, their channels stacked, and the first is that one frame k times: a *group*
either way.

    b batch   t frame of tokens, group   k frames in a group   c latent channel   h w cell
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.stepping import SteppingWorld
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig


@dataclass(frozen=True)
class StreamConfig:
    """A size.

    Args:
        world: a stepping one; its `past` counts groups.
        width: numbers a token is embedded in.
        clip: frames of tokens in a training window, at most.
        corrupt: share of tokens that in training are others, drawn at random: a world's tokens are not a tokenizer's.
        steps: evaluations a group.
    """

    world: DiffusionConfig
    width: int = 32
    clip: int = 5
    corrupt: float = 0.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.world.network, UNetConfig):
            raise BadInput(f"A streaming refiner wants a U-Net; got {type(self.world.network).__name__}.")


class StreamRefiner(nn.Module):
    """Args:
    tokens: the discrete tokenizer whose ids it reads; latents: the continuous one whose latents it draws.

    Raises:
        BadInput: they do not fit each other.
    """

    def __init__(self, config: StreamConfig, tokens: TokenizerRef, latents: TokenizerRef) -> None:
        super().__init__()
        if not tokens.vocab or latents.vocab:
            raise BadInput(
                f"A refiner turns tokens into latents; got {tokens.name!r} and {latents.name!r} the wrong way round."
            )
        folds = latents.temporal in (1, tokens.temporal)
        if not folds or tokens.size != latents.size or tokens.spatial % latents.spatial:
            raise BadInput(
                f"Tokens and latents must be of the same size, tokens no finer, and latents fold as many frames or none: {tokens.name!r} "
                f"folds {tokens.temporal} x {tokens.spatial} of {tokens.size}, {latents.name!r} {latents.temporal} x {latents.spatial} of "
                f"{latents.size}."
            )
        self.config, self.tokens, self.latents = config, tokens, latents
        self.group = tokens.temporal // latents.temporal
        ref = dataclasses.replace(latents, channels=latents.channels * self.group, temporal=tokens.temporal)
        world = config.world.build(Setting(ref, None))
        assert isinstance(world, SteppingWorld)
        self.world = world
        self.embed = nn.Embedding(tokens.vocab, config.width)
        self.join = nn.Conv2d(2 * config.width, world.ports.channels, 3, padding=1)
        self.name, self.sha256 = "", ""

    @property
    def blocks(self) -> nn.ModuleList:
        """What parallelism walks."""
        return self.world.blocks

    def fit_normaliser(self, latents: Tensor) -> None:
        """Statistics of the latents and of their change from group to group, from a sample `n c t h w`."""
        self.world.fit_normaliser(self.grouped(latents))

    def grouped(self, latents: Tensor) -> Tensor:
        """Latents `b c 1+k(t-1) h w` of the continuous tokenizer as `b (k c) t h w`."""
        if self.group == 1:
            return latents
        if (latents.shape[2] - 1) % self.group:
            raise BadInput(f"Latents of 1 + {self.group} x k frames make groups; got {latents.shape[2]}.")
        first = latents[:, :, :1].repeat(1, self.group, 1, 1, 1)
        rest = rearrange(latents[:, :, 1:], "b c (t k) h w -> b (k c) t h w", k=self.group)
        return torch.cat([first, rest], dim=2)

    def apart(self, groups: Tensor) -> Tensor:
        """The reverse of `grouped`."""
        if self.group == 1:
            return groups
        frames = rearrange(groups, "b (k c) t h w -> b c (t k) h w", k=self.group)
        return frames[:, :, self.group - 1 :]

    def said(self, ids: Tensor) -> Tensor:
        """Tokens `b t h w` as maps for the `channels` port, `b d t h w`; a frame's map also holds the tokens before it."""
        self._check(ids)
        height, width = (s // self.latents.spatial for s in self.latents.size)
        embedded = self.embed(ids)
        before = torch.cat([embedded[:, :1], embedded[:, :-1]], dim=1)
        cells = rearrange(torch.cat([before, embedded], dim=-1), "b t h w d -> (b t) d h w")
        return rearrange(
            self.join(F.interpolate(cells, (height, width), mode="bilinear")), "(b t) d h w -> b d t h w", b=len(ids)
        )

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss, from `tokens` `b t h w` and `latents` of the same video.

        Returns:
            loss; `{"error": share of a typical change's variance left unexplained}`.
        """
        if batch.tokens is None or batch.latents is None:
            raise BadInput("A refiner learns from tokens and latents of the same video; this batch lacks one of them.")
        ids = batch.tokens
        if self.config.corrupt:
            other = torch.randint(0, self.tokens.vocab, ids.shape, generator=rng, device=rng.device).to(ids.device)
            swap = torch.rand(ids.shape, generator=rng, device=rng.device).to(ids.device) < self.config.corrupt
            ids = torch.where(swap, other, ids)
        return self.world(Batch(latents=self.grouped(batch.latents)), rng, Conditioning(channels=self.said(ids)))

    @torch.no_grad()
    def render(
        self,
        ids: Tensor,
        decode: Callable[[Tensor], Tensor],
        *,
        generator: Generator,
        given: Tensor | None = None,
        steps: int | None = None,
        **unknown: Any,
    ) -> Tensor:
        """Pixels of tokens `b t h w` of any length.

        Args:
            decode: the continuous tokenizer's, from latents to pixels `b 3 T h w`.
            given: its latents of the first frames, where they are known: they are shown as they are, and drawing goes on from them.
            steps: evaluations a group; None for the refiner's own.
        """
        if unknown:
            raise BadInput(f"A streaming refiner samples with steps; got {', '.join(unknown)}.")
        maps = self.said(ids.to(self.embed.weight.device))
        b, _, t, h, w = maps.shape
        z = maps.new_zeros(b, self.world.tokenizer.channels, 0, h, w) if given is None else self.grouped(given.to(maps))
        known, steps = z.shape[2], self.config.steps if steps is None else steps
        if known > t:
            raise BadInput(f"{known} frames of tokens are given as latents, and only {t} are to be drawn.")
        told = Conditioning(channels=maps[:, :, known:])
        made = self.world.extend(z, t - known, told, generator=generator, steps=steps, first_steps=steps)
        return decode(self.apart(torch.cat([z, made], dim=2)))

    def _check(self, ids: Tensor) -> None:
        height, width = (s // self.tokens.spatial for s in self.tokens.size)
        if ids.ndim != 4 or ids.shape[1] < 1 or tuple(ids.shape[2:]) != (height, width):
            raise BadInput(f"Tokens are b t {height} {width} here, of a frame or more; got {tuple(ids.shape)}.")


# One group back, and from the first on: what a clip begins with is seen in training as it is in use.
STREAMS: dict[str, StreamConfig] = {
    "stream-nano": StreamConfig(DiffusionConfig(UNetConfig(96, 160), LIVE, past=1, unroll=2, unroll_prob=0.3)),
}
