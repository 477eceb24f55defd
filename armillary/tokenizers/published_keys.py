"""Names and shapes of a tokenizer's tensors: ours, NVIDIA's, and those of diffusers' `AutoencoderKLCosmos`, each way, by rule.

Ours are the short ones. NVIDIA's wrap every 3-D convolution (`.conv3d`) and every norm of a video tokenizer (`.norm`), keep kernels
five-dimensional, and hold constants that follow from the config. diffusers' number the decoder's levels from the inside out.
Source: spec section 2.2 («state-dict roots»).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.nn.fsq import FSQ
from armillary.tokenizers.autoencoder import Autoencoder, TokenizerConfig

CONSTANT = re.compile(r"\.(wavelets|_arange|patch_size_buffer)$|^(inv_quant\.)?quantizer\.(_levels|_basis|implicit_codebook)$")
RESAMPLER = re.compile(r"^(encoder\.down|decoder\.up)\.(\d+)\.(?:down|up)sample\.conv([123]?)\.(?:weight|bias)$")

# NVIDIA's parts of a key -> diffusers'. Levels are numbered apart, see `diffusers_key`.
PARTS = (
    (r"\.block\.", ".resnets."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.0\.", ".mid_block.attentions.0."),
    (r"\.mid\.attn_1\.1\.", ".mid_block.temp_attentions.0."),
    (r"\.([qkv])\.conv3d\.", r".to_\1."),
    (r"\.proj_out\.conv3d\.", ".to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.(down|up)sample\.", r".\1samplers.0."),
    (r"\.0\.conv3d\.", ".conv_s."),
    (r"\.1\.conv3d\.", ".conv_t."),
    (r"\.conv3d\.", "."),
)


@lru_cache(maxsize=8)
def own_shapes(config: TokenizerConfig) -> dict[str, torch.Size]:
    """Our keys and shapes for a config."""
    with torch.device("meta"):
        return {k: v.shape for k, v in Autoencoder(config).state_dict().items()}


def own_key(key: str) -> str:
    """NVIDIA's key -> ours. Image tokenizers have one attention and no list of them."""
    key = key.replace(".conv3d.", ".").replace(".norm.norm.", ".norm.")
    key = re.sub(r"\b(norm1|norm2|norm_out)\.norm\.", r"\1.", key)
    return re.sub(r"\.attn_1\.(?=[a-z])", ".attn_1.0.", key)


def published_key(key: str, video: bool) -> str:
    """Our key -> NVIDIA's."""
    if not video:
        return key.replace(".attn_1.0.", ".attn_1.")
    norm = re.search(r"\.(norm1|norm2|norm_out|norm)\.(weight|bias)$", key)
    return re.sub(r"\.(weight|bias)$", r".norm.\1" if norm else r".conv3d.\1", key)


