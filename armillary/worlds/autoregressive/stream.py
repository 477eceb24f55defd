"""A diffusion decoder that goes on from what is drawn already: each frame of tokens from the frames before it and a first draft.

`refine.py` draws a chunk whole and begins each chunk anew, as published. A world that continues given frames can do better: most of a
picture is as it was in the frame before, which tokens only say roughly. So this one is a live world (`diffusion.stepping`) over the
latents of a continuous tokenizer. In place of an action it sees the *draft*: what the discrete tokenizer's own decoder makes of the
tokens, read by the continuous tokenizer, for this frame and the one before, so that it also sees what the draft says has changed. (Told
the tokens themselves it had to learn that decoder anew, and drew worse than it; docs/log.md.) Given frames are seen as they are, and no
chunk has to be blended into the next.

A frame of tokens stands for k frames of video, its first for one. Where the continuous tokenizer folds as many they go frame by frame;
where it sees each frame alone, k frames are drawn at once, their channels stacked, and the first is that one frame k times: a *group*
either way.

    b batch   t frame of tokens, group   k frames in a group   c latent channel   T latent frame   h w cell
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

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
        clip: frames of tokens in a training window, at most.
        targets: groups of each window that are learned in one step: reading a window costs more than the network does.
        steps: evaluations a group.
    """

    world: DiffusionConfig
    clip: int = 5
    targets: int = 4
    steps: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.world.network, UNetConfig):
            raise BadInput(f"A streaming refiner wants a U-Net; got {type(self.world.network).__name__}.")


class StreamRefiner(nn.Module):
    """Args:
    tokens: the discrete tokenizer whose drafts it sees; latents: the continuous one whose latents it draws.

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
        self.join = nn.Conv2d(2 * ref.channels, world.ports.channels, 3, padding=1)
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

    def said(self, draft: Tensor) -> Tensor:
        """Latents of a draft `b c T h w` as maps for the `channels` port, `b d t h w`; a frame's map also holds the draft before it."""
        self._check(draft)
        groups = self.world.normalise(self.grouped(draft))
        before = torch.cat([groups[:, :, :1], groups[:, :, :-1]], dim=2)
        cells = rearrange(torch.cat([before, groups], dim=1), "b c t h w -> (b t) c h w")
        return rearrange(self.join(cells), "(b t) d h w -> b d t h w", b=len(draft))

    def forward(self, batch: Batch, rng: Generator, draft: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss, from `latents` and those of the `draft` of the same video, `b c T h w` each.

        Returns:
            loss; `{"error": share of a typical change's variance left unexplained}`.
        """
        if batch.latents is None or batch.latents.shape != draft.shape:
            raise BadInput(
                f"A streaming refiner learns from latents of a video and of its draft, of one shape; got "
                f"{None if batch.latents is None else tuple(batch.latents.shape)} and {tuple(draft.shape)}."
            )
        z, maps = (x.repeat_interleave(self.config.targets, 0) for x in (self.grouped(batch.latents), self.said(draft)))
        return self.world(Batch(latents=z), rng, Conditioning(channels=maps))

    @torch.no_grad()
    def render(
        self,
        draft: Tensor,
        decode: Callable[[Tensor], Tensor],
        *,
        generator: Generator,
        given: Tensor | None = None,
        steps: int | None = None,
        **unknown: Any,
    ) -> Tensor:
        """Pixels of a draft of any length.

        Args:
            draft: latents `b c T h w` of what the discrete tokenizer's decoder made of the tokens.
            decode: the continuous tokenizer's, from latents to pixels `b 3 T h w`.
            given: its latents of the first frames, where they are known: they are shown as they are, and drawing goes on from them.
            steps: evaluations a group; None for the refiner's own.
        """
        if unknown:
            raise BadInput(f"A streaming refiner samples with steps; got {', '.join(unknown)}.")
        maps = self.said(draft.to(self.join.weight))
        b, _, t, h, w = maps.shape
        z = maps.new_zeros(b, self.world.tokenizer.channels, 0, h, w) if given is None else self.grouped(given.to(maps))
        known, steps = z.shape[2], self.config.steps if steps is None else steps
        if known > t:
            raise BadInput(f"{known} frames are given as latents, and only {t} are to be drawn.")
        told = Conditioning(channels=maps[:, :, known:])
        made = self.world.extend(z, t - known, told, generator=generator, steps=steps, first_steps=steps)
        return decode(self.apart(torch.cat([z, made], dim=2)))

    def _check(self, draft: Tensor) -> None:
        height, width = (s // self.latents.spatial for s in self.latents.size)
        shape = (self.latents.channels, height, width)
        if draft.ndim != 5 or draft.shape[2] < 1 or (draft.shape[1], *draft.shape[3:]) != shape:
            raise BadInput(f"A draft is b {shape[0]} T {height} {width} here, of a frame or more; got {tuple(draft.shape)}.")


@torch.no_grad()
def draft_of(ids: Tensor, discrete: Any, continuous: Any) -> Tensor:
    """What `discrete` draws of tokens `b t h w`, as latents `b c T h w` of `continuous`."""
    return continuous.encode(discrete.decode(ids)).values


# One group back, and from the first on: what a clip begins with is seen in training as it is in use.
STREAMS: dict[str, StreamConfig] = {
    "stream-nano": StreamConfig(DiffusionConfig(UNetConfig(96, 160), LIVE, past=1, unroll=2, unroll_prob=0.3)),
}
