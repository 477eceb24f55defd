"""What is trained: a tokenizer on pixels, or a world on what a tokenizer says of them.

Each config builds its trainable from the data (which knows actions, text and tokenizer), may change a knob as the run goes on, and
saves the result as a checkpoint folder that `tokenizers.load` or `worlds.load` reads.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from einops import rearrange
from torch import Tensor, nn

from armillary import features, presets, tokenizers, worlds
from armillary.data.base import Dataset, Encoded
from armillary.errors import BadInput, lookup
from armillary.tokenizers.calibrate import calibrate
from armillary.tokenizers.objective import ObjectiveConfig, TokenizerObjective
from armillary.worlds.autoregressive.world import AutoregressiveWorld
from armillary.worlds.base import Setting, World
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.grow import grow

FITTING_WINDOWS, FITTING_CLIPS = 512, 24
# The parameters that latents depend on.
ENCODING = ("encoder.", "quant_conv.", "shortcut.analyse.")


@dataclass(frozen=True)
class TokenizerRun:
    """A tokenizer.

    Args:
        size: a line of `tokenizers.TOKENIZERS`; with `start`, empty or the same size.
        start: a shipped name or checkpoint folder to go on from, empty for random weights.
        overrides: changes to the size, as `width=48`.
        objective: its loss.
        features: a name of `armillary.features.FEATURES` that the perceptual and Gram terms see by, empty without such terms;
            features_path: its weights, where they are not shipped.
        freeze: `encoder` trains only what draws the pixels, so that worlds go on understanding the latents.
    """

    size: str = "frame-c8"
    start: str = ""
    overrides: tuple[str, ...] = ()
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    features: str = ""
    features_path: str = ""
    freeze: Literal["", "encoder"] = ""

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: the data are no pixels, or their windows do not suit the tokenizer."""
        if "video" not in data.fields:
            raise BadInput("A tokenizer learns from pixels; give it episodes or clips, not latents.")
        config = (
            presets.override(lookup(tokenizers.TOKENIZERS, self.size, "tokenizer size"), self.overrides) if self.size else None
        )
        if self.start:
            tokenizer = tokenizers.load(self.start).requires_grad_(True)
            if config is not None and config != tokenizer.config:
                raise BadInput(
                    f"{self.start!r} is not of size {self.size!r} with {list(self.overrides)}. Leave model.size empty to go on from it."
                )
        elif config is not None:
            tokenizer = tokenizers.build(config)
        else:
            raise BadInput("A tokenizer run wants model.size or model.start.")
        temporal, spatial = tokenizer.config.temporal, tokenizer.config.spatial
        if (data.frames - 1) % temporal or data.size[0] % spatial or data.size[1] % spatial:
            raise BadInput(
                f"This tokenizer takes 1 + {temporal} x k frames whose sides are multiples of {spatial}; "
                f"the data give windows of {data.frames} frames of {data.size}."
            )
        if not self.start and tokenizer.shortcut is not None and tokenizer.vocab:
            calibrate(tokenizer, fitting_video(data))
        if self.freeze == "encoder":
            if not self.start:
                raise BadInput("model.freeze keeps a trained encoder; without model.start there is none.")
            for name, parameter in tokenizer.named_parameters():
                parameter.requires_grad_(not name.startswith(ENCODING))
        seen_by = features.load(self.features, self.features_path) if self.features else None
        return TokenizerObjective(tokenizer, self.objective, seen_by)

    def at(self, model: nn.Module, done: float) -> None:
        """Nothing changes as the run goes on."""

    def save(self, model: nn.Module, folder: Path, extra: Mapping[str, Any]) -> None:
        assert isinstance(model, TokenizerObjective)
        facts = dict(extra)
        if self.freeze == "encoder":  # whose latents these are, for the worlds that know them
            start = tokenizers.load(self.start)
            facts["encoder_of"] = start.extra.get("encoder_of", start.sha256)
        tokenizers.save(model.tokenizer, folder, extra=facts)


def fitting_video(data: Dataset) -> Tensor:
    """Clips of the training data for what is fitted before the first step, `b 3 t h w`; each view counts as a clip."""
    batch = data.batch(0, FITTING_CLIPS, 0)
    assert batch.video is not None
    return rearrange(batch.video, "b c (v t) h w -> (b v) c t h w", v=batch.views)


