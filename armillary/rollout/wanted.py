"""What a memory plan is made for: a world by any name it has, and a video, without loading a weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from armillary import text, tokenizers, worlds
from armillary.errors import BadInput, did_you_mean
from armillary.presets import from_json
from armillary.store import find_weights, read_json, weights_root
from armillary.tokenizers import TokenizerConfig
from armillary.worlds import WORLDS, Setting, TokenizerRef
from armillary.worlds.autoregressive.world import AutoregressiveConfig, resolve
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.published import empty_network, is_published_world, read_world
from armillary.worlds.diffusion.published_member import MEMBERS, Shape, config_of, objective_of

T5_TOKENS = 512


@dataclass(frozen=True)
class Wanted:
    """Args:
    build: makes the world, or its bare network.
    config: of the world. setting: as it would be.
    tokenizer: `None` where this package has none of that kind.
    frames, size: of the video, in pixels.
    """

    name: str
    build: Callable[[], nn.Module]
    config: Any
    setting: Setting
    tokenizer: TokenizerConfig | None
    frames: int
    size: tuple[int, int]

    @property
    def latents(self) -> tuple[int, int, int]:
        """Latent frames of the whole video, rows, columns."""
        ref = self.setting.tokenizer
        return 1 + -(-(self.frames - 1) // ref.temporal), self.size[0] // ref.spatial, self.size[1] // ref.spatial

    @property
    def at_once(self) -> int:
        """Latent frames that the network sees together."""
        if isinstance(self.config, AutoregressiveConfig):
            return self.config.frames
        return min(self.latents[0], self.config.clip) if isinstance(self.config.network, DiTConfig) else 1

    @property
    def words(self) -> int:
        """Places of a text."""
        if not self.setting.text_dim:
            return 0
        name = self.setting.text.partition("@")[0]
        return text.load(name).length if name in ("hash", "small") else T5_TOKENS


def wanted(name: str, frames: int = 0, size: tuple[int, int] | None = None) -> Wanted:
    """Args:
        name: a line of `worlds.WORLDS` or of the published `MEMBERS`, a shipped name, the folder of a world or an adapter, or published
            weights.
        frames, size: 0 and None for what it was trained on.

    Raises:
        BadInput: no such world (with the nearest name), or a size its tokenizer does not tile.
    """
    if name in WORLDS or name in MEMBERS:
        found = _by_size(name)
    elif is_published_world(name):
        found = _of_shape(name, read_world(name, hashed=False).shape)
    else:
        found = _of_folder(name)
    found = dataclasses.replace(found, frames=frames or found.frames, size=size or found.size)
    return _fitted(found)


def of_world(world: worlds.World, tokenizer: TokenizerConfig, frames: int, size: tuple[int, int]) -> Wanted:
    """Of a world that is loaded."""
    config, setting = world.config, world.setting
    return Wanted(world.name or world.family, lambda: config.build(setting), config, setting, tokenizer, frames, size)


def _fitted(w: Wanted) -> Wanted:
    """The same, when its world can dream that size."""
    ref, asked = w.setting.tokenizer, f"{w.frames} frames of {w.size[0]} x {w.size[1]}"
    if w.frames < 1 or min(w.size) < 1 or w.size[0] % ref.spatial or w.size[1] % ref.spatial:
        raise BadInput(f"World {w.name!r} dreams frames whose height and width are multiples of {ref.spatial}; got {asked}.")
    if w.size != ref.size and isinstance(w.config, AutoregressiveConfig):
        raise BadInput(f"World {w.name!r} reads {ref.size[0]} x {ref.size[1]} pixels and no other size; got {asked}.")
    return w


def _ref(size: str, config: TokenizerConfig, pixels: tuple[int, int]) -> TokenizerRef:
    return TokenizerRef(size, "", config.temporal, config.spatial, config.channels, config.vocab, pixels)


def _by_size(name: str) -> Wanted:
    if name in MEMBERS:
        return _of_shape(name, MEMBERS[name])
    config = WORLDS[name]
    if isinstance(config, AutoregressiveConfig):
        large = bool(config.height)
        size, pixels = ("dv8x16x16", (640, 1024)) if large else ("video-d4x8x8", (64, 64))
        tokenizer = tokenizers.TOKENIZERS[size]
        said = (
            ("t5", config.network.context_dim)
            if config.network.context_dim
            else ("", 0)
            if large
            else ("hash", text.load("hash").dim)
        )
        setting = Setting(_ref(size, tokenizer, pixels), None, *said, 24.0)
        config = resolve(config, setting)
        return Wanted(
            name,
            lambda: config.build(setting),
            config,
            setting,
            tokenizer,
            1 + tokenizer.temporal * (config.frames - 1),
            pixels,
        )
    if isinstance(config.network, DiTConfig) and config.network.patch > 1:
        return _of_shape(name, Shape(config.network), config)
    tokenizer = tokenizers.TOKENIZERS["frame-c8"]
    setting = Setting(_ref("frame-c8", tokenizer, (64, 64)), None, "hash", text.load("hash").dim, 10.0)
    return Wanted(name, lambda: config.build(setting), config, setting, tokenizer, 33, (64, 64))


def _of_shape(name: str, shape: Shape, config: Any = None) -> Wanted:
    """Of the published networks: the first generation on our tokenizer, the later ones on Wan 2.1's, which is not in this package."""
    config = config or config_of(shape, objective_of(shape.network, None))
    pixels, first = (704, 1280), shape.network.absolute or shape.network.sincos
    ref = TokenizerRef("cv8x8x8" if first else "wan2.1", "", 8 if first else 4, 8, shape.channels, 0, pixels)
    frames = 1 if "image" in name else 121 if first else 93
    said = "t5" if shape.text_dim == 1024 else "qwen2.5-vl"
    tokenizer = tokenizers.TOKENIZERS["cv8x8x8"] if first else None
    return Wanted(
        name, lambda: empty_network(shape), config, Setting(ref, None, said, shape.text_dim, 24.0), tokenizer, frames, pixels
    )


