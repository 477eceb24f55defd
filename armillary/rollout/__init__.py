"""Rolling a world out: a video from a prompt, an image, a video or actions; and the world as an environment."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:  # torch is loaded when something is dreamed, not when Gymnasium collects its plugins
    if name in ("Dreamer",):
        from armillary.rollout.dreamer import Dreamer

        return Dreamer
    if name in ("WorldEnv",):
        from armillary.rollout.env import WorldEnv

        return WorldEnv
    raise AttributeError(f"module 'armillary.rollout' has no attribute {name!r}")
