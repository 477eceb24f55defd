"""What the two kinds of diffusion world share: the normaliser of latents, the normaliser of actions, noise from a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.types import Batch
from armillary.worlds.base import Setting, World
from armillary.worlds.diffusion.edm import EDM

if TYPE_CHECKING:
    from armillary.worlds.diffusion.world import DiffusionConfig


def normal(shape: tuple[int, ...] | torch.Size, rng: Generator, like: Tensor) -> Tensor:
    """Standard normal numbers drawn on the generator's device, then moved to `like`'s device and precision."""
    return torch.randn(shape, generator=rng, device=rng.device).to(like)


def uniform(shape: tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device).to(like)


def integers(low: int, high: int, shape: tuple[int, ...], rng: Generator, like: Tensor) -> Tensor:
    """Whole numbers in `[low, high)`, int64, on `like`'s device."""
    return torch.randint(low, high, shape, generator=rng, device=rng.device).to(like.device)


class Ports(NamedTuple):
    """Widths of what a condition may be attached to (rule: a condition enters by a port, never by a subclass).

    modulation: of the vector added to the noise level's; context: of a text token, 0 where the network reads none;
    channels: of the map added to the embedded latent; patch: cells of the latent, along h and w, under one cell of that map.
    """

    modulation: int
    context: int
    channels: int
    patch: int


class DiffusionWorld(World):
    """Base of the stepping and the clip world. Latents are the tokenizer's own outside and normalised inside."""

    family = "diffusion"
    network: nn.Module
    config: DiffusionConfig
    latent_mean: Tensor
    latent_std: Tensor
    change_std: Tensor

    def __init__(self, config: DiffusionConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        if setting.tokenizer.vocab:
            raise BadInput(f"A diffusion world dreams continuous latents; tokenizer {setting.tokenizer.name!r} gives tokens.")
        channels = setting.tokenizer.channels
        self.objective = EDM(config.objective)
        # For each channel, and for published worlds each latent frame of a clip.
        shape = (channels, config.columns) if config.columns else (channels,)
        self.register_buffer("latent_mean", torch.zeros(shape))
        self.register_buffer("latent_std", torch.ones(shape))
        # Of one frame's change, in units of latent_std.
        self.register_buffer("change_std", torch.ones(channels))

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The network's own; named here because that is where parallelism looks."""
        return self.network.blocks  # type: ignore[return-value]

    @property
    def ports(self) -> Ports:
        raise NotImplementedError

    @property
    def action_width(self) -> int:
        """Numbers that lead from one latent frame to the next: an action for each frame the tokenizer folds into one latent."""
        return self.action_spec.dim * self.tokenizer.temporal if self.action_spec else 0

    def fit_normaliser(self, latents: Tensor) -> None:
        """Per-channel mean and standard deviation of latents `n c t h w`, and of the change from one latent frame to the next.

        Raises:
            BadInput: for latents of another width, or not finite.
        """
        self._check_latents(latents)
        if not torch.isfinite(latents).all():
            raise BadInput("The sample of latents holds numbers that are not finite; the tokenizer that made it is damaged.")
        axes = (0, 2, 3, 4)
        mean, std = latents.float().mean(axes), latents.float().std(axes).clamp(min=1e-4)
        for held, value in ((self.latent_mean, mean), (self.latent_std, std)):
            held.copy_(value[:, None].expand_as(held) if held.ndim == 2 else value)
        if latents.shape[2] > 1:
            change = latents.float().diff(dim=2).square().mean(axes).sqrt() / std
            self.change_std.copy_(change.clamp(min=1e-3))

    def normalise(self, latents: Tensor) -> Tensor:
        """`b c ...` of the tokenizer to zero mean and unit variance; with statistics for each frame, `b c t h w` of a clip's start."""
        return (latents - self._columns(self.latent_mean, latents)) / self._columns(self.latent_std, latents)

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents * self._columns(self.latent_std, latents) + self._columns(self.latent_mean, latents)

    def _columns(self, held: Tensor, latents: Tensor) -> Tensor:
        if held.ndim == 1:
            return held.view((1, -1) + (1,) * (latents.ndim - 2))
        if latents.shape[2] > held.shape[1]:
            raise BadInput(
                f"World {self.name or self.family!r} has statistics of {held.shape[1]} latent frames; got a clip of {latents.shape[2]}."
            )
        return held[None, :, : latents.shape[2], None, None]

    def folded_actions(self, actions: Tensor | None) -> Tensor | None:
        """Raw actions `b (t k) a` as the network takes them: normalised, one row a latent frame, `b t (k a)`.

        The spec's mean and standard deviation normalise; a spec without them maps `[low, high]` to `[-1, 1]`.
        """
        spec = self.action_spec
        if actions is None or spec is None:
            return None
        low, high = torch.tensor(spec.low).to(actions), torch.tensor(spec.high).to(actions)
        if spec.mean and spec.std:
            centre, spread = torch.tensor(spec.mean).to(actions), torch.tensor(spec.std).to(actions)
        elif bool(torch.isfinite(low).all() and torch.isfinite(high).all() and (high > low).all()):
            centre, spread = (low + high) / 2, (high - low) / 2
        else:
            centre, spread = torch.zeros_like(low), torch.ones_like(low)
        whole = actions.shape[1] // self.tokenizer.temporal
        scaled = (actions[:, : whole * self.tokenizer.temporal] - centre) / spread.clamp(min=1e-6)
        return scaled.reshape(len(actions), whole, self.action_width)  # which may be of no action at all

    def _fps(self, fps: Tensor | None, b: int, like: Tensor) -> Tensor:
        return like.new_full((b,), self.setting.fps) if fps is None else fps

    def training_parts(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The batch's latents, normalised, and its actions, folded; checked against what the world is.

        A world without actions learns from batches that hold some, and passes them by.

        Raises:
            BadInput: no latents, of another width, or actions that do not fit.
        """
        if batch.latents is None:
            raise BadInput(
                "A diffusion world trains on latents; this batch holds none. Encode its video with the world's tokenizer."
            )
        self._check_latents(batch.latents)
        frames = batch.latents.shape[2]
        if self.action_spec is not None:
            self.check_actions(batch.actions, (frames - 1) * self.tokenizer.temporal)
        return self.normalise(batch.latents), self.folded_actions(batch.actions)

    def text_parts(self, batch: Batch, rng: Generator, dropout: float) -> tuple[Tensor | None, Tensor | None]:
        """Context and mask, with the text of a share of the rows withheld."""
        context, mask = batch.context, batch.context_mask
        if not self.setting.text_dim or context is None:
            return None, None
        self._check_context(context)
        keep = uniform((len(context),), rng, context) >= dropout
        mask = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device) if mask is None else mask
        return context * keep[:, None, None], mask & keep[:, None]

    def _check_context(self, context: Tensor | None) -> None:
        if context is not None and not self.setting.text_dim:
            raise BadInput(f"World {self.name or self.family!r} reads no text; it was given some.")
        if context is not None and context.shape[-1] != self.setting.text_dim:
            raise BadInput(
                f"World {self.name or self.family!r} reads text of width {self.setting.text_dim} "
                f"(encoder {self.setting.text!r}); got width {context.shape[-1]}."
            )

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 5 or latents.shape[1] != self.tokenizer.channels:
            raise BadInput(
                f"World {self.name or self.family!r} wants latents b c t h w of {self.tokenizer.channels} channels; "
                f"got {tuple(latents.shape)}."
            )


def masked(context: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Text as the network wants it: zeros where there is none, no mask."""
    return context if context is None or mask is None else context * mask[..., None]
