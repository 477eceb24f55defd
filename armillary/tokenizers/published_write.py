"""A tokenizer written in another layout: a checkpoint folder of ours, NVIDIA's `model.pt`, or diffusers' folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from armillary import store
from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.tokenizers.autoencoder import TokenizerConfig
from armillary.tokenizers.published import Published, is_published, read_published
from armillary.tokenizers.published_diffusers import DIFFUSERS, to_config
from armillary.tokenizers.published_keys import to_diffusers, to_published
from armillary.tokenizers.published_statistics import FILES, of_plain, to_plain

Layout = Literal["armillary", "diffusers", "model-pt"]


def read_any(path: str | Path, size: str = "", legacy: bool = False) -> Published:
    """A tokenizer from a published file or folder, or from a shipped name or checkpoint folder of ours; weights bit for bit.

    Raises:
        BadInput: when it is none, is damaged, or is of another member than `size` says.
    """
    if is_published(path):
        return read_published(path, size, legacy)
    folder = store.load_folder(store.find_weights(path, "tokenizer"), "tokenizer")
    config = from_json(TokenizerConfig, folder.config)
    if size or legacy:
        raise BadInput(f"{folder.path} is a checkpoint folder and says itself what it is; leave size and legacy out.")
    statistics = of_plain(folder.extra.get("statistics"), config.channels, str(folder.path))
    files = (("model.safetensors", folder.sha256),)
    return Published(folder.path, files, config, folder.tensors, statistics=statistics)


def write(tokenizer: Published, out: str | Path, layout: Layout) -> Path:
    """Write it as a folder.

    Args:
        out: a new folder.
        layout: `armillary`: config.json and model.safetensors; `model-pt`: model.pt in the published layout, with mean_std.pt;
            `diffusers`: config.json and diffusion_pytorch_model.safetensors of an AutoencoderKLCosmos.

    Raises:
        BadInput: when `out` is there already, or the layout has no place for this tokenizer.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists; name a new folder, nothing is overwritten.")
    if layout == "armillary":
        extra: dict[str, Any] = {"source": tokenizer.source}
        if tokenizer.statistics:
            extra["statistics"] = to_plain(tokenizer.statistics)
        return store.save_folder(out, family="tokenizer", config=tokenizer.config, tensors=tokenizer.tensors, extra=extra)
    theirs = to_published(tokenizer.tensors, tokenizer.config)
    if layout == "diffusers":
        return _write_diffusers(tokenizer, theirs, out)
    with store.atomic_dir(out) as temporary:
        # Their code reads nothing else. The file holds a dict of tensors; whoever loads it needs no more than weights_only=True.
        torch.save(theirs, temporary / "model.pt")
        for kind, held in tokenizer.statistics.items():
            torch.save((held.mean, held.std), temporary / FILES[kind])
    return out


def _write_diffusers(tokenizer: Published, theirs: Mapping[str, Tensor], out: Path) -> Path:
    from safetensors.torch import save_file

    config = to_config(tokenizer.config, tokenizer.statistics.get("video"))
    with store.atomic_dir(out) as temporary:
        weights = temporary / DIFFUSERS[0]
        save_file(to_diffusers(theirs, tokenizer.config), weights, {"format": "pt"})
        weights.chmod(0o644)  # safetensors makes it readable to its owner alone
        store.write_json(temporary / "config.json", config)
    return out
