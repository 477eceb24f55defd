"""Names of the published checkpoints' tensors, and ours.

NVIDIA's diffusion worlds (Cosmos-1.0/Predict1, 7B and 14B, text or video to world) are one `model.pt`-like state dict; here its names are
turned into this package's, strictly: a tensor that is neither known nor known to be derivable is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from armillary.errors import BadInput

# Pattern -> our name, tried in order. `blockN` holds three sub-layers: 0 self-attention, 1 cross-attention, 2 MLP.
SUBLAYERS = {"0": "attn", "1": "cross", "2": "mlp"}
RENAMES: dict[str, str] = {
    r"x_embedder\.proj\.1\.weight": "patch.weight",
    r"extra_pos_embedder\.pos_emb_([thw])": r"absolute.\1",
    r"t_embedder\.1\.linear_([12])\.weight": r"level_\1.weight",
    r"affline_norm\.weight": "level_norm.weight",
    r"blocks\.block(\d+)\.blocks\.([012])\.adaLN_modulation\.1\.weight": r"blocks.\1.{\2}_mod.down.weight",
    r"blocks\.block(\d+)\.blocks\.([012])\.adaLN_modulation\.2\.weight": r"blocks.\1.{\2}_mod.up.weight",
    r"blocks\.block(\d+)\.blocks\.([01])\.block\.attn\.to_([qk])\.1\.weight": r"blocks.\1.{\2}.norm_\3.weight",
    r"blocks\.block(\d+)\.blocks\.([01])\.block\.attn\.to_(q|k|v|out)\.0\.weight": r"blocks.\1.{\2}.\3.weight",
    r"blocks\.block(\d+)\.blocks\.2\.block\.layer1\.weight": r"blocks.\1.mlp.up.weight",
    r"blocks\.block(\d+)\.blocks\.2\.block\.layer2\.weight": r"blocks.\1.mlp.down.weight",
    r"final_layer\.linear\.weight": "final.weight",
    r"final_layer\.adaLN_modulation\.1\.weight": "final_mod.down.weight",
    r"final_layer\.adaLN_modulation\.2\.weight": "final_mod.up.weight",
}
# Derivable from the config, or of use in training alone.
IGNORED = re.compile(r"pos_embedder\.seq|logvar\..*|.*_extra_state")


def our_name(name: str) -> str | None:
    """Our name of a published tensor; `None` for one that is not needed.

    Raises:
        BadInput: for a name of neither kind.
    """
    name = name.removeprefix("net.")
    if IGNORED.fullmatch(name):
        return None
    for pattern, ours in RENAMES.items():
        if found := re.fullmatch(pattern, name):
            return re.sub(r"\{([012])\}", lambda m: SUBLAYERS[m.group(1)], found.expand(ours))
    raise BadInput(f"{name!r} is no tensor of a published diffusion world that this version knows.")


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under our names, ready for a `DiT`'s strict `load_state_dict`."""
    named = ((our_name(k), v) for k, v in tensors.items())
    return {k: v for k, v in named if k is not None}
