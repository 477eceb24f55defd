"""Worlds: what comes next, given what was seen and what is done.

`build(name, setting)` makes one from the table `WORLDS`, `save` and `load` keep it in a checkpoint folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from armillary.errors import BadInput, lookup
from armillary.nn.lora import FAMILY as ADAPTER
from armillary.nn.lora import Base
from armillary.presets import from_json
from armillary.store import find_weights, load_folder, read_json, save_folder
from armillary.worlds.adapters import Adapted, put_on
from armillary.worlds.autoregressive.world import AUTOREGRESSIVE, AutoregressiveConfig
from armillary.worlds.base import Setting, TokenizerRef, World
from armillary.worlds.diffusion.world import DIFFUSION, DiffusionConfig

# A size is one line in its family's table.
WORLDS: dict[str, DiffusionConfig | AutoregressiveConfig] = {**DIFFUSION, **AUTOREGRESSIVE}
CONFIGS = {c.__name__: c for c in (DiffusionConfig, AutoregressiveConfig)}

__all__ = ["WORLDS", "Adapted", "Setting", "TokenizerRef", "World", "build", "load", "save"]


def build(name_or_config: str | DiffusionConfig | AutoregressiveConfig, setting: Setting) -> World:
    """A new world with random weights.

    Args:
        name_or_config: a line of `WORLDS`, or a config of one's own.
    """
    config = lookup(WORLDS, name_or_config, "world size") if isinstance(name_or_config, str) else name_or_config
    return config.build(setting)


def save(
    world: World, folder: str | Path, tensors: Mapping[str, Any] | None = None, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint folder; `tensors` replaces the world's own state (an average of it, say)."""
    facts = {"setting": world.setting, **dict(extra or {})}
    return save_folder(folder, family="world", config=world.config, tensors=tensors or world.state_dict(), extra=facts)


def load(name_or_folder: str | Path, dtype: torch.dtype | None = torch.float32, adapters: Sequence[str | Path] = ()) -> World:
    """A world from a shipped name or a checkpoint folder, in evaluation mode, on the CPU.

    Args:
        name_or_folder: also the folder of an adapter, which names the world it belongs to.
        adapters: folders of adapters of this world, added to its weights one after the other; `world.adapters` says which.
        dtype: of its weights; `None` leaves them as they lie in the file, and there until they are used, so that memory
            holds what it needs of them once.

    Raises:
        BadInput: no such name (with the nearest), no such folder, weights that do not fit, or an adapter of another world.
    """
    path = find_weights(name_or_folder, "world")
    record = read_json(path / "config.json")
    if isinstance(record, dict) and record.get("family") == ADAPTER:
        return load(_beside(path, from_json(Base, record["base"]).name), dtype, (path, *adapters))
    folder = load_folder(path, "world")
    kind = str(folder.config.get("kind"))
    if kind not in CONFIGS:
        raise BadInput(
            f"{folder.path} holds a world of kind {kind!r}, which this version does not know ({', '.join(CONFIGS)})."
        )
    setting = from_json(Setting, folder.extra["setting"])
    ref = setting.tokenizer
    setting = dataclasses.replace(setting, tokenizer=dataclasses.replace(ref, name=_beside(folder.path, ref.name)))
    config = from_json(CONFIGS[kind], folder.config)
    with torch.device("meta"):
        world = config.build(setting)
    folder.load_into(world, assign=True)
    if dtype is not None:
        # A copy even where the type is the same: a file's tensors do not begin where kernels are fastest, and round otherwise.
        for held in (*world.parameters(), *world.buffers()):
            held.data = held.data.to(dtype, copy=True)
    world.name, world.sha256 = folder.path.name, folder.sha256
    return put_on(world, adapters).eval()


def _beside(folder: Path, name: str) -> str:
    """A name that begins with a point is that of a neighbour of `folder`; any other stays."""
    return str((folder / name).resolve()) if name.startswith(".") else name