def diffusers_key(key: str, num_ups: int) -> str:
    """NVIDIA's key of a video tokenizer -> diffusers'; `num_ups` levels has its decoder."""
    key = re.sub(r"^encoder\.down\.", "encoder.down_blocks.", key)
    key = re.sub(r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up_blocks.{num_ups - 1 - int(m[1])}.", key)
    for pattern, ours in PARTS:
        key = re.sub(pattern, ours, key)
    return key


def flatten(weight: Tensor) -> Tensor:
    """A 3-D kernel that is 1 x 3 x 3, 3 x 1 x 1 or 1 x 1 x 1 -> the 2-D one that does the same on folded frames."""
    if weight.ndim != 5:
        return weight
    out, into, time, height, width = weight.shape
    return weight.reshape(out, into, time, 1) if (height, width) == (1, 1) else weight.reshape(out, into, time * height, width)


def unflatten(weight: Tensor) -> Tensor:
    """The inverse of `flatten`, for a video tokenizer's kernels."""
    if weight.ndim != 4:
        return weight
    out, into, height, width = weight.shape
    return weight.reshape(out, into, height, 1, 1) if width == 1 else weight.reshape(out, into, 1, height, width)


def strictly(what: str, **wrong: list[str]) -> None:
    """Raise `BadInput` when any list has an entry: «what: 2 missing (first: ...); 1 unknown (first: ...).»"""
    parts = [f"{len(v)} {k.replace('_', ' ')} (first: {v[0]})" for k, v in wrong.items() if v]
    if parts:
        raise BadInput(f"{what}: {'; '.join(parts)}.")


def from_published(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """A state dict in NVIDIA's layout -> ours. Constants, and resamplers that the older repository makes and never runs, are left out.

    Raises:
        BadInput: naming what does not fit `config`: a missing, unknown or misshapen tensor, or constants of another size.
    """
    own = own_shapes(config)
    ours: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in tensors.items():
        if CONSTANT.search(key):
            check_constant(key, tensor, config)
            continue
        name = own_key(key)
        if name in own:
            ours[name] = flatten(tensor)
        elif not RESAMPLER.match(name):
            unknown.append(key)
    strictly(
        "These weights are of another tokenizer than the config says",
        missing=sorted(own.keys() - ours.keys()),
        unknown=sorted(unknown),
        of_another_shape=sorted(k for k in ours if ours[k].shape != own[k]),
    )
    return ours


def unused(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> list[str]:
    """NVIDIA's keys that `from_published` leaves out though they are no constants."""
    own = own_shapes(config)
    return sorted(k for k in tensors if not CONSTANT.search(k) and own_key(k) not in own)


def check_constant(key: str, tensor: Tensor, config: TokenizerConfig) -> None:
    """Left-out tensors follow from the config; where they can contradict it they are compared."""
    expected = None
    if key.endswith("patch_size_buffer"):
        expected = [config.patch]
    elif key.endswith("_levels"):
        expected = list(config.levels)
    if expected is not None and tensor.flatten().tolist() != expected:
        raise BadInput(f"{key} is {tensor.flatten().tolist()} in these weights, the config says {expected}.")


def to_published(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """Our state dict -> NVIDIA's, with the constants that their current code keeps beside the weights.

    Raises:
        BadInput: for a config that their code cannot build.
    """
    foreign = {
        "a shortcut": config.shortcut,
        "an orthonormal wavelet": config.patcher == "unit-haar",
        "no attention": not config.attention,
        f"norms of {config.groups} groups": config.groups != (1 if config.video else 32),
        f"{config.decoder_blocks} blocks a level in the decoder": config.decoder_blocks not in (0, config.blocks + 1),
    }
    if any(foreign.values()):
        has = ", ".join(k for k, v in foreign.items() if v)
        raise BadInput(
            f"The published code cannot build this tokenizer: it has {has}. Only the published family goes into its layouts."
        )
    out = {published_key(k, config.video): (unflatten(v) if config.video else v).contiguous() for k, v in tensors.items()}
    return out | constants(config)


def constants(config: TokenizerConfig) -> dict[str, Tensor]:
    """What NVIDIA's current code (cosmos-predict1) keeps in a state dict beside the weights."""
    dims = "3d" if config.video else ""
    filters = torch.full((2,), 0.5).sqrt() if config.patcher == "haar" else torch.ones(2)
    out: dict[str, Tensor] = {}
    for part in (f"encoder.patcher{dims}", f"decoder.unpatcher{dims}"):
        out |= {f"{part}.wavelets": filters.clone(), f"{part}._arange": torch.arange(2)}
    if config.video:
        out["encoder.patcher3d.patch_size_buffer"] = torch.tensor([config.patch], dtype=torch.int32)
    if config.levels:
        levels = torch.tensor(config.levels, dtype=torch.int32)
        basis = torch.cat((torch.ones(1, dtype=torch.int32), levels.cumprod(0, dtype=torch.int32)[:-1]))
        book = FSQ(config.levels).codes(torch.arange(config.vocab))
        out |= {"quantizer._levels": levels, "quantizer._basis": basis, "quantizer.implicit_codebook": book}
    return out


def diffusers_keys(config: TokenizerConfig) -> dict[str, str]:
    """NVIDIA's key -> diffusers', for every weight of a config."""
    num_ups = len(config.decoder_mult or config.mult)
    keys = (published_key(k, config.video) for k in own_shapes(config))
    return {k: diffusers_key(k, num_ups) for k in keys}


def from_diffusers(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """diffusers' state dict -> NVIDIA's keys.

    Raises:
        BadInput: naming what is missing or unknown.
    """
    keys = diffusers_keys(config)
    strictly(
        "These weights are not those of an AutoencoderKLCosmos as its config.json says",
        missing=sorted(set(keys.values()) - tensors.keys()),
        unknown=sorted(tensors.keys() - set(keys.values())),
    )
    return {theirs: tensors[diffusers] for theirs, diffusers in keys.items()}


def to_diffusers(tensors: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Tensor]:
    """NVIDIA's state dict -> diffusers' keys, without the constants."""
    return {diffusers: tensors[theirs] for theirs, diffusers in diffusers_keys(config).items()}
