"""Which member of the published family a state dict is of, read off its tensors.

Shapes tell nearly everything: kind, patch, widths of every level, blocks, channels. What resamples space and what time shows in which
resamplers are there; only the older repository (Cosmos-Tokenizer) makes all of them in every file and leaves some unused, so that its
CV8x8x8 and CV8x16x16 have the same tensors. Then the name of the file or folder decides, or the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from armillary.errors import BadInput
from armillary.tokenizers.autoencoder import TokenizerConfig
from armillary.tokenizers.published_keys import CONSTANT, RESAMPLER, own_key

# The published sizes. 0.1 and 1.0 releases share a network where patch and z agree: `cv8x8x8` also reads CV8x8x8-720p, and
# `dv8x16x16` also DV8x16x16-720p. The 360p ones are patch-2 networks.
CODES = (8, 8, 8, 5, 5, 5)
IMAGE = TokenizerConfig(temporal=1, video=False, groups=32)
VIDEO = TokenizerConfig()
DISCRETE: dict[str, Any] = {"channels": len(CODES), "levels": CODES}

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
COMPRESSIONS = {(c.temporal, c.spatial) for c in PUBLISHED.values()}
NAMED = re.compile(r"(?<![A-Za-z])([CD])([IV])(?:(\d+)x)?(\d+)x\d+", re.IGNORECASE)


def member_name(config: TokenizerConfig) -> str:
    """What a reader calls a config: its line in the table where it has one, else its kind and compression."""
    for name, known in PUBLISHED.items():
        if known == config:
            return name
    kind = ("d" if config.levels else "c") + ("v" if config.video else "i")
    space = f"{config.spatial}x{config.spatial}"
    decoder = "-".join(str(m) for m in config.decoder_mult or config.mult)
    legacy = ", legacy" if config.legacy else ""
    times = f"{config.temporal}x" if config.video else ""
    return f"{kind}{times}{space} (patch {config.patch}, width {config.width}, decoder {decoder}{legacy})"


def candidates(tensors: Mapping[str, Tensor]) -> list[TokenizerConfig]:
    """The configs a state dict in NVIDIA's layout can be of; more than one when its tensors leave open what resamples what.

    Raises:
        BadInput: when it is no tokenizer, or encoder and decoder are of two members.
    """
    shapes = {own_key(k): tuple(v.shape) for k, v in tensors.items() if not CONSTANT.search(k)}
    for part in ("encoder", "decoder"):
        if f"{part}.norm_out.weight" not in shapes:
            other = "decoder" if part == "encoder" else "encoder"
            alone = any(k.startswith(f"{other}.") for k in shapes)
            raise BadInput(
                f"There is only the {other} in these weights; the {part} is wanted too."
                if alone
                else f"These are no weights of a tokenizer: {', '.join(sorted(shapes)[:3]) or 'no tensors'}, ..."
            )
    video = "encoder.conv_in.0.weight" in shapes
    conv_in, conv_out = ("conv_in.0", "conv_out.1") if video else ("conv_in", "conv_out")
    try:
        width, inputs = shapes[f"encoder.{conv_in}.weight"][:2]
        z = shapes[f"encoder.{conv_out}.bias"][0]
        channels = shapes["quant_conv.bias"][0]
        base = TokenizerConfig(
            temporal=1,
            spatial=1,
            video=False,
            channels=channels,
            levels=_levels(tensors, channels),
            patch=1,
            width=width,
            z=z,
            mult=_mult(shapes, r"encoder\.down", width),
            decoder_mult=_mult(shapes, r"decoder\.up", width),
            blocks=_blocks(shapes, r"encoder\.down\.0"),
            decoder_blocks=_blocks(shapes, r"decoder\.up\.0"),
            groups=1 if video else 32,
            attention=any(".mid.attn_1." in k for k in shapes),
        )
    except BadInput:
        raise
    except (KeyError, IndexError, ValueError) as error:
        raise BadInput(f"These weights are incomplete: {error} is missing or has no shape that fits.") from error
    # The forms in which the table states the same.
    base = replace(base, decoder_blocks=0 if base.decoder_blocks == base.blocks + 1 else base.decoder_blocks)
    base = replace(base, decoder_mult=() if base.decoder_mult == base.mult else base.decoder_mult)
    patch = next((p for p in (1, 2, 4, 8, 16) if 3 * p ** (3 if video else 2) == inputs), 0)
    if not patch:
        raise BadInput(
            f"The encoder takes {inputs} channels, which are the bands of no wavelet of {'video' if video else 'images'}."
        )
    found = _resamplings(base, patch, video, shapes)
    if not found["encoder"] & found["decoder"]:
        one, two = (" or ".join(member_name(c) for c in found[part]) or "none known" for part in ("encoder", "decoder"))
        raise BadInput(f"Encoder and decoder are of two tokenizers: the encoder of {one}, the decoder of {two}.")
    fitting = [c for c in found["encoder"] if c in found["decoder"]]
    published = [c for c in fitting if (c.temporal, c.spatial) in COMPRESSIONS]
    return sorted(published or fitting, key=lambda c: (c.legacy, c.temporal, c.spatial))


def _mult(shapes: Mapping[str, tuple[int, ...]], level: str, width: int) -> tuple[int, ...]:
    """Channels of each level, in units of `width`."""
    out = {}
    for key, shape in shapes.items():
        if found := re.fullmatch(level + r"\.(\d+)\.block\.0\.norm2\.weight", key):
            out[int(found[1])] = shape[0]
    if not width or any(w % width for w in out.values()) or sorted(out) != list(range(len(out))) or not out:
        raise BadInput(f"Levels of {sorted(out.values())} channels are no whole multiples of {width}.")
    return tuple(out[i] // width for i in range(len(out)))


def _levels(tensors: Mapping[str, Tensor], channels: int) -> tuple[int, ...]:
    """Of a discrete tokenizer, which has them among its constants or, in the older repository, is known by its six channels."""
    for key, value in tensors.items():
        if key.endswith("quantizer._levels"):
            return tuple(int(n) for n in value.flatten().tolist())
    return CODES if channels == len(CODES) else ()


def _blocks(shapes: Mapping[str, tuple[int, ...]], level: str) -> int:
    return len([k for k in shapes if re.fullmatch(level + r"\.block\.\d+\.norm1\.weight", k)])


def _resamplings(
    base: TokenizerConfig, patch: int, video: bool, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, set[TokenizerConfig]]:
    """For encoder and decoder the configs whose resamplers are there: exactly, or among those of a file that has them all."""
    present: dict[str, set[tuple[int, str]]] = {"encoder": set(), "decoder": set()}
    for key in shapes:
        if found := RESAMPLER.match(key):
            present[found[1].split(".")[0]].add((int(found[2]), found[3]))
    out: dict[str, set[TokenizerConfig]] = {"encoder": set(), "decoder": set()}
    seen: list[tuple[int, int, list[tuple[bool, bool]]]] = []
    for legacy in (False, True):
        for space in range(5):
            for time in range(5) if video else (0,):
                try:
                    config = replace(
                        base,
                        video=video,
                        patch=patch,
                        spatial=patch << space,
                        temporal=patch << time if video else 1,
                        legacy=legacy,
                    )
                except BadInput:
                    continue
                plans = {"encoder": config.downs(), "decoder": config.ups()[::-1]}
                if (space, time, plans["decoder"]) in seen:
                    continue  # `legacy` switches nothing here
                seen.append((space, time, plans["decoder"]))
                for part, plan in plans.items():
                    if _fits(present[part], plan, part, video):
                        out[part].add(config)
    return out


def _fits(present: set[tuple[int, str]], plan: list[tuple[bool, bool]], part: str, video: bool) -> bool:
    """Whether resamplers (level, number of its convolution) are those of a plan, or all there can be."""
    if not video:
        return present == {(i, "") for i, (space, _) in enumerate(plan) if space}
    spatial, temporal = ("1", "2") if part == "encoder" else ("2", "1")
    used = {(i, spatial) for i, (space, _) in enumerate(plan) if space} | {
        (i, temporal) for i, (_, time) in enumerate(plan) if time
    }
    used |= {(i, "3") for i, (space, time) in enumerate(plan) if space or time}
    levels = range(len(plan) - 1) if part == "encoder" else range(1, len(plan))
    return present == used or (present == {(i, n) for i in levels for n in "123"} and used <= present)


def named_in(path: Path) -> tuple[bool, bool, int, int] | None:
    """(discrete, video, temporal, spatial) as a published file's or folder's name says: `Cosmos-Tokenizer-CV8x8x8/decoder.jit`."""
    for part in reversed(path.absolute().parts[-4:]):
        if found := NAMED.search(part):
            kind, medium, temporal, spatial = found.groups()
            return kind.upper() == "D", medium.upper() == "V", int(temporal or 1), int(spatial)
    return None


def find_member(
    tensors: Mapping[str, Tensor], said: TokenizerConfig | None, path: Path, legacy: bool = False
) -> TokenizerConfig:
    """The config of a state dict in NVIDIA's layout.

    Args:
        said: what the user, or a config beside the weights, says it is.
        path: where it lies; its name decides where the tensors do not and nobody said anything.
        legacy: weights from before September 2024, where the tensors leave that open.

    Raises:
        BadInput: when it is of another member than was said, naming both, or when nothing decides.
    """
    fitting = candidates(tensors)
    names = [member_name(c) for c in fitting if not c.legacy] or [member_name(c) for c in fitting]
    if said is not None:
        if replace(said, patcher="haar") in fitting:  # what bands mean does not show in tensors
            return said
        raise BadInput(f"{path} holds weights of {' or '.join(names)}; they were said to be of {member_name(said)}.")
    if len(fitting) == 1:
        return fitting[0]
    plain = [c for c in fitting if c.legacy == legacy] or fitting
    named = named_in(path)
    for config in plain if named else ():
        if (bool(config.levels), config.video, config.temporal, config.spatial) == named:
            return config
    if len(plain) == 1:
        return plain[0]
    names = [member_name(c) for c in plain]
    raise BadInput(
        f"{path}: its tensors fit {' and '.join(names)} alike. Say --size NAME, or let its folder's name say it (as Cosmos-...-CV8x8x8)."
    )
