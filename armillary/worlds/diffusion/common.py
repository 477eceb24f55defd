"""What the two kinds of diffusion world share: the normaliser of latents, the normaliser of actions, noise from a generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning, Grid
from armillary.worlds.base import Setting, World
from armillary.worlds.diffusion.edm import EDM
from armillary.worlds.diffusion.sampler import Denoise, guided, karras, sample, to_zero

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
    views: whether several may ride on the frame axis.
    clips: whether a clip is denoised as a whole, so that what is told of one has to fit it.
    """

    modulation: int
    context: int
    channels: int
    patch: int
    views: bool = False
    clips: bool = False


# A pace must be told apart within hundreds of steps: Adam moves each number of its vector by a learning rate a step.
LOUD = 10.0


@dataclass
class Asked:
    """What a training step asks: a clean signal, noise, and all that a network is told. A student can be asked the same as its teacher.

    clean: `b ...`, of deviation `sigma_data`; noise: of deviation 1.
    sigma: noise levels, `b`, or `b t` for a world whose frames each have one.
    weight: broadcastable to `clean`, of mean 1; `None` for ones.
    told: what the world's `answer` passes to its network.
    fixed: `b t`, 1 on frames that stay at `sigma`, being given; `None` where there are no such.
    """

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    weight: Tensor | None
    told: Any
    fixed: Tensor | None = None

    def wide(self, x: Tensor) -> Tensor:
        """`b` or `b t` to broadcast over `clean`."""
        return x[:, None, :, None, None] if x.ndim == 2 else x.view(-1, *(1,) * (self.clean.ndim - 1))

    def noisy(self, sigma: Tensor) -> Tensor:
        return self.clean + self.wide(sigma) * self.noise


