"""A world and its exact twin, in the form the evaluation asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from armillary import sims
from armillary.errors import BadInput
from armillary.evaluate.rollouts import Dream
from armillary.rollout.dreamer import Dreamer
from armillary.types import Episode


def as_dream(dreamer: Dreamer, steps: int, **sampling: Any) -> Dream:
    """Given frames, actions, text and a seed to `steps` further frames; actions are dropped for a world without."""

    def dream(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
        plan = actions if dreamer.world.action_spec is not None else None
        return dreamer.dream(given[-dreamer.usable(len(given)) :], steps, prompt=text, actions=plan, seed=seed, **sampling)

    return dream


def past_of(dreamer: Dreamer) -> int:
    """Frames to give before a rollout is judged: what a stepping world looks back on, or two latent frames."""
    return int(getattr(dreamer.world.config, "past", 4)) if dreamer.temporal == 1 else 1 + dreamer.temporal


def replayable(episodes: Iterable[Episode]) -> bool:
    """Whether every episode was recorded by a simulator of this package, which can therefore repeat it."""
    return all(_origin(e) is not None for e in episodes)


def _origin(episode: Episode) -> tuple[str, int] | None:
    name, _, seed = episode.id.rpartition("-")
    return (name, int(seed)) if name in sims.SIMS and seed.isdigit() else None


def twin(episode: Episode, actions: np.ndarray) -> Mapping[str, np.ndarray]:
    """Truth arrays of `episode`'s own world, reset as it was, acted on by `actions` `t a` instead; first axis t.

    Raises:
        BadInput: the episode was not recorded by a simulator of this package.
    """
    origin = _origin(episode)
    if origin is None:
        raise BadInput(f"Episode {episode.id!r} is not one of a simulator's; only those can be replayed.")
    sim = sims.make(origin[0])
    sim.reset(origin[1])
    truth: dict[str, list[np.ndarray]] = {}
    for action in actions:
        for key, value in sim.truth().items():
            truth.setdefault(key, []).append(value)
        sim.step(np.asarray(action, np.float32))
    return {key: np.stack(values) for key, values in truth.items()}
