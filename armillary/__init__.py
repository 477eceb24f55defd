"""Armillary: world models for physical AI. Raw video goes in; a world that a policy can step comes out.

Importing this package loads no torch and no Gymnasium, touches no disk and no network; it makes `gymnasium.make("armillary/...")`
work. `armillary.generate`, `armillary.verbs.<verb>` and the rooms (`armillary.tokenizers`, `armillary.worlds`, ...) load when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from armillary.rollout.registry import announce

__version__ = "0.1.0"

_ROOMS = frozenset(
    "cli conditioning curate data errors evaluate guard media nn parallel presets progress recipes rollout serve shards sims store "
    "text tokenizers train types verbs worlds".split()
)
# Verbs whose name is no room's; `armillary.verbs` holds all of them.
_VERBS = frozenset({"demo", "doctor", "info", "sim", "tokenize"})


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"armillary.{name}")
    if name == "generate":
        return importlib.import_module("armillary.rollout.generate").generate
    if name in _VERBS:
        return getattr(importlib.import_module("armillary.verbs"), name)
    raise AttributeError(f"module 'armillary' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", "generate", *_ROOMS, *_VERBS})


announce()
