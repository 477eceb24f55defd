"""The causal world: the published transformer over frames that see only what came before, each with a noise level of its own.

Training is diffusion forcing (Chen et al. 2024, arXiv 2407.01392): a frame's level is drawn apart from the others', so that one network
learns to dream a frame from clean frames, from noisy ones and from none. In a share of the rows (`given_prob`) the first frames are nearly
clean, which is what a rollout looks like, and carry no loss.

A rollout goes frame by frame. The present frame is denoised in its place while keys and values of earlier frames are kept; once it is
clean the network reads it a last time, and it is past: a frame costs `steps + 1` evaluations of one frame, however long the rollout.
Frames that are looked back on are clean, and the network is told a low level of them (`level`): what it was shown there in training was
slightly noisy, which is what keeps its own errors from growing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput, did_you_mean
from armillary.nn.attention import FrameCache
from armillary.types import Batch, Conditioning
from armillary.worlds.base import Live, Setting
from armillary.worlds.diffusion.common import Asked, DiffusionWorld, Ports, integers, masked, normal, uniform, with_clip
from armillary.worlds.diffusion.dit import DiT, DiTConfig

if TYPE_CHECKING:
    from armillary.worlds.diffusion.world import DiffusionConfig


class CausalWorld(DiffusionWorld):
    usual: ClassVar[Mapping[str, int]] = {"steps": 8}  # of a frame
    network: DiT

    def __init__(self, config: DiffusionConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        if not isinstance(config.network, DiTConfig) or not config.network.causal:
            raise BadInput("A causal world wants a DiT with causal=true.")
        if config.network.given or config.columns:
            raise BadInput("A causal world marks no frames as given and has one set of statistics: set given=false, columns=0.")
        if config.past < 1 or config.clip < 2:
            raise BadInput(f"A causal world looks back on at least 1 frame of 2; got past={config.past}, clip={config.clip}.")
        self.network = DiT(config.network, setting.tokenizer.channels, setting.text_dim, self.action_width)
        self.make_pace()

    @property
    def ports(self) -> Ports:
        c = self.network.config
        return Ports(modulation=3 * c.dim, context=self.setting.text_dim, channels=c.dim, patch=c.patch)

    def denoise(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """The clean frames (times `sigma_data`) that noisy `x` (`b c t h w`, at levels `sigma`, `b t`) most likely were."""
        c = self.objective.scalings(sigma)
        answer = self.network(x * _wide(c.into), c.noise, **conditions)
        return _wide(c.skip) * x + _wide(c.out) * answer

    def levels(self, b: int, t: int, rng: Generator, like: Tensor) -> tuple[Tensor, Tensor]:
        """Training: each frame's noise level `b t`, and 1 on the frames that a row is given, which stand at a low one."""
        c = self.config
        sigma = self.objective.draw(b * t, rng).to(like).view(b, t)
        mean, std = c.augment
        low = torch.exp(mean + std * normal((b, t), rng, like)).clamp(c.objective.sigma_min, c.objective.sigma_max)
        count = integers(1, t, (b,), rng, like) * (uniform((b,), rng, like) < c.given_prob)  # the last frame is never given
        given = (torch.arange(t, device=like.device)[None] < count[:, None]).to(like.dtype)
        return given * low + (1 - given) * sigma, given

    def forward(self, batch: Batch, rng: Generator, ports: Conditioning | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss.

        Args:
            batch: latents `b c t h w` with `t >= 2`, actions `b (t temporal) a`, context `b n d`, fps `b` (the world's own when absent).
            ports: what attached conditions say, for each frame: `modulation` (`b d` or `b t d`), `channels` (`b d t h/p w/p`).

        Returns:
            loss; `{"error": share of the frames' variance left unexplained, over all noise levels}`.
        """
        asked = self.ask(batch, rng, ports)
        denoised = self.answer(asked.noisy(asked.sigma), asked.sigma, asked)
        # Frames by themselves: the loss at a level is that of one frame.
        assert asked.fixed is not None
        free = asked.fixed.flatten() == 0
        target, guess = (x.transpose(1, 2).flatten(0, 1)[free] for x in (asked.clean, denoised))
        loss, error = self.objective.loss(target, guess, asked.sigma.flatten()[free])
        return loss, {"error": error.mean()}

    def ask(self, batch: Batch, rng: Generator, ports: Conditioning | None = None, unroll_prob: float | None = None) -> Asked:
        """A clip of each row, every frame at a level of its own, the first of some rows given."""
        z, actions = self.training_parts(batch)
        context, mask = self.text_parts(batch, rng, self.config.text_dropout)
        b, _, t, _, _ = z.shape
        if t < 2:
            raise BadInput(f"A causal world learns from at least two latent frames; got {t}.")
        clean = z * self.config.objective.sigma_data
        sigma, given = self.levels(b, t, rng, z)
        # What led to the first given frames may be unknown, as it is of frames that a rollout begins with.
        index = torch.arange(t, device=z.device)[None]
        unknown = (uniform((b,), rng, z) * (given.sum(1) + 1)).floor()
        told = (index >= unknown[:, None]).to(z.dtype)
        leading, has_action = None, None
        if actions is not None:
            leading = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, : t - 1]], dim=1)
            has_action = told * (index > 0)
        modulation, channels = (ports.modulation, ports.channels) if ports else (None, None)
        if modulation is not None and modulation.ndim == 3:
            modulation = modulation * told[..., None]
        if channels is not None:
            channels = channels * told[:, None, :, None, None]
        channels = with_clip(
            channels, ports.clip_channels if ports else None, self.network.grid(*z.shape[2:]), self.ports.channels
        )
        told = {
            "context": masked(context, mask),
            "actions": leading,
            "has_action": has_action,
            "fps": self._fps(batch.fps, b, z),
            "modulation": modulation,
            "channels": channels,
        }
        free = _wide(1 - given)
        return Asked(clean, normal(clean.shape, rng, clean), sigma, free / free.mean(), told, given)

    def answer(self, x: Tensor, sigma: Tensor, asked: Asked, pace: Tensor | None = None, withheld: bool = False) -> Tensor:
        told = dict(asked.told)
        told["modulation"] = self.paced(told["modulation"], pace)
        if withheld and told["context"] is not None:
            told["context"] = torch.zeros_like(told["context"])
        return self.denoise(x, sigma, **told)

    def live(self, given: Tensor, conditioning: Conditioning, **sampling: Any) -> CausalLive:
        """The world from `given` on; it keeps what it has read. See `extend`."""
        return CausalLive(self, given, conditioning, **sampling)

    @torch.no_grad()
    def extend(
        self,
        given: Tensor,
        frames: int,
        conditioning: Conditioning,
        *,
        generator: Generator,
        steps: int | None = None,
        **sampling: Any,
    ) -> Tensor:
        """`frames` further latents after `given`, one at a time.

        Args:
            given: `b c t h w`, the tokenizer's own; the last `past` of them are read, `t` may be 0.
            conditioning: `actions[:, 0]` leads to the first further frame; where nothing is given, from the first dreamed frame to
                the second. With a tokenizer of temporal compression k there are k actions a frame.
            steps: noise levels a frame, 8 unless told or distilled to fewer.
            sampling: `guidance`: `cond + guidance * (cond - uncond)` over text, 0 is off;
                `solver`: a line of `SOLVERS`; `temperature`: of the noise that `ancestral` adds; `level`: what the network is told of
                the noise on frames looked back on (the lowest it samples through); `fps`: of the video dreamed.

        Raises:
            BadInput: latents, actions or text of another width, too few actions, or a setting that is not one.
        """
        return self.live(given, conditioning, steps=steps, **sampling).more(frames, conditioning, generator)


class CausalLive(Live):
    """A causal world in the middle of a rollout: what it has read, and how many frames there were."""

    world: CausalWorld

    @torch.no_grad()
    def __init__(
        self,
        world: CausalWorld,
        given: Tensor,
        conditioning: Conditioning,
        *,
        steps: int | None = None,
        guidance: float = 0.0,
        solver: str = "euler",
        temperature: float = 1.0,
        level: float | None = None,
        fps: float | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            known = ("steps", "guidance", "solver", "temperature", "level", "fps")
            raise BadInput(did_you_mean("sampling setting of a causal world", next(iter(unknown)), known))
        world._check_latents(given)
        self.world = world
        self.steps, self.guidance = world.number("steps", steps), guidance
        self.solver, self.temperature = solver, temperature
        c = world.config.objective
        self.told = c.sigma_min if level is None else level
        if not 0 < self.told <= c.sigma_max:
            raise BadInput(f"level is a noise level above 0 and up to {c.sigma_max}; got {level}.")
        self.fps = given.new_full((len(given),), world.setting.fps if fps is None else fps)
        # With guidance there are two rollouts, the other without text (or with the negative prompt): what they read differs in every frame.
        self.pasts = [world.network.caches() for _ in range(2 if guidance else 1)]
        self.begun = given.shape[2] > 0
        self.like = given[:, :, :0]
        contexts = self._contexts(conditioning)
        frames = world.normalise(given[:, :, -world.config.past :]) * c.sigma_data
        modulation = conditioning.modulation if _is_vector(conditioning.modulation) else None
        self.clip_channels = conditioning.clip_channels
        for frame in frames.split(1, dim=2) if self.begun else ():
            self._read(frame, contexts, self._moment(None, None, modulation, None))

    @torch.no_grad()
    def more(self, frames: int, conditioning: Conditioning, generator: Generator) -> Tensor:
        world, c = self.world, self.world.config.objective
        contexts = self._contexts(conditioning)
        missing = 0 if self.begun else 1
        world.check_actions(conditioning.actions, max(frames - missing, 0) * world.tokenizer.temporal)
        actions = world.folded_actions(conditioning.actions)
        b, channels, _, h, w = self.like.shape
        made = []
        for i in range(frames):
            action = actions[:, i - missing : i - missing + 1] if actions is not None and i >= missing else None
            moment = self._moment(action, i, conditioning.modulation, conditioning.channels)
            towards = [self._towards(past, context, moment) for past, context in zip(self.pasts, contexts)]
            start = normal((b, channels, 1, h, w), generator, self.like)
            frame = world.drawn(
                towards[0], towards[-1], start, generator, self.steps, self.solver, self.guidance, self.temperature
            )
            self._read(frame, contexts, moment)
            made.append(frame)
        self.begun = self.begun or frames > 0
        return world.denormalise(torch.cat(made, dim=2) / c.sigma_data) if made else self.like

    def _towards(self, past: list[FrameCache], context: Tensor | None, moment: dict[str, Any]):
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self.world.denoise(x, sigma.expand(len(x), 1), context=context, past=past, **moment)

        return denoise

    def _read(self, frame: Tensor, contexts: list[Tensor | None], moment: dict[str, Any]) -> None:
        """Take a clean frame (`b c 1 h w`, as the network sees frames) into the past."""
        told = frame.new_tensor(self.told)
        for past, context in zip(self.pasts, contexts):
            self._towards(past, context, moment)(frame, told)
            for cache in past:
                cache.keep()

    def _moment(
        self, action: Tensor | None, index: int | None, modulation: Tensor | None, channels: Tensor | None
    ) -> dict[str, Any]:
        """What the network hears of one frame, the `index`-th of those asked for (None: a given one)."""
        world, b = self.world, len(self.like)
        has_action = None
        if world.action_spec is not None:
            has_action = self.like.new_full((b, 1), float(action is not None))
            action = self.like.new_zeros(b, 1, world.action_width) if action is None else action
        if modulation is not None and modulation.ndim == 3 and index is not None:
            at = min(index, modulation.shape[1] - 1)
            modulation = modulation[:, at : at + 1]
        if channels is not None and index is not None:
            at = min(index, channels.shape[2] - 1)
            channels = channels[:, :, at : at + 1]
        channels = with_clip(channels, self.clip_channels, world.network.grid(1, *self.like.shape[3:]), world.ports.channels)
        return {
            "actions": action,
            "has_action": has_action,
            "fps": self.fps,
            "modulation": world.paced(modulation, world.pace_of(self.steps, self.like)),
            "channels": channels,
        }

    def _contexts(self, conditioning: Conditioning) -> list[Tensor | None]:
        """The text of each rollout; rows without are zeros."""
        self.world._check_context(conditioning.context)
        context = masked(conditioning.context, conditioning.context_mask) if self.world.setting.text_dim else None
        negative = conditioning.negative
        if negative is None and context is not None:
            negative = torch.zeros_like(context)
        return [context, negative][: len(self.pasts)]


def _wide(x: Tensor) -> Tensor:
    """`b t` to broadcast over `b c t h w`."""
    return x[:, None, :, None, None]


def _is_vector(modulation: Tensor | None) -> bool:
    """One vector for all frames, given ones too."""
    return modulation is not None and modulation.ndim == 2
