"""Names of a diffusion world's tensors: ours, and the three published layouts, each way, by rule.

`predict1` is NVIDIA's of the 1.0 generation, `predict2` that of 2.0 and 2.5, `diffusers` that of `CosmosTransformer3DModel` for both.
Source: spec section 3.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from armillary.errors import BadInput
from armillary.worlds.diffusion.dit import DiTConfig

LINEARS = ("q", "k", "v", "out")
# Layout -> what every part is called there. In `block` and `mod`, {i} is the block's index and {n} the sub-layer's name.
LAYOUTS: dict[str, dict[str, str]] = {
    "predict1": {
        "patch": "x_embedder.proj.1",
        "absolute": "extra_pos_embedder.pos_emb_",
        "level_": "t_embedder.1.linear_",
        "level_norm": "affline_norm",
        "action": "action_embedder_B_3D.",
        "mod": "blocks.block{i}.blocks.{n}.adaLN_modulation.",
        "block": "blocks.block{i}.blocks.{n}.block.",
        "attn": "0 1 2",
        "q k v out": "attn.to_q.0 attn.to_k.0 attn.to_v.0 attn.to_out.0",
        "norm_q norm_k": "attn.to_q.1 attn.to_k.1",
        "up down": "layer1 layer2",
        "final_mod": "final_layer.adaLN_modulation.",
        "final": "final_layer.linear",
    },
    "predict2": {
        "patch": "x_embedder.proj.1",
        "level_": "t_embedder.1.linear_",
        "level_norm": "t_embedding_norm",
        "project": "crossattn_proj.0",
        "action": "action_embedder_B_3D.",
        "action_level": "action_embedder_B_D.",
        "mod": "blocks.{i}.adaln_modulation_{n}.",
        "block": "blocks.{i}.{n}.",
        "attn": "self_attn cross_attn mlp",
        "q k v out": "q_proj k_proj v_proj output_proj",
        "norm_q norm_k": "q_norm k_norm",
        "up down": "layer1 layer2",
        "final_mod": "final_layer.adaln_modulation.",
        "final": "final_layer.linear",
    },
    "diffusers": {
        "patch": "patch_embed.proj",
        "absolute": "learnable_pos_embed.pos_emb_",
        "level_": "time_embed.t_embedder.linear_",
        "level_norm": "time_embed.norm",
        "project": "crossattn_proj.0",
        "mod": "transformer_blocks.{i}.{n}.linear_",
        "block": "transformer_blocks.{i}.{n}.",
        "attn": "attn1 attn2 ff",
        "mods": "norm1 norm2 norm3",
        "q k v out": "to_q to_k to_v to_out.0",
        "norm_q norm_k": "norm_q norm_k",
        "up down": "net.0.proj net.2",
        "final_mod": "norm_out.linear_",
        "final": "proj_out",
    },
}
# A name that only this layout has.
SIGNS = {
    "predict1": r"blocks\.block0\.",
    "predict2": r"blocks\.0\.(self_attn|cross_attn|mlp)\.",
    "diffusers": r"transformer_blocks\.0\.",
}
# Made anew by whoever builds the network, or counters of a training.
UNUSED = re.compile(r"pos_embedder\..*|(.*\.)?_extra_state(\..*)?|accum_.*")
# What is no part of the network and kept beside it, so that it can be written back: the learned variance of the loss, of use in
# further training, and the half of the first generation's action network whose answer its code adds to a variable that nothing reads.
BESIDE = {"variance.freqs": "logvar.0.freqs", "variance.phases": "logvar.0.phases", "variance.weight": "logvar.1.weight"} | {
    f"idle.{n}.{leaf}": f"action_embedder_B_D.fc{n}.{leaf}" for n in (1, 2) for leaf in ("weight", "bias")
}
WRAPPERS = ("model.", "module.", "state_dict.", "network.", "net.")
# Parts of published networks that this package has no place for, and what they are.
FOREIGN = {
    "augment_sigma_embedder": "the noise level of given frames",
    "img_context_proj": "pictures as context (Transfer 2.5)",
    "control": "control maps (Transfer)",
}


def layout_of(names: Mapping[str, Tensor] | list[str]) -> str:
    """The layout these names are of; empty for none."""
    return next((layout for layout, sign in SIGNS.items() if any(re.match(sign, n) for n in names)), "")


def unwrapped(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The state dict, out of whatever it is nested in; what lies beside the nest (an optimizer) is passed over.

    Raises:
        BadInput: when there is none inside.
    """
    held = dict(tensors)
    while not layout_of(held):
        wrapper = next((w for w in WRAPPERS if any(k.startswith(w) for k in held)), None)
        if wrapper is None:
            raise BadInput(
                f"{where} holds no diffusion world that this version knows: {', '.join(list(held)[:3]) or 'no tensors'}, ..."
            )
        held = {k.removeprefix(wrapper): v for k, v in held.items() if k.startswith(wrapper)}
    return held


