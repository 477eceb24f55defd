"""`armillary convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def convert(
    src: str,
    /,
    *,
    out: Path,
    layout: Annotated[Literal["armillary", "diffusers", "model-pt"], tyro.conf.arg(name="as")] = "armillary",
    size: str = "",
    legacy: bool = False,
) -> dict[str, Any]:
    """Published tokenizer weights to a checkpoint folder, and back. Nothing in them is unpickled or run; weights stay bit for bit.

    Example: armillary convert Cosmos-Tokenize1-CV8x8x8-720p --out cv8x8x8

    Args:
        src: a published folder or file (model.pt, encoder.jit with decoder.jit, autoencoder.jit, .safetensors, a diffusers vae), or a
            shipped name or checkpoint folder.
        out: a new folder.
        layout: armillary, what every verb takes as --tokenizer; diffusers, a folder of AutoencoderKLCosmos; model-pt, NVIDIA's.
        size: the member of the family it is, e.g. cv8x8x8 (`armillary info` lists them); found in the weights when empty.
        legacy: the weights are from before September 2024; only needed where they do not tell.
    """
    from armillary.tokenizers.published_write import read_any, write

    held = read_any(src, size, legacy)
    written = write(held, out, layout)
    return {
        "out": str(written),
        "as": layout,
        "tokenizer": held.member,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "precision": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.tensors.values()})),
        "source": held.source["files"],
        "statistics": {kind: f"{s.mean.shape[1]} latent frames" for kind, s in held.statistics.items()},
        "unused tensors left out": len(held.unused),
    }
