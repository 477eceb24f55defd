"""Weights in the published layout: their keys, turned into ours and back again by rule, strictly.

Both published repositories' layouts are read. A key of theirs becomes one of ours by dropping wrappers (`.conv3d`, `.norm` around a
norm) and the degenerate axis of a 3-D kernel. What is left out is named below: wavelet filters, tables that follow from the levels, and
the weights of resamplers that the older repository creates and never uses. Anything else unknown is an error.
Source: spec section 2.2 («state-dict roots»).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.tokenizers.autoencoder import Autoencoder, TokenizerConfig

CONSTANT = re.compile(r"\.(wavelets|_arange|patch_size_buffer)$|^quantizer\.(_levels|_basis|implicit_codebook)$")
RESAMPLER = re.compile(r"^(encoder\.down|decoder\.up)\.\d+\.(down|up)sample\.conv[123]\.(weight|bias)$")


def rename(key: str) -> str:
    """A published key -> ours. Image tokenizers have one attention and no list of them."""
    key = key.replace(".conv3d.", ".").replace(".norm.norm.", ".norm.")
    key = re.sub(r"\b(norm1|norm2|norm_out)\.norm\.", r"\1.", key)
    return re.sub(r"\.attn_1\.(?=[a-z])", ".attn_1.0.", key)


def flatten(weight: Tensor) -> Tensor:
    """A 3-D kernel that is 1 x 3 x 3, 3 x 1 x 1 or 1 x 1 x 1 -> the 2-D one that does the same on folded frames."""
    if weight.ndim != 5:
        return weight
    out, into, time, height, width = weight.shape
    return weight.reshape(out, into, time, 1) if (height, width) == (1, 1) else weight.reshape(out, into, time * height, width)


def from_published(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """A published state dict -> ours.

    Raises:
        BadInput: naming what does not fit `config`: a missing, unknown or misshapen tensor, or constants of another size.
    """
    with torch.device("meta"):
        own = Autoencoder(config).state_dict()
    ours: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        if CONSTANT.search(key):
            check_constant(key, tensor, config)
            continue
        name = rename(key)
        if name in own:
            ours[name] = flatten(tensor)
        elif not RESAMPLER.match(name):
            unknown.append(key)
    missing = sorted(own.keys() - ours.keys())
    shapes = sorted(k for k in ours if ours[k].shape != own[k].shape)
    wrong = {"missing": missing, "unknown": sorted(unknown), "of another shape": shapes}
    parts = [f"{len(v)} {k} (first: {v[0]})" for k, v in wrong.items() if v]
    if parts:
        raise BadInput(f"These weights are of another tokenizer than the config says: {'; '.join(parts)}.")
    return ours


def check_constant(key: str, tensor: Tensor, config: TokenizerConfig) -> None:
    """Left-out tensors follow from the config; where they can contradict it they are compared."""
    expected = None
    if key.endswith("patch_size_buffer"):
        expected = [config.patch]
    elif key.endswith("_levels"):
        expected = list(config.levels)
    if expected is not None and tensor.flatten().tolist() != expected:
        raise BadInput(f"{key} is {tensor.flatten().tolist()} in these weights, the config says {expected}.")


def read_published(path: str | Path, config: TokenizerConfig) -> dict[str, Tensor]:
    """Read a published `.safetensors` or `.pt` state dict (plain, or nested under `model`) and map it.

    Raises:
        BadInput: when the file is not that; scripted `.jit` archives hold code and are not opened.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return from_published(load_file(path), config)
    if path.suffix not in (".pt", ".pth"):
        raise BadInput(
            f"{path.name}: a .safetensors or .pt state dict is wanted; other archives may hold code and are not opened."
        )
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"{path} holds no plain state dict.")
    return from_published(state, config)


# The published sizes. 0.1 and 1.0 releases share a network where patch and z agree: `cv8x8x8` also reads CV8x8x8-720p, and
# `dv8x16x16` also DV8x16x16-720p. The 360p ones are patch-2 networks.
CODES = (8, 8, 8, 5, 5, 5)
IMAGE = TokenizerConfig(temporal=1, video=False, groups=32)
VIDEO = TokenizerConfig()
DISCRETE = {"channels": len(CODES), "levels": CODES}

PUBLISHED: dict[str, TokenizerConfig] = {
    "ci8x8": IMAGE,
    "ci16x16": replace(IMAGE, spatial=16),
    "di8x8": replace(IMAGE, z=256, **DISCRETE),
    "di16x16": replace(IMAGE, spatial=16, z=256, **DISCRETE),
    # At temporal compression 4 the older repository's continuous decoder has two levels, whatever its config says.
    "cv4x8x8": replace(VIDEO, temporal=4, decoder_mult=(2, 4)),
    "cv8x8x8": VIDEO,
    "cv8x16x16": replace(VIDEO, spatial=16),
    "dv4x8x8": replace(VIDEO, temporal=4, **DISCRETE),
    "dv8x8x8": replace(VIDEO, **DISCRETE),
    "dv8x16x16": replace(VIDEO, spatial=16, **DISCRETE),
    "ci8x8-360p": replace(IMAGE, patch=2),
    "ci16x16-360p": replace(IMAGE, spatial=16, patch=2),
    "di8x8-360p": replace(IMAGE, patch=2, z=256, **DISCRETE),
    "di16x16-360p": replace(IMAGE, spatial=16, patch=2, z=256, **DISCRETE),
    "cv4x8x8-360p": replace(VIDEO, temporal=4, patch=2),
    "dv4x8x8-360p": replace(VIDEO, temporal=4, patch=2, z=256, **DISCRETE),
}
