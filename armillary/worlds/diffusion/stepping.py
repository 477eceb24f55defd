"""The live world: one latent frame at a time, each from the few before it and the action between.

What is diffused is not the frame but its change: `y = sigma_data * (z_next - z_last) / change_std`, per channel. A network that answers
nothing therefore repeats the last frame, and its capacity goes to what moves. Where no frame is given `y` is the frame itself, dreamed
from text alone. Three things keep a long rollout from drifting, and all three are part of the training step:

* noise on the given frames (GameNGen, Valevski et al. 2024): the network is told its level and learns to mend its own errors;
* pushforward (Brandstetter et al. 2022): now and then it first dreams some frames and then learns from there;
* a loss that weighs cells that change: most cells of most frames do not.

Several views of the same moments go side by side, as rows of one batch (`(b v)`) that know of each other where the network attends; what
is drawn for a row in training is drawn once for all of its views.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from einops import rearrange
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.base import Setting
from armillary.worlds.diffusion.common import Asked, DiffusionWorld, Ports, each_view, integers, normal, uniform
from armillary.worlds.diffusion.unet import UNet, UNetConfig

if TYPE_CHECKING:
    from armillary.worlds.diffusion.world import DiffusionConfig


# Of 200 unseen scenes 81 instead of 74 % have the number of their things right, at guidance 2 (docs/log.md).
FIRST_TEMPERATURE = 0.6


@dataclass
class Window:
    """What is known when a frame is asked for. `past` is oldest first and normalised; absent frames are zero and `given` 0.

    It holds every frame within reach (`DiffusionConfig.reach`), of which the network sees those of the ages it was made for.
    """

    past: Tensor  # b r c h w
    given: Tensor  # b r
    level: Tensor  # b, noise that was put on `past`
    action: Tensor | None  # b a
    has_action: Tensor | None  # b
    context: Tensor | None
    context_mask: Tensor | None
    modulation: Tensor | None = None
    channels: Tensor | None = None
    views: int = 1

    @property
    def base(self) -> Tensor:
        """What the answer is counted from: the last frame, or zero where there is none; `b c h w`."""
        return self.past[:, -1] * self.given[:, -1, None, None, None]

    def follow(self, frame: Tensor) -> None:
        """One frame on: `frame` (`b c h w`) is the last one now."""
        self.past = torch.cat([self.past[:, 1:], frame[:, None]], dim=1)
        self.given = torch.cat([self.given[:, 1:], torch.ones_like(self.given[:, :1])], dim=1)


class SteppingWorld(DiffusionWorld):
    usual: ClassVar[Mapping[str, int]] = {"steps": 1, "first_steps": 18}
    network: UNet

    def __init__(self, config: DiffusionConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        if not isinstance(config.network, UNetConfig):
            raise BadInput(f"A stepping world wants a U-Net; got {type(config.network).__name__}.")
        self.network = UNet(config.network, setting.tokenizer.channels, len(config.ages), self.action_width, setting.text_dim)
        self.seen = [config.reach - age for age in config.ages]  # places in a window of the frames that the network is shown
        # A recipe may raise this as training goes on; it is no part of what the world is.
        self.unroll_prob = config.unroll_prob
        self.make_pace()

    @property
    def ports(self) -> Ports:
        c = self.network.config
        return Ports(modulation=c.dim, context=self.setting.text_dim, channels=c.fine, patch=1, views=True)

    # ---------------------------------------------------------------------------------------------------------------- one frame

    def scale(self, window: Window) -> Tensor:
        """What one unit of `y` is worth in normalised latents, `b c 1 1`: a typical change, or a whole frame where none is given."""
        known = window.given[:, -1:]
        per_channel = known * self.change_std + (1 - known)
        return (per_channel / self.config.objective.sigma_data)[:, :, None, None]

    def denoise(self, x: Tensor, sigma: Tensor, window: Window) -> Tensor:
        """The clean `y` that noisy `x` (`b c h w`, at level `sigma`, `b`) most likely was."""
        c = self.objective.scalings(sigma)
        answer = self.network(x * c.into[:, None, None, None], *self._told(window, c.noise))
        return c.skip[:, None, None, None] * x + c.out[:, None, None, None] * answer

    def features(self, window: Window) -> Tensor:
        """What the network makes of `window` before anything of the answer is known, `b fine h w`."""
        unknown = torch.zeros_like(window.past[:, -1])
        sigma = unknown.new_full((len(unknown),), self.config.objective.sigma_max)
        return self.network.features(unknown, *self._told(window, self.objective.scalings(sigma).noise))

    def _told(self, window: Window, noise: Tensor) -> tuple[Any, ...]:
        """What the network is told beside the noisy answer."""
        return (
            window.past[:, self.seen],
            window.given[:, self.seen],
            noise,
            window.level,
            window.action,
            window.has_action,
            window.context,
            window.context_mask,
            window.modulation,
            window.channels,
            window.views,
        )

    def dream(
        self,
        window: Window,
        generator: Generator,
        steps: int,
        solver: str,
        guidance: float = 0.0,
        other: Window | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """The next frame, normalised, `b c h w`."""
        like = window.past
        shape = (len(like), *like.shape[2:])
        pace = self.pace_of(steps, like)

        def towards(aim: Window):
            told = dataclasses.replace(aim, modulation=self.paced(aim.modulation, pace))
            return lambda x, sigma: self.denoise(x, sigma.expand(len(x)), told)

        start, away = normal(shape, generator, like), None if other is None else towards(other)
        y = self.drawn(towards(window), away, start, generator, steps, solver, guidance, temperature)
        return window.base + y * self.scale(window)

    # ---------------------------------------------------------------------------------------------------------------- training

    def forward(self, batch: Batch, rng: Generator, ports: Conditioning | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss.

        Args:
            batch: latents `b c (v t) h w` with `t >= 2` (reach + targets is best), actions `b (t temporal) a`, context.
            ports: what attached conditions say; `modulation` (`b d` or `b t d`) and `channels` (`b d (v t) h w`) go with frame `t`.

        Returns:
            loss; `{"error": share of a typical change's variance left unexplained}`.
        """
        return self.graded(self.ask(batch, rng, ports))

    def graded(self, asked: Asked) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What `forward` returns, of what `ask` asked."""
        denoised = self.answer(asked.noisy(asked.sigma), asked.sigma, asked)
        loss, error = self.objective.loss(asked.clean, denoised, asked.sigma, asked.weight)
        return loss, {"error": error.mean()}

    def ask(self, batch: Batch, rng: Generator, ports: Conditioning | None = None, unroll_prob: float | None = None) -> Asked:
        """A frame of each row, and the window it is to be dreamed from: the truth, noised, or the world's own dreams of it."""
        z, actions = self.training_parts(batch)
        context, context_mask = self.text_parts(batch, rng, self.config.text_dropout)
        v = batch.views
        context, context_mask = _each(each_view(context, batch), v, 3), _each(each_view(context_mask, batch), v, 2)
        z = rearrange(z, "b c (v t) h w -> (b v) t c h w", v=v)
        b, t = len(z) // v, z.shape[1]
        if t < 2:
            raise BadInput(f"A stepping world learns from at least two latent frames; got {t}.")
        past, reach = self.config.past, self.config.reach

        ahead = min(self.config.unroll, t - 2)
        unroll_prob = self.unroll_prob if unroll_prob is None else unroll_prob
        push = bool(uniform((1,), rng, z) < unroll_prob) and ahead > 0
        rollout = int(integers(1, ahead + 1, (1,), rng, z)) if push else 0
        target = integers(min(past, t - 1 - rollout), t - rollout, (b,), rng, z)  # which frame each row is asked for first

        # How much of the past each row may see: all of it, some, or nothing.
        draw = uniform((b,), rng, z)
        count = torch.where(draw < 1 - self.config.short_prob, reach, integers(1, past + 1, (b,), rng, z))
        if rollout == 0:
            none = draw < self.config.none_prob
            count = torch.where(none, torch.zeros_like(count), count)
            if self.tokenizer.temporal > 1:  # the frame that nothing precedes is a clip's first, which codes one picture alone
                target = torch.where(none, torch.zeros_like(target), target)

        # After pushing forward the past carries the world's own errors instead, as it will when rolled out.
        noisy = (uniform((b,), rng, z) < self.config.noise_prob) & (rollout == 0)
        level = torch.where(noisy, uniform((b,), rng, z) * self.config.noise_max, torch.zeros(b, device=z.device))

        target, count, level = (x.repeat_interleave(v) for x in (target, count, level))
        actions = _each(actions, v, 3)
        window = self._training_window(z, target, count, level, rng)
        window.views = v
        rows, frame = torch.arange(b * v, device=z.device), target
        for lead in range(rollout + 1):
            frame = target + lead
            window.context, window.context_mask = context, context_mask
            window.action, window.has_action = self._leading(actions, frame, window.given[:, -1])
            window.modulation, window.channels = _port_at(ports, frame, frame, v)
            if lead == rollout:
                break
            with torch.no_grad():
                dreamed = self.dream(window, rng, steps=self.number(), solver="euler")
            window.follow(dreamed)
        truth, before = z[rows, frame], z[rows, (frame - 1).clamp(min=0)]

        sd = self.config.objective.sigma_data
        scale = self.scale(window)
        y = (truth - window.base) / scale
        sigma = self.objective.draw(b, rng).to(z).repeat_interleave(v)
        noise = normal(y.shape, rng, y)

        moved = ((truth - before) / scale).square().mean(1, keepdim=True).sqrt() > 0.5 * sd
        weight = 1 + self.config.change_weight * (moved & (window.given[:, -1] > 0)[:, None, None, None])
        return Asked(y, noise, sigma, weight / weight.mean(), window)

    def answer(self, x: Tensor, sigma: Tensor, asked: Asked, pace: Tensor | None = None, withheld: bool = False) -> Tensor:
        window: Window = self._unguided(asked.told, None) if withheld else asked.told
        return self.denoise(x, sigma, dataclasses.replace(window, modulation=self.paced(window.modulation, pace)))

    def _training_window(self, z: Tensor, target: Tensor, count: Tensor, level: Tensor, rng: Generator) -> Window:
        """The frames within reach before each row's target; beyond `count` or before the clip's beginning they are absent."""
        b = len(z)
        back = torch.arange(self.config.reach, 0, -1, device=z.device)  # so many frames earlier
        index = target[:, None] - back[None]
        given = ((index >= 0) & (back[None] <= count[:, None])).to(z.dtype)
        frames = z[torch.arange(b, device=z.device)[:, None], index.clamp(min=0)]
        frames = frames + level[:, None, None, None, None] * normal(frames.shape, rng, frames)
        frames = frames * given[:, :, None, None, None]
        return Window(frames, given, level, None, None, None, None)

    def _leading(self, actions: Tensor | None, frame: Tensor, known: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The action that leads to each row's `frame`, and whether there is one (nothing leads to a first frame)."""
        if actions is None:
            return None, None
        index = (frame - 1).clamp(0, actions.shape[1] - 1)
        return actions[torch.arange(len(actions), device=actions.device), index], ((frame > 0) & (known > 0)).to(actions.dtype)

    # ---------------------------------------------------------------------------------------------------------------- rolling out

    @torch.no_grad()
    def extend(
        self,
        given: Tensor,
        frames: int,
        conditioning: Conditioning,
        *,
        generator: Generator,
        steps: int | None = None,
        guidance: float = 0.0,
        first_steps: int | None = None,
        solver: str | None = None,
        temperature: float | None = None,
        level: float = 0.0,
        **unknown: Any,
    ) -> Tensor:
        """`frames` further latents after `given`, one at a time over a sliding window.

        Args:
            given: `b c (v t) h w`, the tokenizer's own; `t` may be 0, then the first frame is dreamed from text alone.
            conditioning: how many `views` there are; `actions[:, 0]` leads to the first further frame; where nothing is given, from the
                first dreamed frame to the second (one action fewer is enough then). With a tokenizer of temporal compression k there are
                k actions a frame.
            steps: evaluations a frame, 1 unless told; 1 is the mean of what may come, more is a sample of it. A distilled world draws
                samples in any number of steps it knows, and has its own default.
            guidance: `cond + guidance * (cond - uncond)` over text; 0 is off.
            first_steps: evaluations of a frame that nothing precedes, 18 unless told (a distilled world: as `steps`).
            solver: a line of `SOLVERS`; unless told, `ancestral` for a frame that nothing precedes (the number of things is then more
                often right, docs/log.md) and `euler` for the rest and for a distilled world.
            temperature: of the noise that `ancestral` adds; below 1 what is likely is drawn more often than it is in the data. Unless
                told, 0.6 for a frame that nothing precedes with guidance above 1 (the number of things is then more often right; with
                less guidance things go missing), and 1 otherwise.
            level: how noisy the network is told its past is (its training covered 0 to `noise_max`).

        Raises:
            BadInput: latents, actions or text of another width, too few actions, or a setting that is not one.
        """
        if unknown:
            raise BadInput(
                f"A stepping world samples with steps, guidance, first_steps, solver, temperature and level; got {', '.join(unknown)}."
            )
        steps, first_steps = self.number("steps", steps), self.number("first_steps", first_steps)
        self._check_latents(given)
        self._check_context(conditioning.context)
        missing = 1 if given.shape[2] == 0 else 0
        self.check_actions(conditioning.actions, max(frames - missing, 0) * self.tokenizer.temporal)
        actions = self.folded_actions(conditioning.actions)
        v = conditioning.views
        self._check_views(v, given)
        frames_in = rearrange(self.normalise(given, v), "b c (v t) h w -> (b v) t c h w", v=v)
        reach, (b, t, c, h, w) = self.config.reach, frames_in.shape
        actions, frames_in = _each(actions, v, 3), frames_in[:, -reach:]
        told, have = self.setting.text_dim > 0, min(t, self.config.past)
        room = reach - frames_in.shape[1]
        window = Window(
            past=torch.cat([frames_in.new_zeros(b, room, c, h, w), frames_in], dim=1),
            given=torch.cat([given.new_zeros(b, room), given.new_ones(b, reach - room)], dim=1),
            level=given.new_full((b,), level),
            action=None,
            has_action=None,
            context=_each(conditioning.context, v, 3) if told else None,
            context_mask=_each(conditioning.context_mask, v, 2),
            views=v,
        )
        negative = _each(conditioning.negative, v, 3)
        dreamed = []
        for i in range(frames):
            known = window.given[:, -1]
            first = t == 0 and i == 0
            if actions is not None:
                at = max(i - missing, 0)
                window.action = actions[:, at] if actions.shape[1] else actions.new_zeros(b, self.action_width)
                window.has_action = known
            at = torch.full((b,), i, device=given.device)
            window.modulation, window.channels = _port_at(conditioning, at, at + have, v)
            other = self._unguided(window, negative) if guidance else None
            way = solver or ("ancestral" if first and self.config.few is None else "euler")
            by_chance = way == "ancestral"
            if temperature is None:
                warmth = FIRST_TEMPERATURE if first and by_chance and guidance > 1 else 1.0
            else:  # where a first frame is drawn by chance and the rest is not, it was asked of that one
                warmth = temperature if by_chance or first or not missing else 1.0
            frame = self.dream(window, generator, first_steps if first else steps, way, guidance, other, warmth)
            dreamed.append(frame)
            window.follow(frame)
        if not dreamed:
            return given[:, :, :0]
        return rearrange(self.denormalise(torch.stack(dreamed, dim=2)), "(b v) c t h w -> b c (v t) h w", v=v)

    def _unguided(self, window: Window, negative: Tensor | None) -> Window:
        """The same moment without its text, or with the negative prompt's."""
        changed = Window(**vars(window))
        changed.context, changed.context_mask = negative, None
        if negative is None and window.context is not None:
            changed.context = torch.zeros_like(window.context)
            changed.context_mask = torch.zeros(window.context.shape[:2], dtype=torch.bool, device=window.context.device)
        return changed


def _each(x: Tensor | None, views: int, ndim: int) -> Tensor | None:
    """What is said of rows, `b ...` of `ndim` axes, or of each of their views, `b v ...`, as `(b v) ...`."""
    if x is None:
        return None
    return x.repeat_interleave(views, 0) if x.ndim == ndim else x.flatten(0, 1)


def _port_at(ports: Conditioning | None, frame: Tensor, in_clip: Tensor, views: int) -> tuple[Tensor | None, Tensor | None]:
    """What attached conditions say of each row's `frame` (`(b v)`): a vector `(b v) d` and a map `(b v) d h w`.

    Args:
        in_clip: the frame's place among given and further ones, which is how what is told of a whole clip counts.
    """
    if ports is None:
        return None, None
    modulation, channels, clip = ports.modulation, ports.channels, ports.clip_channels
    rows = torch.arange(len(frame), device=frame.device)
    if modulation is not None and modulation.ndim == 3:
        modulation = _each(modulation, views, 3)[rows, frame.clamp(max=modulation.shape[1] - 1)]  # type: ignore[index]
    elif modulation is not None:
        modulation = _each(modulation, views, 2)
    if channels is not None:
        channels = rearrange(channels, "b d (v t) h w -> (b v) d t h w", v=views)
        channels = channels[rows, :, frame.clamp(max=channels.shape[2] - 1)]
    if clip is not None:
        clip = clip.expand(len(frame) // views, -1, views, *clip.shape[3:])
        clip = rearrange(clip, "b d v t h w -> (b v) d t h w")[rows, :, in_clip.clamp(max=clip.shape[3] - 1)]
        channels = clip if channels is None else channels + clip
    return modulation, channels
