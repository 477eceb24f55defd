"""What every world is, whatever its family: a trainable that can also extend what it has seen.

A world works on a tokenizer's latents or tokens and never on pixels; it names the tokenizer it was trained on, and rolling out with
another one is an error. The action spec, the text encoder's name and the frame rate travel with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.nn.lora import Base
from armillary.types import ActionSpec, Batch, Conditioning


@dataclass(frozen=True)
class TokenizerRef:
    """The tokenizer whose latents a world knows.

    Args:
        name: a shipped name or a folder; a relative one is meant relative to the world's own folder.
        sha256: of its weights.
        temporal, spatial: its compression; `channels`: of a latent, `vocab`: 0 when continuous.
        size: height and width in pixels of the frames the world was trained on.
    """

    name: str
    sha256: str
    temporal: int
    spatial: int
    channels: int
    vocab: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Setting:
    """What a world is told when it is built, beside its own config.

    Args:
        tokenizer: what its latents mean.
        actions: the spec of the actions it takes, `None` for a world without.
        text: name of the text encoder in `text.ENCODERS`, empty for none; `text_dim`: its width.
        fps: frames a second of its training video.
    """

    tokenizer: TokenizerRef
    actions: ActionSpec | None = None
    text: str = ""
    text_dim: int = 0
    fps: float = 10.0


class World(nn.Module):
    """Base of the families.

    A subclass keeps its blocks in `self.blocks` (what parallelism walks), implements `forward` and `extend`, and sets `family`.
    """

    family: ClassVar[str] = ""
    blocks: nn.ModuleList

    def __init__(self, config: Any, setting: Setting) -> None:
        super().__init__()
        self.config = config
        self.setting = setting
        self.name, self.sha256 = "", ""
        self.adapters: tuple[Base, ...] = ()  # folded into the weights since they were loaded

    @property
    def tokenizer(self) -> TokenizerRef:
        return self.setting.tokenizer

    @property
    def action_spec(self) -> ActionSpec | None:
        return self.setting.actions

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss and what to log; every random number comes from `rng`."""
        raise NotImplementedError

    def extend(
        self, given: Tensor, frames: int, conditioning: Conditioning, *, generator: Generator, **sampling: Any
    ) -> Tensor:
        """`frames` further latent frames after `given` (`b c t h w`, or ids `b t h w`; `t` may be 0)."""
        raise NotImplementedError

    def live(self, given: Tensor, conditioning: Conditioning, **sampling: Any) -> Live:
        """The world from `given` on, to be asked for further frames again and again; arguments as for `extend`."""
        return Live(self, given, **sampling)

    def fit_normaliser(self, latents: Tensor) -> None:
        """Learn per-channel mean and standard deviation from a sample of the tokenizer's latents `n c t h w`; a no-op for tokens."""

    def check_actions(self, actions: Tensor | None, frames: int) -> None:
        """One action per generated frame and of the right width, or a sentence that says which.

        Raises:
            BadInput: also when a world without actions is given some, or one with actions none.
        """
        spec = self.action_spec
        if spec is None:
            if actions is not None:
                raise BadInput(f"World {self.name or self.family!r} takes no actions; it was given {tuple(actions.shape)}.")
            return
        if actions is None:
            raise BadInput(f"World {self.name or self.family!r} takes actions ({', '.join(spec.names)}); none were given.")
        if actions.shape[-1] != spec.dim:
            names = ", ".join(spec.names)
            raise BadInput(
                f"World {self.name or self.family!r} takes actions of width {spec.dim} ({names}); got width {actions.shape[-1]}."
            )
        if actions.shape[1] < frames:
            raise BadInput(f"{frames} frames want {frames} actions; got {actions.shape[1]}.")


class Live:
    """A world in the middle of a rollout: what an environment steps and a long video is made of.

    This one remembers the last frames and reads them anew each time; a world with a better memory gives its own (`World.live`).
    """

    def __init__(self, world: World, given: Tensor, **sampling: Any) -> None:
        self.world, self.window, self.sampling = world, given, sampling

    def more(self, frames: int, conditioning: Conditioning, generator: Generator) -> Tensor:
        """`frames` further latent frames (or ids) after all so far.

        Args:
            conditioning: of these frames: `actions[:, 0]` leads to the first of them (see `World.extend`).
        """
        made = self.world.extend(self.window, frames, conditioning, generator=generator, **self.sampling)
        past = max(1, int(getattr(self.world.config, "reach", getattr(self.world.config, "past", 1))))
        known, more = (x.unflatten(-3, (conditioning.views, -1)) for x in (self.window, made))
        self.window = torch.cat([known, more], dim=-3)[..., -past:, :, :].flatten(-4, -3)
        return made
