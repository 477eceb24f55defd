"""What is trained beside an autoregressive world: speculative heads on its states, and a diffusion decoder for its tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from armillary import presets, tokenizers
from armillary.data.base import Dataset
from armillary.errors import BadInput, lookup
from armillary.tokenizers import Tokenizer
from armillary.train.models import WorldRun, fitting_video, relative_name
from armillary.types import Batch, Latents, Tokens
from armillary.worlds.autoregressive.heads import HeadsConfig, HeadsObjective, save_heads
from armillary.worlds.autoregressive.refine import REFINERS, Refiner, build_refiner, load_refiner, save_refiner
from armillary.worlds.autoregressive.stream import StreamRefiner, draft_of
from armillary.worlds.autoregressive.world import AutoregressiveWorld
from armillary.worlds.base import TokenizerRef


@dataclass(frozen=True)
class HeadsRun:
    """Speculative heads for a world, which itself stays as it is. The data are the world's own kind.

    Args:
        start: the world, a shipped name or a checkpoint folder.
        heads: how many and of which kind.
    """

    start: str = ""
    heads: HeadsConfig = field(default_factory=HeadsConfig)

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: no autoregressive world, or data that do not fit it."""
        if not self.start:
            raise BadInput("Heads are trained for a world: name it in model.start.")
        world = WorldRun(size="", start=self.start).build(data)
        if not isinstance(world, AutoregressiveWorld):
            raise BadInput(f"{self.start!r} is no autoregressive world; it has no tokens to guess.")
        return HeadsObjective(world, self.heads)

    def at(self, model: nn.Module, done: float) -> None:
        """Nothing changes as the run goes on."""

    def save(
        self, model: nn.Module, folder: Path, extra: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        assert isinstance(model, HeadsObjective)
        held = None
        if tensors is not None:
            held = {k.removeprefix("heads."): v for k, v in tensors.items() if k.startswith("heads.")}
        save_heads(model.heads, model.world, folder, held, extra)


@dataclass(frozen=True)
class RefinerRun:
    """A diffusion decoder. Learns from pixels, which both tokenizers read anew in every step.

    Args:
        size: a line of `REFINERS`; with `start`, empty.
        start: a refiner to go on from.
        overrides: changes to the size.
        tokens: the discrete tokenizer; latents: the continuous one.
    """

    size: str = "refine-nano"
    start: str = ""
    overrides: tuple[str, ...] = ()
    tokens: str = "video-d4x8x8-tabletop"
    latents: str = "video-c4x8x8-mixed"

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: the data are no pixels, or the tokenizers do not fit them, each other or the start."""
        if "video" not in data.fields:
            raise BadInput("A refiner learns from pixels; give it episodes or clips, not latents.")
        discrete, continuous = tokenizers.load(self.tokens), tokenizers.load(self.latents)
        refs = [_reference(name, t, data.size) for name, t in ((self.tokens, discrete), (self.latents, continuous))]
        if self.start:
            if self.size or self.overrides:
                raise BadInput(
                    "A refiner that goes on from another keeps its size: leave model.size and model.overrides empty."
                )
            refiner = load_refiner(self.start).requires_grad_(True)
            for ours, theirs in zip((refiner.tokens, refiner.latents), refs):
                if ours.sha256 != theirs.sha256:
                    raise BadInput(
                        f"Refiner {self.start!r} knows tokenizer {ours.name!r} ({ours.sha256[:12]}), not {theirs.name!r}."
                    )
            refiner.tokens, refiner.latents = refs
        else:
            config = presets.override(lookup(REFINERS, self.size, "refiner size"), self.overrides)
            refiner = build_refiner(config, *refs)
        frames = 1 + refiner.tokens.temporal * (refiner.config.clip - 1)
        if data.frames > frames or (data.frames - 1) % refiner.tokens.temporal:
            raise BadInput(
                f"This refiner draws up to {frames} frames at once, 1 + {refiner.tokens.temporal} x k of them; the data give windows of "
                f"{data.frames}."
            )
        objective = RefinerObjective(refiner, discrete, continuous)
        if not self.start:
            latents = objective.read(fitting_video(data)).latents
            assert latents is not None
            refiner.fit_normaliser(latents)
        return objective

    def at(self, model: nn.Module, done: float) -> None:
        """Nothing changes as the run goes on."""

    def save(
        self, model: nn.Module, folder: Path, extra: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Tokenizers are named relative to `folder`; shipped ones by their names."""
        assert isinstance(model, RefinerObjective)
        refiner, held = model.refiner, None
        if tensors is not None:
            held = {k.removeprefix("refiner."): v for k, v in tensors.items() if k.startswith("refiner.")}
        before = refiner.tokens, refiner.latents
        try:
            refiner.tokens, refiner.latents = (dataclasses.replace(ref, name=relative_name(ref.name, folder)) for ref in before)
            save_refiner(refiner, folder, held, extra)
        finally:
            refiner.tokens, refiner.latents = before


class RefinerObjective(nn.Module):
    """A trainable on pixels: both tokenizers stay as they are."""

    def __init__(self, refiner: Refiner | StreamRefiner, discrete: Tokenizer, continuous: Tokenizer) -> None:
        super().__init__()
        self.refiner = refiner
        # In a list, so that they are no part of what is trained, saved and resumed.
        self._frozen = [discrete.eval().requires_grad_(False), continuous.eval().requires_grad_(False)]

    def _apply(self, fn: Any, recurse: bool = True) -> RefinerObjective:
        for tokenizer in self._frozen:
            tokenizer._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def read(self, video: Tensor) -> Batch:
        """Pixels `b 3 t h w` as tokens and latents; in float32 whatever the precision of training, as they are made in use."""
        with torch.autocast(video.device.type, enabled=False):
            tokens, latents = (t.encode(video) for t in self._frozen)
        assert isinstance(tokens, Tokens) and isinstance(latents, Latents)
        return Batch(tokens=tokens.ids, latents=latents.values)

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The refiner's loss; see there."""
        if batch.video is None:
            raise BadInput("A refiner learns from pixels; this batch holds none.")
        read = self.read(batch.video)
        if not isinstance(self.refiner, StreamRefiner):
            return self.refiner(read, rng)
        assert read.tokens is not None
        with torch.autocast(batch.video.device.type, enabled=False):
            draft = draft_of(read.tokens, *self._frozen)
        return self.refiner(read, rng, draft)


def _reference(name: str, tokenizer: Tokenizer, size: tuple[int, int]) -> TokenizerRef:
    """A folder by its whole path, a shipped tokenizer by its name."""
    c = tokenizer.config
    folder = str(Path(name).resolve()) if Path(name).is_dir() else name
    return TokenizerRef(folder, tokenizer.sha256, c.temporal, c.spatial, c.channels, tokenizer.vocab, size)
