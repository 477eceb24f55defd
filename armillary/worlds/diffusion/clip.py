"""The published kind of diffusion world: all latent frames of a clip are denoised together, some of them given.

Given frames stay in the clip, slightly noised, marked by a plane of ones (video to world; none given is text to world). What the
network sees of them is scaled as if they stood at their own small noise level, and its answer there is replaced by the frames themselves,
so they carry no loss. The later generation (`flow`) shows them exactly as they are and tells each frame its own level. A longer rollout
goes clip by clip, the last frames of one given to the next.

Where this differs from the published inference code: that writes `latent / c_out - c_skip * x` as the network's answer on given frames,
which makes the denoised frame `latent + c_skip * (1 - c_out) * x`; here, as in the published training code, it is the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.base import Setting
from armillary.worlds.diffusion.common import DiffusionWorld, Ports, integers, masked, normal
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.fast import FastDiT
from armillary.worlds.diffusion.sampler import guided, karras, sample, to_zero

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

    @property
    def ports(self) -> Ports:
        c = self.network.config
        return Ports(modulation=3 * c.dim, context=self.setting.text_dim, channels=c.dim, patch=c.patch)

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
            batch: latents `b c t h w`, actions `b (t temporal) a`, context `b n d`, fps `b` (the world's own when absent).
            ports: what attached conditions say, for each frame: `modulation` (`b d` or `b t d`), `channels` (`b d t h/p w/p`).

        Returns:
            loss; `{"error": share of the frames' variance left unexplained, over all noise levels}`.
        """
        z, actions = self.training_parts(batch)
        context, mask = self.text_parts(batch, rng, self.config.text_dropout)
        b, _, t, _, _ = z.shape
        clean = z * self.config.objective.sigma_data
        most = min(self.config.past, t - 1) if self.network.config.given else 0
        count = integers(0, most + 1, (b,), rng, z)
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
        plane = given[:, None, :, None, None]
        if channels is not None:
            channels = channels * (1 - plane)
        noisy = clean + sigma[:, None, None, None, None] * normal(clean.shape, rng, clean)
        denoised = self.denoise(
            noisy,
            sigma,
            clean,
            plane,
            normal(clean.shape, rng, clean),
            torch.minimum(level, 0.999 * sigma),  # in training they are always given
            context=masked(context, mask),
            actions=leading,
            has_action=has_action,
            fps=self._fps(batch.fps, b, z),
            modulation=modulation,
            channels=channels,
        )
        weight = (1 - plane) / (1 - plane).mean()
        loss, error = self.objective.loss(clean, denoised, sigma, weight)
        return loss, {"error": error.mean()}

    @torch.no_grad()
    def extend(
        self,
        given: Tensor,
        frames: int,
        conditioning: Conditioning,
        *,
        generator: Generator,
        steps: int = 35,
        guidance: float = 0.0,
        solver: str = "euler",
        level: float | None = None,
        fps: float | None = None,
        **unknown: Any,
    ) -> Tensor:
        """`frames` further latents after `given`, clip by clip.

        Args:
            given: `b c t h w`, the tokenizer's own; the last `past` of them are used, `t` may be 0.
            conditioning: `actions[:, 0]` leads to the first further frame; where nothing is given, from the first dreamed frame to
                the second. With a tokenizer of temporal compression k there are k actions a frame.
            steps: evaluations a clip; guidance: `cond + guidance * (cond - uncond)` over text (the published worlds use 7).
            solver: a line of `SOLVERS`.
            level: noise put on given frames, or for a flow what the network is told of them; 0.001 and 0.0001, as published.
            fps: of the video dreamed; the world's own by default.

        Raises:
            BadInput: latents, actions or text of another width, too few actions, or a setting that is not one.
        """
        if unknown:
            raise BadInput(f"A clip world samples with steps, guidance, solver, level and fps; got {', '.join(unknown)}.")
        self._check_latents(given)
        self._check_context(conditioning.context)
        missing = 1 if given.shape[2] == 0 else 0
        self.check_actions(conditioning.actions, max(frames - missing, 0) * self.tokenizer.temporal)
        actions = self.folded_actions(conditioning.actions)
        if not self.network.config.given and given.shape[2]:
            raise BadInput(
                f"World {self.name or self.family!r} goes from text to world only; it was given {given.shape[2]} frames."
            )
        b, c, _, h, w = given.shape
        past, objective = self.config.past, self.config.objective
        level = level if level is not None else FLOW_LEVEL if objective.flow else LEVEL
        dreamed = given[:, :, :0]
        rate = None if fps is None else given.new_full((b,), fps)
        network = FastDiT(self.network) if FastDiT.serves(self.network) else self.network
        while dreamed.shape[2] < frames:
            done = dreamed.shape[2]
            before = torch.cat([given, dreamed], dim=2)[:, :, -past:] if past else given[:, :, :0]
            before = self.normalise(before) * objective.sigma_data  # anew: statistics may be those of a clip's first frames
            have = before.shape[2]
            more = min(self.config.clip - have, frames - done)
            clean = torch.cat([before, before.new_zeros(b, c, more, h, w)], dim=2)
            plane = (torch.arange(have + more, device=given.device) < have).to(given)[None, None, :, None, None]
            noise = normal(clean.shape, generator, clean)
            leading, has_action = self._leading(actions, b, done - missing, have, more)
            conditions = {
                "actions": leading,
                "has_action": has_action,
                "fps": self._fps(rate, b, given),
                "modulation": _stretch(conditioning.modulation, 1, done, have, more),
                "channels": _stretch(conditioning.channels, 2, done, have, more),
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
            levels = to_zero(karras(steps, objective.sigma_min, objective.sigma_max))
            start = objective.sigma_max * normal(clean.shape, generator, clean)
            clip = sample(guided(towards(context), towards(other) if guidance else None, guidance), start, levels, solver)
            dreamed = torch.cat([dreamed, self.denormalise(clip / objective.sigma_data)[:, :, have:]], dim=2)
        return dreamed

    def _leading(self, actions: Tensor | None, b: int, first: int, have: int, more: int) -> tuple[Tensor | None, Tensor | None]:
        """For a clip of `have` given and `more` asked frames: the action that leads to each, and where there is one."""
        if actions is None:
            return None, None
        index = torch.arange(-have, more, device=actions.device) + first
        there = (index >= max(first, 0)) & (torch.arange(-have, more, device=actions.device) >= 0)
        if not actions.shape[1]:
            return actions.new_zeros(b, have + more, self.action_width), there.to(actions).expand(b, -1)
        return actions[:, index.clamp(0, actions.shape[1] - 1)], there.to(actions).expand(b, -1)


def _stretch(port: Tensor | None, axis: int, done: int, have: int, more: int) -> Tensor | None:
    """What a port says of frames `done .. done + more`, with zeros for the `have` given frames before; a vector for all stays one."""
    if port is None or (axis == 1 and port.ndim == 2):
        return port
    index = torch.arange(done, done + more, device=port.device).clamp(max=port.shape[axis] - 1)
    part = port.index_select(axis, index)
    shape = list(part.shape)
    shape[axis] = have
    return torch.cat([part.new_zeros(shape), part], dim=axis)
