"""A world in the form the evaluation asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from armillary import sims
from armillary.errors import BadInput
from armillary.evaluate.rollouts import Dream
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.long import chunks, dream_long
from armillary.types import Episode
from armillary.worlds.diffusion.stepping import SteppingWorld


def as_dream(dreamer: Dreamer, frames: int, /, **sampling: Any) -> Dream:
    """Given frames, actions, text and a seed to so many further frames; actions are dropped for a world without."""

    def dream(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
        plan = actions if dreamer.world.action_spec is not None else None
        known = dreamer.usable(min(len(given), dreamer.most_given))
        return dreamer.dream(given[-known:], frames, prompt=text, actions=plan, seed=seed, cut=True, **sampling)

    return dream


def as_long_dream(dreamer: Dreamer, frames: int, /, **sampling: Any) -> Dream:
    """As `as_dream`, chunk by chunk: for many times what the world was trained on."""

    def dream(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
        plan = actions if dreamer.world.action_spec is not None else None
        return dream_long(dreamer, given, frames, prompt=text, actions=plan, seed=seed, cut=True, **sampling)

    return dream


def past_of(dreamer: Dreamer, wanted: int | None = None) -> int:
    """Frames to give before a rollout is judged: what was asked for, what a stepping world looks back on, or two latent frames.

    Raises:
        BadInput: a number that the tokenizer cannot fold.
    """
    if wanted is not None:
        if wanted < 1 or dreamer.usable(wanted) != wanted:
            near = max(1, dreamer.usable(max(wanted, 1)))
            raise BadInput(
                f"World {dreamer.world.name!r} takes 1 + {dreamer.temporal}k given frames; got {wanted}, --given {near} or "
                f"--given {near + dreamer.temporal} would work."
            )
        return wanted
    return int(getattr(dreamer.world.config, "past", 4)) if dreamer.temporal == 1 else 1 + dreamer.temporal


def trained_frames(dreamer: Dreamer) -> int:
    """Frames of the clips that a world was trained on. A stepping one: what it looks back on, the next frame, and what it dreams ahead in
    training (`unroll`), which is what its recipes cut."""
    config = dreamer.world.config
    if isinstance(dreamer.world, SteppingWorld):
        return 1 + dreamer.temporal * (config.reach + config.unroll)
    return chunks(dreamer).whole


def replayable(episodes: Iterable[Episode]) -> bool:
    """Whether every episode was recorded by a simulator of this package, which can therefore repeat it."""
    named = [e.id.rpartition("-") for e in episodes]
    return all(name in sims.SIMS and seed.isdigit() for name, _, seed in named)