def _of_folder(name: str) -> Wanted:
    try:
        path = find_weights(name, "world")
    except BadInput:
        if Path(name).exists():
            raise
        shipped = [p.parent.name for p in weights_root().glob("*/config.json") if read_json(p).get("family") == "world"]
        raise BadInput(did_you_mean("world", name, [*WORLDS, *MEMBERS, *shipped])) from None
    record = read_json(path / "config.json")
    if record.get("family") == "adapter":
        base = record["base"]["name"]
        return _of_folder(str((path / base).resolve()) if base.startswith(".") else base)
    if record.get("family") == "posttrained":  # what is attached is small beside the world
        record = {**record, "family": "world", "config": record["config"]["world"]}
    if record.get("family") != "world":
        raise BadInput(f"{path} holds a {record.get('family')}, not a world.")
    config = from_json(worlds.CONFIGS[record["config"]["kind"]], record["config"])
    setting = from_json(Setting, record["setting"])
    ref = setting.tokenizer
    beside = str(path / ref.name) if ref.name.startswith(".") else ref.name
    clip = getattr(config, "clip", 16) if isinstance(getattr(config, "network", None), DiTConfig) else 16
    frames = 1 + ref.temporal * ((config.frames if isinstance(config, AutoregressiveConfig) else clip) - 1)
    return Wanted(name, lambda: config.build(setting), config, setting, _tokenizer(beside), max(frames, 2), ref.size)


def _tokenizer(name: str) -> TokenizerConfig | None:
    """Of its folder or name; `None` when it is not here."""
    if name in tokenizers.TOKENIZERS:
        return tokenizers.TOKENIZERS[name]
    try:
        return from_json(TokenizerConfig, read_json(find_weights(name, "tokenizer") / "config.json")["config"])
    except (BadInput, KeyError):
        return None
