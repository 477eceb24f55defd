"""The folder of diffusers' `AutoencoderKLCosmos`: its config.json, and ours.

It knows continuous video tokenizers alone, without the `legacy` switch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from armillary.errors import BadInput
from armillary.store import read_json
from armillary.tokenizers.autoencoder import TokenizerConfig
from armillary.tokenizers.published_statistics import make_statistics
from armillary.types import LatentStatistics

DIFFUSERS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json")
CLASS = "AutoencoderKLCosmos"
PATCHERS = {"haar": "haar", "rearrange": "shuffle"}
# What diffusers takes when its config.json does not say.
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "encoder_block_out_channels": [128, 256, 512, 512],
    "decode_block_out_channels": [256, 512, 512, 512],
    "attention_resolutions": [32],
    "resolution": 1024,
    "num_layers": 2,
    "patch_size": 4,
    "patch_type": "haar",
    "scaling_factor": 1.0,
    "spatial_compression_ratio": 8,
    "temporal_compression_ratio": 8,
}


def config_of(path: Path) -> TokenizerConfig:
    """The config that diffusers' config.json stands for.

    Raises:
        BadInput: when it is of another class, or of a network that this package has not.
    """
    record = read_json(path)
    kind = record.get("_class_name") if isinstance(record, dict) else None
    if kind != CLASS:
        raise BadInput(f"{path} describes {kind or 'nothing'}; an {CLASS} is wanted.")
    it = DEFAULTS | {k: v for k, v in record.items() if k in DEFAULTS}
    encoder, decoder = it["encoder_block_out_channels"], it["decode_block_out_channels"]
    numbers = [
        it[k]
        for k in ("latent_channels", "num_layers", "patch_size", "spatial_compression_ratio", "temporal_compression_ratio")
    ]
    lists = [v for v in (encoder, decoder) if isinstance(v, list) and len(v) > 1]
    if len(lists) != 2 or not all(type(n) is int and n > 0 for n in (*numbers, *encoder, *decoder)):
        raise BadInput(f"{path}: widths and compressions are whole positive numbers, at least one level each.")
    width = encoder[0]
    foreign = {
        "three channels in and out": (it["in_channels"], it["out_channels"]) != (3, 3),
        "a scaling factor of 1": it["scaling_factor"] != 1.0,
        "a patch_type of haar or rearrange": it["patch_type"] not in PATCHERS,
        "levels that are whole multiples of the first width": any(w % width for w in (*encoder, *decoder)),
        "the decoder's last two widths alike": decoder[-1] != decoder[-2],
    }
    if any(foreign.values()):
        raise BadInput(f"{path}: this package reads an {CLASS} with {', '.join(k for k, v in foreign.items() if v)}.")
    mult, ups = (tuple(w // width for w in widths) for widths in (encoder[1:], decoder[:-1]))
    return TokenizerConfig(
        temporal=it["temporal_compression_ratio"],
        spatial=it["spatial_compression_ratio"],
        channels=it["latent_channels"],
        z=it["latent_channels"],
        patch=it["patch_size"],
        patcher=PATCHERS[it["patch_type"]],  # type: ignore[arg-type]
        width=width,
        mult=mult,
        decoder_mult=() if ups == mult else ups,
        blocks=it["num_layers"],
    )


def statistics_of(path: Path, channels: int) -> dict[str, LatentStatistics]:
    """`latents_mean` and `latents_std`, a number for each channel and latent frame. Nothing when they are not written: what diffusers
    takes then are those of one certain checkpoint, and these weights may be of another."""
    record = read_json(path)
    mean, std = record.get("latents_mean"), record.get("latents_std")
    if mean is None or std is None:
        return {}
    try:
        pair = [torch.tensor(v, dtype=torch.float32) for v in (mean, std)]
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path}: latents_mean and latents_std are lists of numbers.") from error
    return {"video": make_statistics(pair[0], pair[1], channels, str(path))}


def to_config(config: TokenizerConfig, statistics: LatentStatistics | None) -> dict[str, Any]:
    """The config.json that makes diffusers build this network.

    Raises:
        BadInput: for a tokenizer that it cannot build, saying why.
    """
    foreign = {
        "is of images": not config.video,
        "is discrete": bool(config.levels),
        "doubles time early (legacy)": config.legacy,
        "has another width at its waist than in its latents": config.z != config.channels,
    }
    if any(foreign.values()):
        raise BadInput(f"diffusers has no class for this tokenizer: it {' and '.join(k for k, v in foreign.items() if v)}.")
    widths = [config.width * m for m in config.mult]
    ups = [config.width * m for m in (config.decoder_mult or config.mult)]
    return DEFAULTS | {
        "_class_name": CLASS,
        "latent_channels": config.channels,
        "encoder_block_out_channels": [config.width, *widths],
        "decode_block_out_channels": [*ups, ups[-1]],
        "num_layers": config.blocks,
        "patch_size": config.patch,
        "patch_type": {v: k for k, v in PATCHERS.items()}[config.patcher],
        "spatial_compression_ratio": config.spatial,
        "temporal_compression_ratio": config.temporal,
        "latents_mean": statistics.mean.flatten().tolist() if statistics else None,
        "latents_std": statistics.std.flatten().tolist() if statistics else None,
    }
