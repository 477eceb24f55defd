"""The ids Gymnasium learns from this package's entry point; importing this costs nothing until `gymnasium.make`."""

from __future__ import annotations


def register() -> None:
    """Register the dream and its exact twin. Called by Gymnasium when it collects plugins."""
    from gymnasium.envs.registration import register, registry

    for name, entry in (
        ("armillary/Tabletop-v0", "armillary.rollout.env:WorldEnv"),
        ("armillary/Tabletop-sim-v0", "armillary.sims.gym:SimEnv"),
    ):
        if name not in registry:
            register(id=name, entry_point=entry, max_episode_steps=200)