@dataclass(frozen=True)
class WorldRun:
    """A world. Its tokenizer, text encoder, actions and rate are those of the data (`LatentsConfig`).

    Args:
        size: a line of `worlds.WORLDS`; with `start`, empty.
        start: a shipped name or checkpoint folder to go on from (post-training), empty for random weights.
        overrides: changes to the size, as `past=2` or `network.dropout=0.1`; of a start, what may change without a weight being lost, as
            `frames=9` or `network.block=8` of an autoregressive one, `clip=16` or `network.given=true` of a diffusion one.
        unroll_prob: share of the steps that push forward through the world's own dreams, for worlds that can.
        unroll_from: share of the run after which that begins; it rises to the whole over a tenth of the run.
        lora: rank of low-rank adapters that are trained instead of the weights of `start`; 0 trains those. What is kept is a folder of
            the adapters alone, which names `start`.
        lora_alpha: they count `lora_alpha / lora`; 0 for `lora`. lora_targets: patterns of the layers that have one, by default
            `worlds.adapters.TARGETS`.
    """

    size: str = "unet-nano"
    start: str = ""
    overrides: tuple[str, ...] = ()
    unroll_prob: float = 0.0
    unroll_from: float = 0.3
    lora: int = 0
    lora_alpha: float = 0.0
    lora_targets: tuple[str, ...] = ()

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: the data are pixels, or a start was trained on another tokenizer, other actions or other text."""
        if not isinstance(data, Encoded):
            raise BadInput("A world learns from latents or tokens; wrap the data in LatentsConfig(source, tokenizer).")
        if self.start:
            if self.size:
                raise BadInput("A world that goes on from another keeps its size: leave model.size empty.")
            world = self._grown(worlds.load(self.start), data)
            if getattr(world.config, "few", None) is not None:
                raise BadInput(
                    f"World {self.start!r} is distilled to {world.config.few.told()} and answers where it lands, not what is likely; "
                    f"go on from its teacher {world.config.few.teacher!r}."
                )
            self._check_start(world, data)
            # Its own normalisers stay; the tokenizer may be one that only draws the same latents differently.
            world.setting = dataclasses.replace(world.setting, tokenizer=data.ref)
        else:
            config = presets.override(lookup(worlds.WORLDS, self.size, "world size"), self.overrides)
            setting = Setting(tokenizer=data.ref, actions=data.spec, text=data.text, text_dim=data.text_dim, fps=data.fps)
            world = worlds.build(config, setting)
            world.fit_normaliser(data.sample(min(FITTING_WINDOWS, len(data))))
        if "padding" in data.fields and not getattr(getattr(world.config, "network", None), "padding", False):
            raise BadInput(
                f"The data show whole pictures with their mirror image around them. World {self.size or self.start!r} cannot be told and "
                "would dream such edges: set the clips' whole to false."
            )
        if data.views != getattr(world.config, "views", 1):
            raise BadInput(
                f"The data show {data.views} views at once; world {self.size or self.start!r} takes {getattr(world.config, 'views', 1)}. "
                "Name fewer in the data's views."
            )
        if self.unroll_prob and not hasattr(world, "unroll_prob"):
            raise BadInput(f"World {self.size or self.start!r} does not push forward; leave model.unroll_prob at 0.")
        return self._adapted(world) if self.lora else world

    def _adapted(self, world: World) -> worlds.Adapted:
        if not self.start:
            raise BadInput("model.lora adapts a trained world; without model.start there is none.")
        if world.adapters:
            raise BadInput(
                f"{self.start!r} is an adapter itself. `armillary convert {self.start} --out MERGED` makes weights of it to start from."
            )
        return worlds.Adapted(world, self.lora, self.lora_alpha or None, self.lora_targets)

    def _grown(self, world: World, data: Encoded) -> World:
        """The start with other settings; an autoregressive one also with text, where it read none and the data carry some."""
        told = bool(data.text) and not world.setting.text
        if isinstance(world, AutoregressiveWorld) and (self.overrides or told):
            more = {"text": data.text, "text_dim": data.text_dim} if told else {}
            return world.grown(self.overrides, dataclasses.replace(world.setting, **more))
        if self.overrides and isinstance(world, DiffusionWorld):
            return grow(world, self.overrides)
        return world

    def _check_start(self, world: World, data: Encoded) -> None:
        """The tokenizer must be the same weights; actions and text must mean the same."""
        same = (data.ref.sha256, tokenizers.load(data.ref.name).extra.get("encoder_of"))
        if world.tokenizer.sha256 not in same:
            raise BadInput(
                f"World {self.start!r} was trained on tokenizer {world.tokenizer.name!r} ({world.tokenizer.sha256[:12]}); the data "
                f"are encoded with {data.ref.name!r} ({data.ref.sha256[:12]})."
            )
        if (world.action_spec is None) != (data.spec is None):
            raise BadInput(
                f"World {self.start!r} {'takes no' if world.action_spec is None else 'takes'} actions; the data differ."
            )
        # The data's own normaliser does not count: actions reach a world raw, and it keeps the one it was trained with.
        differing = [] if world.action_spec is None or data.spec is None else world.action_spec.differences(data.spec)
        if differing := [d for d in differing if not d.startswith(("mean:", "std:"))]:
            raise BadInput(f"The actions of world {self.start!r} differ from the data's: {'; '.join(differing)}.")
        if (world.setting.text, world.setting.text_dim) != (data.text, data.text_dim):
            raise BadInput(f"World {self.start!r} reads text encoder {world.setting.text!r}; the data carry {data.text!r}.")

    def at(self, model: nn.Module, done: float) -> None:
        """Raise the share of pushed-forward steps: from its own errors a world can learn only once it predicts a little."""
        if self.unroll_prob:
            model.unroll_prob = self.unroll_prob * min(1.0, max(0.0, (done - self.unroll_from) / 0.1))  # type: ignore[assignment]

    def save(
        self, model: nn.Module, folder: Path, extra: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """The tokenizer is named relative to `folder`, so that both can be moved together; a shipped one by its name.

        Of adapters the world they belong to is.
        """
        if isinstance(model, worlds.Adapted):
            start = Path(self.start)
            model.save(folder, relative_name(str(start.resolve()) if start.is_dir() else self.start, folder), extra, tensors)
            return
        assert isinstance(model, World)
        before, ref = model.setting, model.tokenizer
        try:
            model.setting = dataclasses.replace(
                before, tokenizer=dataclasses.replace(ref, name=relative_name(ref.name, folder))
            )
            worlds.save(model, folder, tensors, extra=extra)
        finally:
            model.setting = before


def relative_name(name: str, folder: Path) -> str:
    """A folder as seen from `folder`, beginning with a point; a bare name stays."""
    if not Path(name).is_absolute():
        return name
    relative = Path(os.path.relpath(Path(name).resolve(), folder.resolve())).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"