class DiffusionWorld(World):
    """Base of the stepping, the clip and the causal world. Latents are the tokenizer's own outside and normalised inside."""

    family = "diffusion"
    usual: ClassVar[Mapping[str, int]] = {"steps": 35}  # evaluations, of what kind a world tells apart
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

    def make_pace(self) -> None:
        """For a distilled world that knows several paces: a vector each on the `modulation` port, zero at first."""
        few = self.config.few
        self.pace = nn.Embedding(len(few.paces), self.ports.modulation) if few and len(few.paces) > 1 else None
        if self.pace is not None:
            nn.init.zeros_(self.pace.weight)

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

    # ---------------------------------------------------------------------------------------------------------------- training

    def ask(self, batch: Batch, rng: Generator, ports: Conditioning | None = None, unroll_prob: float | None = None) -> Asked:
        """What a step of training asks; see `forward`.

        Args:
            unroll_prob: share of the steps that go on from the world's own dream, for worlds that can; None for their own.
        """
        raise NotImplementedError

    def answer(self, x: Tensor, sigma: Tensor, asked: Asked, pace: Tensor | None = None, withheld: bool = False) -> Tensor:
        """The clean signal that `x` at levels `sigma` (shaped as `asked.sigma`) most likely was, whatever level was asked of.

        Args:
            pace: `b`, places in `few.paces`, for a distilled world; withheld: say it without text.
        """
        raise NotImplementedError

    def paced(self, modulation: Tensor | None, pace: Tensor | None) -> Tensor | None:
        """The port's `modulation` (`b d` or `b t d`) with what the network hears of its pace (`b`)."""
        if self.pace is None or pace is None:
            return modulation
        heard = LOUD * self.pace(pace)
        return heard if modulation is None else modulation + (heard[:, None] if modulation.ndim == 3 else heard)

    # ---------------------------------------------------------------------------------------------------------------- sampling

    def number(self, name: str = "steps", asked: int | None = None) -> int:
        """How many evaluations: as asked, as distilled to, or as usual for this kind of world."""
        if asked is not None:
            return asked
        return self.config.few.steps if self.config.few else self.usual[name]

    def pace_of(self, steps: int, like: Tensor) -> Tensor | None:
        """What `paced` wants, `b`, for a sample of so many steps."""
        few = self.config.few
        return None if few is None else torch.full((len(like),), few.pace(steps), device=like.device)

    def drawn(
        self,
        towards: Denoise,
        other: Denoise | None,
        start: Tensor,
        generator: Generator,
        steps: int,
        solver: str = "euler",
        guidance: float = 0.0,
        temperature: float = 1.0,
    ) -> Tensor:
        """A sample: `start`, noise of deviation 1, walked down the levels towards what `towards` says, away from what `other` says.

        Args:
            temperature: what the noise that `ancestral` adds is multiplied by. In many steps a Gaussian is drawn with so many times its
                deviation.

        Raises:
            BadInput: a distilled world with guidance, another solver, or steps that it was not taught; a temperature below 0, or where no
                noise is added.
        """
        if not 0 <= temperature < math.inf:
            raise BadInput(f"temperature is 0 or more, 1 for a fair sample; got {temperature}.")
        if temperature != 1 and solver != "ancestral":
            raise BadInput(
                f"Solver {solver!r} adds no noise that a temperature could lower; sample with solver=ancestral, or leave it at 1."
            )
        c, few = self.config.objective, self.config.few
        start = c.sigma_max * start
        if few is None:
            levels = to_zero(karras(steps, c.sigma_min, c.sigma_max))

            def fresh() -> Tensor:
                return temperature * normal(start.shape, generator, start)

            return sample(guided(towards, other, guidance), start, levels, solver, fresh=fresh)
        if guidance:
            raise BadInput(
                f"World {self.name or self.family!r} was distilled with guidance {few.guidance:g} folded in and takes none; leave it at 0."
            )
        if solver != "euler":
            raise BadInput(f"World {self.name or self.family!r} is distilled: it walks by solver 'euler'; got {solver!r}.")
        return few.walk(towards, start, steps, c, generator)

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

    def normalise(self, latents: Tensor, views: int = 1) -> Tensor:
        """`b c ...` of the tokenizer to zero mean and unit variance; with statistics for each frame, `b c (v t) h w` of a clip's start."""
        return (latents - self._columns(self.latent_mean, latents, views)) / self._columns(self.latent_std, latents, views)

    def denormalise(self, latents: Tensor, views: int = 1) -> Tensor:
        return latents * self._columns(self.latent_std, latents, views) + self._columns(self.latent_mean, latents, views)

    def _columns(self, held: Tensor, latents: Tensor, views: int) -> Tensor:
        if held.ndim == 1:
            return held.view((1, -1) + (1,) * (latents.ndim - 2))
        frames = latents.shape[2] // views
        if frames > held.shape[1]:
            raise BadInput(
                f"World {self.name or self.family!r} has statistics of {held.shape[1]} latent frames; got a clip of {frames}."
            )
        return held[None, :, :frames, None, None].repeat(1, 1, views, 1, 1)

    def folded_actions(self, actions: Tensor | None) -> Tensor | None:
        """Raw actions `b (t k) a` as the network takes them: normalised, one row a latent frame, `b t (k a)`.

        The spec's mean and standard deviation normalise; a spec without them maps `[low, high]` to `[-1, 1]`.
        """
        if actions is None or self.action_spec is None:
            return None
        centre, spread = self._action_units(actions)
        whole = actions.shape[1] // self.tokenizer.temporal
        scaled = (actions[:, : whole * self.tokenizer.temporal] - centre) / spread
        return scaled.reshape(len(actions), whole, self.action_width)  # which may be of no action at all

    def unfolded_actions(self, folded: Tensor) -> Tensor:
        """What `folded_actions` made, `b t (k a)`, as raw actions `b (t k) a` within the spec's bounds."""
        spec = self.action_spec
        assert spec is not None
        centre, spread = self._action_units(folded)
        raw = folded.reshape(len(folded), -1, spec.dim) * spread + centre
        return torch.minimum(torch.maximum(raw, torch.tensor(spec.low).to(raw)), torch.tensor(spec.high).to(raw))

    def _action_units(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """What raw actions are counted from and in, `a` each."""
        spec = self.action_spec
        assert spec is not None
        low, high = torch.tensor(spec.low).to(like), torch.tensor(spec.high).to(like)
        if spec.mean and spec.std:
            centre, spread = torch.tensor(spec.mean).to(like), torch.tensor(spec.std).to(like)
        elif bool(torch.isfinite(low).all() and torch.isfinite(high).all() and (high > low).all()):
            centre, spread = (low + high) / 2, (high - low) / 2
        else:
            centre, spread = torch.zeros_like(low), torch.ones_like(low)
        return centre, spread.clamp(min=1e-6)

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
        self._check_views(batch.views, batch.latents)
        frames = batch.grid.t
        if self.action_spec is not None:
            self.check_actions(batch.actions, (frames - 1) * self.tokenizer.temporal)
        return self.normalise(batch.latents, batch.views), self.folded_actions(batch.actions)

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

    def _check_views(self, views: int, latents: Tensor) -> None:
        if views > 1 and not self.ports.views:
            raise BadInput(
                f"World {self.name or self.family!r} takes one view at a time; it was given {views}. Clip worlds and U-Nets take more."
            )
        if latents.shape[2] % views:
            raise BadInput(f"{latents.shape[2]} latent frames are not as many of each of {views} views.")

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 5 or latents.shape[1] != self.tokenizer.channels:
            raise BadInput(
                f"World {self.name or self.family!r} wants latents b c t h w of {self.tokenizer.channels} channels; "
                f"got {tuple(latents.shape)}."
            )


def each_view(context: Tensor | None, batch: Batch) -> Tensor | None:
    """A batch's context `b (v n) d` as `b v n d`, where its views have texts of their own."""
    own = context is not None and batch.views > 1 and bool(batch.view_text)
    return context.unflatten(1, (batch.views, -1)) if own else context  # type: ignore[union-attr]


def with_clip(channels: Tensor | None, clip: Tensor | None, grid: Grid, width: int) -> Tensor | None:
    """What is added to embedded latents, `b d (v t) h w`: maps of frames, and those of a whole clip (`Conditioning.clip_channels`)."""
    if clip is None:
        return channels
    whole = clip.expand(-1, width, grid.v, grid.t, grid.h, grid.w).flatten(2, 3)
    return whole if channels is None else channels + whole


def masked(context: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Text as the network wants it: zeros where there is none, no mask."""
    return context if context is None or mask is None else context * mask[..., None]
