"""Tokenizers: one autoencoder, continuous or FSQ, from laptop sizes to the published ones.

>>> tokenizer = tokenizers.load("frame-c8")
>>> latents = tokenizer.encode(video)        # video: float b 3 t h w in [-1, 1]
>>> video = tokenizer.decode(latents)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armillary import store
from armillary.errors import lookup
from armillary.presets import from_json
from armillary.tokenizers.autoencoder import Autoencoder, TokenizerConfig
from armillary.tokenizers.objective import ObjectiveConfig, TokenizerObjective
from armillary.tokenizers.published import Published, is_published, read_published
from armillary.tokenizers.published_keys import from_published, to_published
from armillary.tokenizers.published_member import PUBLISHED
from armillary.tokenizers.published_statistics import statistics, to_plain
from armillary.tokenizers.sizes import SMALL
from armillary.tokenizers.stream import Stream
from armillary.tokenizers.tokenizer import Tokenizer

TOKENIZERS: dict[str, TokenizerConfig] = {**SMALL, **PUBLISHED}

__all__ = [
    "TOKENIZERS",
    "Autoencoder",
    "ObjectiveConfig",
    "Published",
    "Stream",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerObjective",
    "adopt",
    "build",
    "from_published",
    "load",
    "read_published",
    "save",
    "statistics",
    "to_published",
]


def build(name_or_config: str | TokenizerConfig) -> Tokenizer:
    """A fresh tokenizer; its weights come from torch's global generator (`torch.manual_seed`).

    Raises:
        BadInput: for a name that is in no table.
    """
    config = lookup(TOKENIZERS, name_or_config, "tokenizer") if isinstance(name_or_config, str) else name_or_config
    return Tokenizer(config)


def load(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Tokenizer:
    """A trained tokenizer from a shipped name, a checkpoint folder or published weights, in eval mode and without gradients.

    Raises:
        BadInput: when there is none, or its weights are not those its config names.
    """
    if is_published(name_or_folder):
        return adopt(name_or_folder).to(device)
    folder = store.load_folder(store.find_weights(name_or_folder, "tokenizer"), "tokenizer")
    tokenizer = _empty(from_json(TokenizerConfig, folder.config))
    folder.load_into(tokenizer)
    tokenizer.name, tokenizer.sha256, tokenizer.extra = str(name_or_folder), folder.sha256, dict(folder.extra)
    return tokenizer.to(device).eval().requires_grad_(False)


def adopt(path: str | Path, size: str = "", legacy: bool = False) -> Tokenizer:
    """A tokenizer with published weights (see `published` for the forms), to be used or saved as a checkpoint folder of ours.

    Args:
        size: its line of `TOKENIZERS`, e.g. `cv8x8x8`; found when empty.
        legacy: it is from before September 2024, where its tensors do not tell.

    Raises:
        BadInput: when the file does not hold exactly the weights of that size, or of any.
    """
    held = read_published(path, lookup(TOKENIZERS, size, "tokenizer") if size else "", legacy)
    tokenizer = _empty(held.config)
    tokenizer.load_state_dict(dict(held.tensors), strict=True)
    tokenizer.name, tokenizer.sha256 = str(path), held.sha256
    tokenizer.extra = {"source": held.source}
    if held.statistics:
        tokenizer.extra["statistics"] = to_plain(held.statistics)
    return tokenizer.eval().requires_grad_(False)


def _empty(config: TokenizerConfig) -> Tokenizer:
    """A tokenizer whose weights are not yet set."""
    with torch.device("meta"):
        tokenizer = Tokenizer(config)
    return tokenizer.to_empty(device="cpu").to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save(
    tokenizer: Tokenizer,
    folder: str | Path,
    tensors: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder that `load` reads.

    Args:
        tensors: other weights than the tokenizer's own, e.g. their moving average.
        extra: further JSON-able facts, e.g. how it was trained and what it reaches.
    """
    own = tokenizer.state_dict()
    return store.save_folder(
        folder, family="tokenizer", config=tokenizer.config, tensors=own if tensors is None else tensors, extra=extra
    )
