"""The ids Gymnasium learns from this package.

Gymnasium 1.4 no longer collects plugins by entry point, and importing it takes longer than this whole package may. So the ids are
registered at once when Gymnasium is already there, and otherwise the moment somebody imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

IDS: dict[str, tuple[str, dict[str, str]]] = {
    "armillary/Tabletop-v0": ("armillary.rollout.env:WorldEnv", {}),
    "armillary/Tabletop-sim-v0": ("armillary.sims.gym:SimEnv", {}),
    "armillary/TabletopGripper-sim-v0": ("armillary.sims.gym:SimEnv", {"sim": "tabletop-gripper"}),
    "armillary/TabletopGripperJoints-sim-v0": ("armillary.sims.gym:SimEnv", {"sim": "tabletop-gripper-joints"}),
    "armillary/Physics-sim-v0": ("armillary.sims.gym:SimEnv", {"sim": "physics"}),
    "armillary/Rooms-sim-v0": ("armillary.sims.gym:SimEnv", {"sim": "rooms", "camera": "eye"}),
    "armillary/Driving-sim-v0": ("armillary.sims.gym:SimEnv", {"sim": "driving"}),
}


def register() -> None:
    """Register the dream and the exact simulators with Gymnasium."""
    from gymnasium.envs import registration

    for name, (entry, given) in IDS.items():
        if name not in registration.registry:
            registration.register(id=name, entry_point=entry, max_episode_steps=200, kwargs=dict(given))


def announce() -> None:
    """Register now, or as soon as Gymnasium is imported."""
    if "gymnasium" in sys.modules:
        register()
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    """Finds Gymnasium as Python itself would, and has the ids registered once it is loaded; then takes itself away."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(Loader):
    """A loader that registers after the load."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader  # from here on the module is as Python itself would have made it
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        register()
