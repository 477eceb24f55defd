"""A world in the form the evaluation asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from armillary import sims
from armillary.evaluate.rollouts import Dream
from armillary.rollout.dreamer import Dreamer
from armillary.types import Episode


def as_dream(dreamer: Dreamer, steps: int, **sampling: Any) -> Dream:
    """Given frames, actions, text and a seed to `steps` further frames; actions are dropped for a world without."""

    def dream(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
        plan = actions if dreamer.world.action_spec is not None else None
        return dreamer.dream(
            given[-dreamer.usable(len(given)) :], steps, prompt=text, actions=plan, seed=seed, cut=True, **sampling
        )

    return dream


def past_of(dreamer: Dreamer) -> int:
    """Frames to give before a rollout is judged: what a stepping world looks back on, or two latent frames."""
    return int(getattr(dreamer.world.config, "past", 4)) if dreamer.temporal == 1 else 1 + dreamer.temporal


def replayable(episodes: Iterable[Episode]) -> bool:
    """Whether every episode was recorded by a simulator of this package, which can therefore repeat it."""
    named = [e.id.rpartition("-") for e in episodes]
    return all(name in sims.SIMS and seed.isdigit() for name, _, seed in named)
