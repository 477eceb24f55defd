"""Statistics of a tokenizer's latents, as published beside it: `mean_std.pt` and `image_mean_std.pt`.

Published diffusion worlds see latents through them, for each channel *and each latent frame* of a clip: `(z - mean) / std`, then times
sigma_data. In a checkpoint folder of ours they lie in config.json (`statistics`); every float32 is written so that it reads back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.store import read_tensors
from armillary.tokenizers.tokenizer import Tokenizer
from armillary.types import LatentStatistics

FILES = {"video": "mean_std.pt", "image": "image_mean_std.pt"}


def read_statistics(path: str | Path, channels: int) -> LatentStatistics:
    """`mean_std.pt`: a pair of tensors, `channels` by latent frames (or flat, or without frames).

    Raises:
        BadInput: for anything else, or a deviation that is not positive.
    """
    held = read_tensors(path)
    pair = list(held.values())
    if len(pair) == 1 and pair[0].ndim and len(pair[0]) == 2:
        pair = list(pair[0])
    elif {"mean", "std"} <= held.keys():
        pair = [held["mean"], held["std"]]
    if len(pair) != 2:
        raise BadInput(f"{path} holds {len(held)} tensors; the mean and the standard deviation of latents are wanted.")
    return make_statistics(pair[0], pair[1], channels, str(path))


def make_statistics(mean: Tensor, std: Tensor, channels: int, where: str) -> LatentStatistics:
    """Checked and shaped `c t`.

    Raises:
        BadInput: when they do not fit so many channels, or are no statistics.
    """
    for value in (mean, std):
        fits = value.numel() and value.numel() % channels == 0 and (value.ndim != 2 or len(value) == channels)
        if not fits or value.shape != mean.shape:
            raise BadInput(
                f"{where}: statistics of shape {tuple(mean.shape)} and {tuple(std.shape)} are not those of {channels} channels."
            )
    mean, std = (v.reshape(channels, -1).float() for v in (mean, std))
    if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise BadInput(f"{where}: a mean is not finite or a deviation not positive.")
    return LatentStatistics(mean, std)


def to_plain(statistics: Mapping[str, LatentStatistics]) -> dict[str, Any]:
    """As JSON."""
    return {kind: {"mean": s.mean.tolist(), "std": s.std.tolist()} for kind, s in statistics.items()}


def of_plain(record: Any, channels: int, where: str) -> dict[str, LatentStatistics]:
    """The inverse of `to_plain`.

    Raises:
        BadInput: when it is not that.
    """
    try:
        pairs = {kind: [torch.tensor(s[k], dtype=torch.float32) for k in ("mean", "std")] for kind, s in (record or {}).items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"{where}: its statistics of latents are damaged.") from error
    return {kind: make_statistics(mean, std, channels, where) for kind, (mean, std) in pairs.items()}


def statistics(tokenizer: Tokenizer, kind: Literal["video", "image"] = "video") -> LatentStatistics:
    """Mean and deviation of the latents a tokenizer makes, as its checkpoint folder holds them.

    Raises:
        BadInput: when it holds none.
    """
    held = of_plain(tokenizer.extra.get("statistics"), tokenizer.config.channels, tokenizer.label)
    if kind not in held:
        raise BadInput(
            f"{tokenizer.label.capitalize()} comes without statistics of {kind} latents ({FILES[kind]} beside the published weights)."
        )
    return held[kind]
