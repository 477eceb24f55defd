"""The published kind of diffusion world: all latent frames of a clip are denoised together, some of them given.

Given frames stay in the clip, slightly noised, marked by a plane of ones (video to world; none given is text to world). What the
network sees of them is scaled as if they stood at their own small noise level, and its answer there is replaced by the frames themselves,
so they carry no loss. The later generation (`flow`) shows them exactly as they are and tells each frame its own level. A longer rollout
goes clip by clip, the last frames of one given to the next. Views at the same moments are denoised together, each as so many frames on the
frame axis (`(v t)`); of each the same number of first frames is given.

Where this differs from the published inference code: that writes `latent / c_out - c_skip * x` as the network's answer on given frames,
which makes the denoised frame `latent + c_skip * (1 - c_out) * x`; here, as in the published training code, it is the latent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.base import Setting
from armillary.worlds.diffusion.common import (
    Asked,
    DiffusionWorld,
    Ports,
    each_view,
    integers,
    masked,
    normal,
    uniform,
    with_clip,
)
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.fast import FastDiT, Kept

if TYPE_CHECKING:
    from armillary.worlds.diffusion.world import DiffusionConfig


LEVEL, FLOW_LEVEL = 0.001, 0.0001  # noise of given frames when sampling, as published


def place(noisy: Tensor, clean: Tensor, noise: Tensor, given: Tensor, rescale: Tensor) -> Tensor:
    """Put the given frames into the noisy clip.

    Args:
        noisy, clean: `b c t h w`; noise: what is added to `clean`.
        given: `b 1 t 1 1`, 1 on given frames.
        rescale: `b`, `c_in(their level) / c_in(sigma)`: after the clip's `c_in` they stand as at their own level.
    """
    return given * (clean + noise) * rescale[:, None, None, None, None] + (1 - given) * noisy


class ClipWorld(DiffusionWorld):
    network: DiT

    def __init__(self, config: DiffusionConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        if not isinstance(config.network, DiTConfig):
            raise BadInput(f"A clip world wants a DiT; got {type(config.network).__name__}.")
        if config.network.causal:
            raise BadInput("A causal network makes a causal world, which goes frame by frame; build it from its config.")
        if not 0 <= config.past < config.clip:
            raise BadInput(f"A clip of {config.clip} latent frames cannot begin with {config.past} given ones.")
        self.network = DiT(config.network, setting.tokenizer.channels, setting.text_dim, self.action_width)
        self.make_pace()
        self.kept = Kept()

    @property
    def ports(self) -> Ports:
        c = self.network.config
        return Ports(modulation=3 * c.dim, context=self.setting.text_dim, channels=c.dim, patch=c.patch, views=True, clips=True)

    def denoise(
        self,
        x: Tensor,
        sigma: Tensor,
        clean: Tensor,
        given: Tensor,
        noise: Tensor,
        level: Tensor,
        network: DiT | FastDiT | None = None,
        **conditions: Any,
    ) -> Tensor:
        """The clean clip that noisy `x` (`b c t h w`, at level `sigma`, `b`) most likely was, given frames exact.

        Args:
            clean: the given frames (anything elsewhere), times `sigma_data`; given: `b 1 t 1 1`.
            noise: unit noise for the given frames; level: `b`, their noise level. Where it is not below `sigma` those frames are
                denoised like the others, though still marked as given.
            network: what answers; the world's own by default.
        """
        network = network or self.network
        c = self.objective.scalings(sigma)
        wide = (slice(None),) + (None,) * 4
        if self.config.objective.flow:
            seen = given * clean + (1 - given) * (x * c.into[wide])
            marked = given[:, 0, :, 0, 0]
            times = marked * self.objective.scalings(level).noise[:, None] + (1 - marked) * c.noise[:, None]
            answer = network(seen, times, given=given.expand(-1, -1, -1, *x.shape[-2:]), **conditions)
            return given * clean + (1 - given) * (c.skip[wide] * x + c.out[wide] * answer)
        placed = given * (level < sigma)[:, None, None, None, None]
        rescale = self.objective.scalings(level).into / c.into
        x = place(x, clean, noise * level[:, None, None, None, None], placed, rescale)
        answer = network(x * c.into[wide], c.noise, given=given.expand(-1, -1, -1, *x.shape[-2:]), **conditions)
        return placed * clean + (1 - placed) * (c.skip[wide] * x + c.out[wide] * answer)

    def forward(self, batch: Batch, rng: Generator, ports: Conditioning | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss.

        Args:
            batch: latents `b c (v t) h w`, actions `b (t temporal) a`, context `b n d`, fps `b` (the world's own when absent).
            ports: what attached conditions say, for each frame: `modulation` (`b d` or `b t d`), `channels` (`b d (v t) h/p w/p`), and
                for the clip: `clip_channels`.

        Returns:
            loss; `{"error": share of the frames' variance left unexplained, over all noise levels}`.
        """
        asked = self.ask(batch, rng, ports)
        denoised = self.answer(asked.noisy(asked.sigma), asked.sigma, asked)
        loss, error = self.objective.loss(asked.clean, denoised, asked.sigma, asked.weight)
        return loss, {"error": error.mean()}

    def ask(self, batch: Batch, rng: Generator, ports: Conditioning | None = None, unroll_prob: float | None = None) -> Asked:
        """A clip of each row and how many of its first frames are given. With `unroll_prob` the given ones may be the world's own dream."""
        dreamt = bool(unroll_prob) and bool(uniform((1,), rng, self.latent_mean) < unroll_prob)
        if dreamt:
            batch = self._dreamt(batch, rng)
        z, actions = self.training_parts(batch)
        context, mask = self.text_parts(batch, rng, self.config.text_dropout)
        b, _, n, h, w = z.shape
        v, t = batch.views, n // batch.views
        clean = z * self.config.objective.sigma_data
        most = min(self.config.past, t - 1) if self.network.config.given else 0
        count = integers(most if dreamt else 0, most + 1, (b,), rng, z)
        index = torch.arange(t, device=z.device)
        given = (index[None] < count[:, None]).to(z.dtype)  # b t
        mean, std = self.config.augment
        level = torch.exp(mean + std * normal((b,), rng, z))
        if self.config.objective.flow:
            level = torch.full_like(level, FLOW_LEVEL)
        sigma = self.objective.draw(b, rng, frames=t).to(z)

        leading, has_action = None, None
        if actions is not None:
            leading = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, : t - 1]], dim=1)
            has_action = (index > 0) * (1 - given)
        modulation, channels = (ports.modulation, ports.channels) if ports else (None, None)
        if modulation is not None and modulation.ndim == 3:  # sampling has nothing to say of given frames
            modulation = modulation * (1 - given)[..., None]
            modulation = _to_views(modulation, v)
        leading, has_action = _to_views(leading, v), _to_views(has_action, v)
        plane = given.repeat(1, v)[:, None, :, None, None]
        if channels is not None:
            channels = channels * (1 - plane)
        channels = with_clip(
            channels, ports.clip_channels if ports else None, self.network.grid(n, h, w, 0, v), self.ports.channels
        )
        noise = normal(clean.shape, rng, clean)
        told = {
            "clean": clean,
            "given": plane,
            "noise": normal(clean.shape, rng, clean),
            "level": level,
            "context": each_view(masked(context, mask), batch),
            "actions": leading,
            "has_action": has_action,
            "fps": self._fps(batch.fps, b, z),
            "modulation": modulation,
            "channels": channels,
            "views": v,
            "padding": batch.padding,
        }
        return Asked(clean, noise, sigma, (1 - plane) / (1 - plane).mean(), told)

    def answer(self, x: Tensor, sigma: Tensor, asked: Asked, pace: Tensor | None = None, withheld: bool = False) -> Tensor:
        told = dict(asked.told)
        told["level"] = torch.minimum(told["level"], 0.999 * sigma)  # in training they are always given
        told["modulation"] = self.paced(told["modulation"], pace)
        if withheld and told["context"] is not None:
            told["context"] = torch.zeros_like(told["context"])
        return self.denoise(x, sigma, **told)

    @torch.no_grad()
    def _dreamt(self, batch: Batch, rng: Generator) -> Batch:
        """The rows' later frames, the first of them dreamed by the world itself: as in a rollout, what is given bears its errors.

        Raises:
            BadInput: too few frames for that.
        """
        past, fold, v = self.config.past, self.tokenizer.temporal, batch.views
        frames = 0 if batch.latents is None else batch.latents.shape[2] // v
        if batch.latents is None or frames < past + 2 or not past:
            raise BadInput(
                f"To go on from its own dreams this world wants latents of at least {max(past, 1) + 2} frames and past >= 1; got "
                f"{frames} and past={past}. Leave unroll_prob at 0."
            )
        z = batch.latents.unflatten(2, (v, frames))
        known = min(past, frames - past - 1)
        told = Conditioning(views=v)
        if self.setting.text_dim:
            told = dataclasses.replace(told, context=each_view(masked(batch.context, batch.context_mask), batch))
        if self.action_spec is not None and batch.actions is not None:
            told = dataclasses.replace(told, actions=batch.actions[:, (known - 1) * fold :])
        dreamed = self.extend(z[:, :, :, :known].flatten(2, 3), past, told, generator=rng).unflatten(2, (v, past))
        actions = None if batch.actions is None else batch.actions[:, known * fold :]
        whole = torch.cat([dreamed, z[:, :, :, known + past :]], dim=3).flatten(2, 3)
        return dataclasses.replace(batch, latents=whole, actions=actions)

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
        solver: str = "euler",
        temperature: float = 1.0,
        level: float | None = None,
        fps: float | None = None,
        **unknown: Any,
    ) -> Tensor:
        """`frames` further latents after `given`, clip by clip.

        Args:
            given: `b c (v t) h w`, the tokenizer's own; of each view the last `past` frames are used, `t` may be 0.
            conditioning: how many `views` there are; `actions[:, 0]` leads to the first further frame; where nothing is given, from the
                first dreamed frame to the second. With a tokenizer of temporal compression k there are k actions a frame.
            steps: evaluations a clip, 35 unless told or distilled to fewer.
            guidance: `cond + guidance * (cond - uncond)` over text (the published worlds use 7).
            solver: a line of `SOLVERS`; temperature: of the noise that `ancestral` adds.
            level: noise put on given frames, or for a flow what the network is told of them; 0.001 and 0.0001, as published.
            fps: of the video dreamed; the world's own by default.

        Returns:
            `b c (v frames) h w`.

        Raises:
            BadInput: latents, actions or text of another width, too few actions, or a setting that is not one.
        """
        if unknown:
            raise BadInput(
                f"A clip world samples with steps, guidance, solver, temperature, level and fps; got {', '.join(unknown)}."
            )
        steps = self.number("steps", steps)
        self._check_latents(given)
        self._check_context(conditioning.context)
        v = conditioning.views
        self._check_views(v, given)
        missing = 1 if given.shape[2] == 0 else 0
        self.check_actions(conditioning.actions, max(frames - missing, 0) * self.tokenizer.temporal)
        actions = self.folded_actions(conditioning.actions)
        if not self.network.config.given and given.shape[2]:
            raise BadInput(
                f"World {self.name or self.family!r} goes from text to world only; it was given {given.shape[2]} frames."
            )
        b, c, n, h, w = given.shape
        given = given.unflatten(2, (v, n // v))  # b c v t h w
        past, objective = self.config.past, self.config.objective
        level = level if level is not None else FLOW_LEVEL if objective.flow else LEVEL
        dreamed = given[:, :, :, :0]
        rate = None if fps is None else given.new_full((b,), fps)
        network = self.kept.of(self.network) if FastDiT.serves(self.network) else self.network
        while dreamed.shape[3] < frames:
            done = dreamed.shape[3]
            before = torch.cat([given, dreamed], dim=3)[:, :, :, -past:] if past else given[:, :, :, :0]
            have = before.shape[3]
            # Anew: statistics may be those of a clip's first frames.
            before = (self.normalise(before.flatten(2, 3), v) * objective.sigma_data).unflatten(2, (v, have))
            more = min(self.config.clip - have, frames - done)
            clean = torch.cat([before, before.new_zeros(b, c, v, more, h, w)], dim=3).flatten(2, 3)
            plane = (torch.arange(have + more, device=given.device) < have).to(given).repeat(v)[None, None, :, None, None]
            noise = normal(clean.shape, generator, clean)
            leading, has_action = self._leading(actions, b, done - missing, have, more)
            modulation, channels = _stretch(conditioning.modulation, 1, done, have, more), conditioning.channels
            if channels is not None:
                channels = _stretch(channels.unflatten(2, (v, -1)), 3, done, have, more).flatten(2, 3)  # type: ignore[union-attr]
            grid = self.network.grid(clean.shape[2], h, w, 0, v)
            conditions = {
                "actions": _to_views(leading, v),
                "has_action": _to_views(has_action, v),
                "fps": self._fps(rate, b, given),
                "modulation": self.paced(
                    modulation if modulation is None or modulation.ndim == 2 else _to_views(modulation, v),
                    self.pace_of(steps, given),
                ),
                "channels": with_clip(channels, conditioning.clip_channels, grid, self.ports.channels),
                "views": v,
            }

            def towards(context: Tensor | None, clean=clean, plane=plane, noise=noise, conditions=conditions):
                read = network.read(context, b, given) if isinstance(network, FastDiT) else context

                def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                    at, quiet = sigma.expand(b), sigma.new_full((b,), level)
                    return self.denoise(
                        x, at, clean, plane.expand(b, -1, -1, -1, -1), noise, quiet, network, context=read, **conditions
                    )

                return denoise

            context = masked(conditioning.context, conditioning.context_mask) if self.setting.text_dim else None
            other = (
                conditioning.negative
                if conditioning.negative is not None
                else torch.zeros_like(context)
                if context is not None
                else None
            )
            start, away = normal(clean.shape, generator, clean), towards(other) if guidance else None
            clip = self.drawn(towards(context), away, start, generator, steps, solver, guidance, temperature)
            clip = self.denormalise(clip / objective.sigma_data, v).unflatten(2, (v, have + more))
            dreamed = torch.cat([dreamed, clip[:, :, :, have:]], dim=3)
        return dreamed.flatten(2, 3)

    def _leading(self, actions: Tensor | None, b: int, first: int, have: int, more: int) -> tuple[Tensor | None, Tensor | None]:
        """For a clip of `have` given and `more` asked frames: the action that leads to each, and where there is one."""
        if actions is None:
            return None, None
        index = torch.arange(-have, more, device=actions.device) + first
        there = (index >= max(first, 0)) & (torch.arange(-have, more, device=actions.device) >= 0)
        if not actions.shape[1]:
            return actions.new_zeros(b, have + more, self.action_width), there.to(actions).expand(b, -1)
        return actions[:, index.clamp(0, actions.shape[1] - 1)], there.to(actions).expand(b, -1)


def _to_views(x: Tensor | None, views: int) -> Tensor | None:
    """What is so of the frames `b t ...` of one view, for all of them."""
    return x if x is None or views == 1 else x.repeat(1, views, *(1,) * (x.ndim - 2))


def _stretch(port: Tensor | None, axis: int, done: int, have: int, more: int) -> Tensor | None:
    """What a port says of frames `done .. done + more`, with zeros for the `have` given frames before; a vector for all stays one."""
    if port is None or (axis == 1 and port.ndim == 2):
        return port
    index = torch.arange(done, done + more, device=port.device).clamp(max=port.shape[axis] - 1)
    part = port.index_select(axis, index)
    shape = list(part.shape)
    shape[axis] = have
    return torch.cat([part.new_zeros(shape), part], dim=axis)
