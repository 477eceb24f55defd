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
from armillary.tokenizers.published import PUBLISHED, from_published, read_published
from armillary.tokenizers.sizes import SMALL
from armillary.tokenizers.tokenizer import Stream, Tokenizer

TOKENIZERS: dict[str, TokenizerConfig] = {**SMALL, **PUBLISHED}

__all__ = [
    "TOKENIZERS",
    "Autoencoder",
    "ObjectiveConfig",
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
]


def build(name_or_config: str | TokenizerConfig) -> Tokenizer:
    """A fresh tokenizer; its weights come from torch's global generator (`torch.manual_seed`).

    Raises:
        BadInput: for a name that is in no table.
    """
    config = lookup(TOKENIZERS, name_or_config, "tokenizer") if isinstance(name_or_config, str) else name_or_config
    return Tokenizer(config)


def load(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Tokenizer:
    """A trained tokenizer from a shipped name or a checkpoint folder, in eval mode and without gradients.

    Raises:
        BadInput: when there is none, or its weights are not those its config names.
    """
    folder = store.load_folder(store.find_weights(name_or_folder, "tokenizer"), "tokenizer")
    with torch.device("meta"):
        tokenizer = Tokenizer(from_json(TokenizerConfig, folder.config))
    tokenizer.to_empty(device="cpu").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    folder.load_into(tokenizer)
    tokenizer.name, tokenizer.sha256, tokenizer.extra = str(name_or_folder), folder.sha256, dict(folder.extra)
    return tokenizer.to(device).eval().requires_grad_(False)


def adopt(path: str | Path, size: str) -> Tokenizer:
    """A tokenizer with published weights (`.safetensors` or `.pt`), to be used or saved as a checkpoint folder of ours.

    Args:
        size: its line of `TOKENIZERS`, e.g. `cv8x8x8`.

    Raises:
        BadInput: when the file does not hold exactly the weights of that size.
    """
    config = lookup(TOKENIZERS, size, "tokenizer")
    tensors = read_published(path, config)
    with torch.device("meta"):
        tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(tensors, strict=True, assign=True)
    return tokenizer.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


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
