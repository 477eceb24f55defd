"""A trained diffusion world with other settings: what the next stage of a training changes while every weight is carried over.

Longer clips, another number of given frames, other noise: none of that is a weight of a transformer. Three things are. The plane that marks
given frames, which a world from text alone does not have (`network.given`): its column of the patch embedding starts at zero, so that the
world says what it said before until it has learned what the plane means; so do the published video worlds go on from the text worlds. The
older frames that a stepping world also sees (`memory`) and further attention of its U-Net (`network.fine_mixers`, `coarse_mixers`) are
silent at first in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.presets import override
from armillary.worlds.base import Setting
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.unet import UNetConfig

PATCH = "network.patch.weight"
ENTER = "network.enter.weight"
MIXERS = ("network.mixers.", "network.fine_mixers.")


def grow(world: DiffusionWorld, overrides: Sequence[str]) -> DiffusionWorld:
    """`world` with other settings; its weights are shared, not copied.

    Args:
        overrides: of its config, as `clip=16`, `past=2`, `objective.by_frames=true` or `network.given=true`.

    Raises:
        BadInput: a weight would be lost or change its shape.
    """
    config = override(world.config, overrides)
    with torch.device("meta"):
        made = config.build(world.setting)
    old, wanted = dict(world.state_dict()), made.state_dict()
    before, after = world.config.network, config.network
    if isinstance(before, DiTConfig) and isinstance(after, DiTConfig) and after.given and not before.given:
        old[PATCH] = _with_plane(old[PATCH], world.setting.tokenizer.channels, before.patch)
    if isinstance(before, UNetConfig) and config.memory and not world.config.memory and config.past == world.config.past:
        old[ENTER] = _with_memory(old[ENTER], world.setting.tokenizer.channels, len(config.memory))
    if any(k.startswith(MIXERS) and k not in old for k in wanted):
        old = _mixers(config.build, world) | old
    lost = sorted(k for k in old.keys() | wanted.keys() if k not in old or k not in wanted or old[k].shape != wanted[k].shape)
    if lost:
        raise BadInput(
            f"{', '.join(overrides)} would lose or add {len(lost)} weights of {world.name or world.family!r} (first: {lost[0]}). What may "
            "change is no weight: clip, past (of a DiT), augment, text_dropout, most of objective, network.given from false to true, "
            "memory from none to some, and more mixers."
        )
    made.load_state_dict(old, assign=True)
    made.name, made.sha256, made.adapters = world.name, world.sha256, world.adapters
    return made.train(world.training)


def _with_plane(weight: Tensor, channels: int, patch: int) -> Tensor:
    """The patch embedding `d ((c + padding) p q)` with a silent plane of given frames after the latent's channels."""
    at = channels * patch**2
    silent = weight.new_zeros(len(weight), patch**2)
    return torch.cat([weight[:, :at], silent, weight[:, at:]], dim=1)


def _with_memory(weight: Tensor, channels: int, ages: int) -> Tensor:
    """The first convolution `d (c + past (c + 1)) p q` with `ages` silent frames, which are older, before the past ones."""
    silent = weight.new_zeros(len(weight), ages * (channels + 1), *weight.shape[2:])
    return torch.cat([weight[:, :channels], silent, weight[:, channels:]], dim=1)


def _mixers(build: Callable[[Setting], DiffusionWorld], world: DiffusionWorld) -> dict[str, Tensor]:
    """Attention as a new world of that config begins with, which adds nothing, in `world`'s precision and place."""
    like = next(world.parameters())
    return {k: v.to(like) for k, v in build(world.setting).state_dict().items() if k.startswith(MIXERS)}
