"""Which published diffusion world a state dict is: what its tensors say, what diffusers' config.json says, and the members released.

Tensors tell every width, and whether there are planes for given frames and padding, learned positions, actions, and a projection of text.
They do not tell how far rotary positions are stretched, which the member's line does, or the config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from armillary.errors import BadInput
from armillary.store import read_json
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.edm import EDMConfig
from armillary.worlds.diffusion.published_keys import LAYOUTS
from armillary.worlds.diffusion.world import FLOW, PUBLISHED, DiffusionConfig

CLASS = "CosmosTransformer3DModel"
PATCH = 2  # of every one that was published
_7B, _14B = (DiTConfig(4096, 28, 32, ratios=(2.0, 1.0, 1.0)), DiTConfig(5120, 36, 40, ratios=(2.0, 2.0, 2.0)))
# The driving samples: positions are sines and cosines, views come by a condition (`published_views`).
_VIEWS = replace(_7B, ratios=(1.0, 1.0, 1.0), absolute=False, sincos=True)
_P2_2B = DiTConfig(2048, 28, 16, ratios=(1.0, 3.0, 3.0), absolute=False, base_fps=0.0)
_P2_14B = replace(_P2_2B, dim=5120, layers=36, heads=40)
_IMAGE = {"given": False, "ratios": (1.0, 4.0, 4.0)}


@dataclass(frozen=True)
class Shape:
    """A network with the widths that its config leaves to whoever builds it; `views`: how many it was trained on, 0 for a plain one."""

    network: DiTConfig
    channels: int = 16
    text_dim: int = 1024
    action_dim: int = 0
    views: int = 0


# A member is a line. predict1 also stands for Cosmos-1.0-Diffusion; its 2.0 text-to-image nets stretch rows and columns further.
MEMBERS: dict[str, Shape] = {
    "predict1-7b-text2world": Shape(replace(_7B, given=False)),
    "predict1-7b-video2world": Shape(_7B),
    "predict1-7b-action": Shape(_7B, action_dim=7),
    "predict1-7b-text2world-views": Shape(replace(_VIEWS, given=False), views=6),
    "predict1-7b-video2world-views": Shape(_VIEWS, views=6),
    "predict1-14b-text2world": Shape(replace(_14B, given=False)),
    "predict1-14b-video2world": Shape(_14B),
    "predict2-2b-text2image": Shape(replace(_P2_2B, **_IMAGE)),
    "predict2-2b-video2world": Shape(_P2_2B),
    "predict2-2b-action": Shape(replace(_P2_2B, action_level=True), action_dim=7 * 12),
    "predict2-14b-text2image": Shape(replace(_P2_14B, **_IMAGE)),
    "predict2-14b-video2world": Shape(replace(_P2_14B, ratios=(20 / 24, 2.0, 2.0))),
    "predict2.5-2b": Shape(replace(_P2_2B, project=1024), text_dim=100_352),
    "predict2.5-14b": Shape(replace(_P2_14B, project=1024), text_dim=100_352),
}


def shape_of(tensors: Mapping[str, Tensor], layout: str, where: str, views: int = 0) -> Shape:
    """What the tensors say, under the names of `layout`; rotary positions are left unstretched.

    Args:
        views: of a network that takes several, whose own part is taken out of `tensors` (`published_views.parted`).

    Raises:
        BadInput: when the widths are those of no such network.
    """
    it = LAYOUTS[layout]
    attn, _, mlp = it["attn"].split()
    first, ffn = it["block"].format(i=0, n=attn), it["block"].format(i=0, n=mlp)
    cross = it["block"].format(i=0, n=it["attn"].split()[1])
    norm, k = it["norm_q norm_k"].split()[0], it["q k v out"].split()[1]
    mod = it["mod"].format(i=0, n=it.get("mods", it["attn"]).split()[0])

    def size(name: str, axis: int) -> int:
        held = tensors.get(name)
        if held is None or held.ndim <= axis:
            raise BadInput(f"{where} does not hold exactly the tensors of its network: {name} is missing or has other axes.")
        return held.shape[axis]

    pattern = re.compile(re.escape(it["block"].split("{n}")[0]).replace(r"\{i\}", r"(\d+)"))
    layers = 1 + max(int(m.group(1)) for n in tensors if (m := pattern.match(n)))
    dim, head = size(f"{it['patch']}.weight", 0), size(f"{first}{norm}.weight", 0)
    out, into = size(f"{it['final']}.weight", 0), size(f"{it['patch']}.weight", 1)
    planes, channels = (into - out) // PATCH**2, out // PATCH**2
    absolute = "absolute" in it and f"{it['absolute']}t" in tensors
    limit = tuple(size(f"{it['absolute']}{axis}", 0) for axis in "thw") if absolute else DiTConfig.limit
    project = "project" in it and f"{it['project']}.weight" in tensors
    text_dim = size(f"{it['project']}.weight", 1) if project else size(f"{cross}{k}.weight", 1)
    actions = "action" in it and f"{it['action']}fc1.weight" in tensors
    if dim % head or out % PATCH**2 or into != out + planes * PATCH**2 or planes not in (1, 2):
        raise BadInput(
            f"{where} is of no network this version has: width {dim}, heads of {head}, {into} numbers into a patch and {out} out of it."
        )
    if size(f"{ffn}{it['up down'].split()[0]}.weight", 0) != 4 * dim:
        raise BadInput(f"{where} is of no network this version has: the MLP is not four times as wide as the network ({dim}).")
    network = DiTConfig(
        dim=dim,
        layers=layers,
        heads=dim // head,
        lora=size(f"{mod}1.weight", 0),
        given=planes == 2,
        absolute=absolute,
        limit=limit,  # type: ignore[arg-type]
        sincos=bool(views),
        base_fps=24.0 if absolute or views else 0.0,
        project=size(f"{it['project']}.weight", 0) if project else 0,
        action_level=actions and "action_level" in it,
    )
    return Shape(network, channels, text_dim, size(f"{it['action']}fc1.weight", 1) if actions else 0, views)


def bare(shape: Shape) -> Shape:
    """Without what tensors do not tell."""
    return replace(shape, network=replace(shape.network, ratios=(1.0, 1.0, 1.0)))


def describe(shape: Shape) -> str:
    c = shape.network
    takes = ["given frames"] * c.given + [f"actions of {shape.action_dim}"] * bool(shape.action_dim)
    takes += [f"{shape.views} views"] * bool(shape.views)
    place = "learned positions" if c.absolute else "fixed positions" if c.sincos else "rotary positions only"
    with_what = f"with {' and '.join(takes)}" if takes else "text alone"
    return f"{c.layers} blocks of width {c.dim}, text of {shape.text_dim}, {place}, {with_what}"


def member_name(shape: Shape) -> str:
    """Its line of `MEMBERS`, or what it is in words."""
    return next((name for name, held in MEMBERS.items() if held == shape), describe(shape))


def find_member(found: Shape, said: Shape | None, where: str) -> Shape:
    """The whole shape of what was found.

    Args:
        said: what it is to be, with its ratios: a member that was named, or what a config.json says.

    Raises:
        BadInput: it is another (both are named), or none that was published.
    """
    if said is not None:
        if bare(said) != found:
            names = [name for name, held in MEMBERS.items() if bare(held) == found]
            raise BadInput(f"{where} holds {names[0] if names else describe(found)}; it was said to be {member_name(said)}.")
        return said
    near = [held for held in MEMBERS.values() if bare(held) == found]
    if not near:
        raise BadInput(
            f"{where} holds a world of no published size: {describe(found)}. Its tensors do not tell how far its rotary positions are "
            f"stretched; a folder of diffusers with its config.json does. Published: {', '.join(MEMBERS)}."
        )
    return near[0]


# What diffusers takes when its config.json does not say.
DEFAULTS: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "num_layers": 28,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": [128, 240, 240],
    "patch_size": [1, PATCH, PATCH],
    "rope_scale": [2.0, 1.0, 1.0],
    "concat_padding_mask": True,
    "extra_pos_embed_type": "learnable",
    "use_crossattn_projection": False,
    "crossattn_proj_in_channels": 1024,
    "encoder_hidden_states_channels": 1024,
    "controlnet_block_every_n": None,
    "img_context_dim_in": None,
}


def of_diffusers(path: Path) -> Shape:
    """The shape that diffusers' config.json stands for.

    Raises:
        BadInput: of another class, damaged, or of a network this package has not.
    """
    record = read_json(path)
    kind = record.get("_class_name") if isinstance(record, dict) else None
    if kind != CLASS:
        raise BadInput(f"{path} describes {kind or 'nothing'}; a {CLASS} is wanted.")
    it = DEFAULTS | {k: v for k, v in record.items() if k in DEFAULTS}
    whole = (
        "in_channels",
        "out_channels",
        "num_attention_heads",
        "attention_head_dim",
        "num_layers",
        "text_embed_dim",
        "adaln_lora_dim",
    )
    whole += ("crossattn_proj_in_channels", "encoder_hidden_states_channels")
    lists = [it[k] for k in ("max_size", "patch_size", "rope_scale")]
    if not all(type(it[k]) is int and it[k] > 0 for k in whole) or not all(
        isinstance(v, list) and len(v) == 3 and all(type(n) in (int, float) and n > 0 for n in v) for v in lists
    ):
        raise BadInput(
            f"{path}: widths and counts are whole positive numbers, max_size, patch_size and rope_scale three numbers each."
        )
    planes, project = it["in_channels"] - it["out_channels"], bool(it["use_crossattn_projection"])
    foreign = {
        "mlp_ratio 4": it["mlp_ratio"] != 4,
        f"patch_size [1, {PATCH}, {PATCH}]": it["patch_size"] != [1, PATCH, PATCH],
        "concat_padding_mask": it["concat_padding_mask"] is not True,
        "one condition plane at most": planes not in (0, 1),
        "extra_pos_embed_type learnable or none": it["extra_pos_embed_type"] not in ("learnable", None),
        "no control network and no picture context": bool(it["controlnet_block_every_n"] or it["img_context_dim_in"]),
        "text projected to the width that is read": project and it["encoder_hidden_states_channels"] != it["text_embed_dim"],
    }
    if any(foreign.values()):
        raise BadInput(f"{path}: this package reads a {CLASS} with {', '.join(k for k, v in foreign.items() if v)}.")
    absolute = it["extra_pos_embed_type"] == "learnable"
    frames, height, width = it["max_size"]
    network = DiTConfig(
        dim=it["num_attention_heads"] * it["attention_head_dim"],
        layers=it["num_layers"],
        heads=it["num_attention_heads"],
        lora=it["adaln_lora_dim"],
        given=planes == 1,
        ratios=tuple(float(r) for r in it["rope_scale"]),  # type: ignore[arg-type]
        absolute=absolute,
        limit=(frames, height // PATCH, width // PATCH) if absolute else DiTConfig.limit,
        base_fps=24.0 if absolute else 0.0,
        project=it["text_embed_dim"] if project else 0,
    )
    return Shape(network, it["out_channels"], it["crossattn_proj_in_channels"] if project else it["text_embed_dim"])


def to_diffusers(shape: Shape) -> dict[str, Any]:
    """The config.json that makes diffusers build this network.

    Raises:
        BadInput: for one that it cannot build.
    """
    c = shape.network
    if shape.action_dim or c.patch != PATCH or not c.padding or not shape.text_dim or c.sincos:
        raise BadInput(f"diffusers has no class for this world: it is one of {describe(shape)}, with patches of {c.patch}.")
    frames, height, width = c.limit
    return DEFAULTS | {
        "_class_name": CLASS,
        "in_channels": shape.channels + c.given,
        "out_channels": shape.channels,
        "num_attention_heads": c.heads,
        "attention_head_dim": c.dim // c.heads,
        "num_layers": c.layers,
        "text_embed_dim": c.project or shape.text_dim,
        "adaln_lora_dim": c.lora,
        "max_size": [frames, height * PATCH, width * PATCH],
        "rope_scale": list(c.ratios),
        "extra_pos_embed_type": "learnable" if c.absolute else None,
        "use_crossattn_projection": bool(c.project),
        "crossattn_proj_in_channels": shape.text_dim if c.project else 1024,
        "encoder_hidden_states_channels": c.project or 1024,
    }


def objective_of(network: DiTConfig, scheduler: Path | None) -> EDMConfig:
    """The objective of the generation; a pipeline's scheduler_config.json says where its noise levels begin and end.

    Raises:
        BadInput: for a scheduler of the class that samples otherwise than ours.
    """
    base = PUBLISHED if network.absolute or network.sincos else FLOW
    if scheduler is None or not scheduler.is_file():
        return base
    record = read_json(scheduler)
    if record.get("_class_name") not in ("EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"):
        return base  # another solver of the same equation; its noise levels are not ours
    held = {"sigma_data": base.sigma_data, "rho": 7.0, "sigma_schedule": "karras", "prediction_type": "epsilon"}
    if other := [f"{k} {record[k]!r} (this version samples with {v})" for k, v in held.items() if record.get(k, v) != v]:
        raise BadInput(f"{scheduler}: {', '.join(other)}.")
    low, high = record.get("sigma_min") or base.sigma_min, record.get("sigma_max") or base.sigma_max
    return replace(base, sigma_min=float(low), sigma_max=float(high))


def config_of(shape: Shape, objective: EDMConfig, columns: int = 0) -> DiffusionConfig:
    """The world of that network: one latent picture, clips of 16 latent frames (predict1; 8 of each of several views) or 24
    (predict2), an action's few frames.
    """
    first = shape.network.absolute or shape.network.sincos  # generation
    image = not shape.network.given and not first
    acted = 2 if first else 4
    clip = 1 if image else acted if shape.action_dim else 8 if shape.views else 16 if first else 24
    past = (1 if shape.action_dim else 2) if shape.network.given else 0
    return DiffusionConfig(shape.network, objective, past=past, text_dropout=0.0, clip=clip, columns=columns)
