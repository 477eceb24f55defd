"""A trained diffusion world with other settings: what the next stage of a training changes while every weight is carried over.

Longer clips, another number of given frames, other noise: none of that is a weight of a transformer. One thing is: the plane that marks
given frames, which a world from text alone does not have (`network.given`). Its column of the patch embedding starts at zero, so that the
world says what it said before until it has learned what the plane means; so do the published video worlds go on from the text worlds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.presets import override
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.dit import DiTConfig

PATCH = "network.patch.weight"


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
    lost = sorted(k for k in old.keys() | wanted.keys() if k not in old or k not in wanted or old[k].shape != wanted[k].shape)
    if lost:
        raise BadInput(
            f"{', '.join(overrides)} would lose or add {len(lost)} weights of {world.name or world.family!r} (first: {lost[0]}). What may "
            "change is no weight: clip, past, augment, text_dropout, most of objective, and network.given from false to true."
        )
    made.load_state_dict(old, assign=True)
    made.name, made.sha256, made.adapters = world.name, world.sha256, world.adapters
    return made.train(world.training)


def _with_plane(weight: Tensor, channels: int, patch: int) -> Tensor:
    """The patch embedding `d ((c + padding) p q)` with a silent plane of given frames after the latent's channels."""
    at = channels * patch**2
    silent = weight.new_zeros(len(weight), patch**2)
    return torch.cat([weight[:, :at], silent, weight[:, at:]], dim=1)
