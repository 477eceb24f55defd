"""The key layout of the published autoregressive weights, both ways, strictly: no tensor is left over and none is made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.worlds.autoregressive.transformer import Transformer, TransformerConfig

_ATTENTION = {"to_q": "wq", "to_k": "wk", "to_v": "wv", "to_out": "wo", "norm_q": "q_norm", "norm_k": "k_norm"}
_BLOCK = (
    {"norm_attention": "attention_norm"}
    | {f"attention.{ours}": f"attention.{theirs}" for ours, theirs in _ATTENTION.items()}
    | {"norm_mlp": "ffn_norm", "mlp.gate": "feed_forward.w1", "mlp.up": "feed_forward.w3", "mlp.down": "feed_forward.w2"}
)
_TEXT = {"norm_text": "cross_attention_norm"} | {
    f"text.{ours}": f"cross_attention.{theirs}" for ours, theirs in _ATTENTION.items()
}


def key_map(config: TransformerConfig) -> dict[str, str]:
    """Our key -> the published one, for every parameter of a network of this config."""
    keys = {"embed.weight": "tok_embeddings.weight", "norm.weight": "norm.weight", "head.weight": "output.weight"}
    block = _BLOCK | (_TEXT if config.context_dim else {})
    for i in range(config.layers):
        keys |= {f"blocks.{i}.{ours}.weight": f"layers.{i}.{theirs}.weight" for ours, theirs in block.items()}
    return keys


def from_published(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours from one in the published layout (keys may all carry `model.` in front).

    Raises:
        BadInput: naming what is missing or left over.
    """
    if tensors and all(k.startswith("model.") for k in tensors):
        tensors = {k.removeprefix("model."): v for k, v in tensors.items()}
    keys = key_map(config)
    missing, over = sorted(set(keys.values()) - tensors.keys()), sorted(tensors.keys() - set(keys.values()))
    if missing or over:
        parts = [f"{len(v)} {k} (first: {v[0]})" for k, v in (("missing", missing), ("unexpected", over)) if v]
        raise BadInput(f"These are not the published weights of a network of this size: {'; '.join(parts)}.")
    return {ours: tensors[theirs] for ours, theirs in keys.items()}


def to_published(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published`."""
    return {theirs: tensors[ours] for ours, theirs in key_map(config).items()}


def load_published(network: Transformer, path: str | Path) -> None:
    """Copy published weights into `network`, strictly.

    Args:
        path: a .safetensors file, or a .pt file holding tensors only (read without unpickling anything else).

    Raises:
        BadInput: unreadable, or tensors missing, left over or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} is no file; give the model.pt or .safetensors of the published weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            tensors = tensors.get("model", tensors)
    except Exception as error:  # safetensors, zip and unpickler each have their own
        raise BadInput(f"{path} holds no weights that can be read safely: {error}") from error
    state = from_published(network.config, tensors)
    own = network.state_dict()
    wrong = [k for k, v in state.items() if v.shape != own[k].shape]
    if wrong:
        raise BadInput(
            f"{path}: {len(wrong)} tensors of another shape; {wrong[0]} is {tuple(state[wrong[0]].shape)}, "
            f"wanted {tuple(own[wrong[0]].shape)}."
        )
    network.load_state_dict(state, strict=True)