def is_world(names: list[str]) -> bool:
    """Whether a file with these names holds a diffusion world."""
    while names and not layout_of(names):
        wrapper = next((w for w in WRAPPERS if any(k.startswith(w) for k in names)), None)
        if wrapper is None:
            return False
        names = [n.removeprefix(wrapper) for n in names if n.startswith(wrapper)]
    return bool(names)


def key_map(config: DiTConfig, layout: str, text: bool = True, actions: bool = False) -> dict[str, str]:
    """Our name -> the published one, for every parameter of a network of this config.

    Raises:
        BadInput: when the layout has no name for a part of it.
    """
    it = LAYOUTS[layout]
    wanted = {
        "absolute": config.absolute,
        "project": text and config.project,
        "action": actions,
        "action_level": config.action_level,
    }
    if missing := [part for part, there in wanted.items() if there and part not in it]:
        raise BadInput(f"The layout {layout!r} has no names for {', '.join(missing)} of this network.")
    keys = {f"{part}.weight": f"{it[part]}.weight" for part in ("patch", "level_norm", "final")}
    keys |= {f"level_{n}.weight": f"{it['level_']}{n}.weight" for n in (1, 2)}
    keys |= {f"final_mod.{ours}.weight": f"{it['final_mod']}{n}.weight" for n, ours in ((1, "down"), (2, "up"))}
    if config.absolute:
        keys |= {f"absolute.{axis}": f"{it['absolute']}{axis}" for axis in "thw"}
    if text and config.project:
        keys |= {f"project.{leaf}": f"{it['project']}.{leaf}" for leaf in ("weight", "bias")}
    for part in ("action", "action_level"):
        if actions and (part == "action" or config.action_level):
            keys |= {
                f"{part}.{i}.{leaf}": f"{it[part]}fc{n}.{leaf}" for i, n in ((0, 1), (2, 2)) for leaf in ("weight", "bias")
            }
    names = it["attn"].split()
    mods = it.get("mods", it["attn"]).split()
    leaves = {ours: theirs for key in ("q k v out", "norm_q norm_k") for ours, theirs in zip(key.split(), it[key].split())}
    for i in range(config.layers):
        for part, name, mod in zip(("attn", "cross", "mlp"), names, mods):
            if part == "cross" and not text:
                continue
            block, level = it["block"].format(i=i, n=name), it["mod"].format(i=i, n=mod)
            of = dict(zip(("up", "down"), it["up down"].split())) if part == "mlp" else leaves
            keys |= {f"blocks.{i}.{part}.{ours}.weight": f"{block}{theirs}.weight" for ours, theirs in of.items()}
            keys |= {f"blocks.{i}.{part}_mod.{ours}.weight": f"{level}{n}.weight" for n, ours in ((1, "down"), (2, "up"))}
    return keys


def from_published(tensors: Mapping[str, Tensor], keys: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """A published state dict under our names, strictly.

    Args:
        keys: as `key_map` makes them.

    Raises:
        BadInput: naming what is missing or unknown, and what it would take where that is known.
    """
    named = set(keys.values())
    known = dict(keys) | {ours: theirs for ours, theirs in BESIDE.items() if theirs in tensors and theirs not in named}
    missing = sorted(set(known.values()) - tensors.keys())
    unknown = sorted(k for k in tensors.keys() - set(known.values()) if not UNUSED.fullmatch(k))
    if foreign := sorted({what for part, what in FOREIGN.items() if any(k.startswith(part) for k in unknown)}):
        raise BadInput(f"{where} is of a network that takes {' and '.join(foreign)}, which this version has no network for.")
    if missing or unknown:
        parts = [f"{len(v)} {k} (first: {v[0]})" for k, v in (("missing", missing), ("unknown", unknown)) if v]
        raise BadInput(f"{where} does not hold exactly the tensors of its network: {'; '.join(parts)}.")
    return {ours: tensors[theirs] for ours, theirs in known.items()}


def to_published(tensors: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Tensor]:
    """The inverse of `from_published`; what is kept beside the network goes along."""
    known = dict(keys) | {ours: theirs for ours, theirs in BESIDE.items() if ours in tensors}
    return {theirs: tensors[ours] for ours, theirs in known.items()}
