"""The key layout of the published autoregressive weights, both ways, strictly: no tensor is left over and none is made up.

Post-trained weights may lie in shards of tensor parallelism, `NAME_model_mp_0.pt` and on: each holds its share of the heads, of the
feed-forward's width and of the vocabulary (in the published code `utils/checkpoint.py`); `merge` and `split` go both ways. `to_llama`
renames a network for a Llama of transformers, which has neither positions in three dimensions nor normed heads (`flat`, `qk_norm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.store import read_tensors
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
_LLAMA = {
    "norm_attention": "input_layernorm",
    "norm_mlp": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
} | {f"attention.to_{x}": f"self_attn.{x[0]}_proj" for x in ("q", "k", "v", "out")}
# The axis along which ranks of tensor parallelism share a published tensor; what is not here every rank holds whole.
_SHARED = {"wq": 0, "wk": 0, "wv": 0, "w1": 0, "w3": 0, "tok_embeddings": 0, "output": 0, "wo": 1, "w2": 1}
_EXTRA = "_extra_state"  # left in some files by a library of kernels, empty


def key_map(config: TransformerConfig) -> dict[str, str]:
    """Our key -> the published one, for every parameter of a network of this config."""
    keys = {"embed.weight": "tok_embeddings.weight", "norm.weight": "norm.weight", "head.weight": "output.weight"}
    block = _BLOCK | (_TEXT if config.context_dim else {})
    for i in range(config.layers):
        keys |= {f"blocks.{i}.{ours}.weight": f"layers.{i}.{theirs}.weight" for ours, theirs in block.items()}
    if not config.qk_norm:
        keys = {ours: theirs for ours, theirs in keys.items() if not ours.endswith(("norm_q.weight", "norm_k.weight"))}
    return keys


def from_published(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours from one in the published layout (keys may all carry `model.` in front, once or twice).

    Raises:
        BadInput: naming what is missing or left over.
    """
    tensors = {k: v for k, v in tensors.items() if not k.endswith(_EXTRA)}
    while tensors and all(k.startswith("model.") for k in tensors):
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


def merge(config: TransformerConfig, shards: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A state dict of ours from the shards of tensor parallelism in the published layout, in the order of their ranks.

    Raises:
        BadInput: no shard, shards that hold different keys, or tensors that all ranks hold whole and yet differ.
    """
    if not shards:
        raise BadInput("There is no shard to merge.")
    for rank, shard in enumerate(shards):
        if odd := sorted(shard.keys() ^ shards[0].keys()):
            raise BadInput(f"Shard {rank} and shard 0 hold different tensors: {len(odd)} (first: {odd[0]}).")
    whole: dict[str, Tensor] = {}
    for key in shards[0]:
        parts, axis = [shard[key] for shard in shards], _axis(key)
        if axis is None and not key.endswith(_EXTRA) and any(not torch.equal(parts[0], p) for p in parts[1:]):
            raise BadInput(f"Every shard holds {key} whole, and they differ: these are not shards of one network.")
        whole[key] = parts[0] if axis is None else torch.cat(parts, axis)
    return from_published(config, whole)


def split(config: TransformerConfig, tensors: Mapping[str, Tensor], ranks: int) -> list[dict[str, Tensor]]:
    """The inverse of `merge`: one published state dict a rank.

    Raises:
        BadInput: heads, feed-forward or embedding cannot be shared evenly by so many.
    """
    uneven = [n for n in (config.kv_heads, config.heads, config.hidden, config.rows, config.vocab) if n % ranks]
    if ranks < 1 or uneven:
        raise BadInput(f"{ranks} ranks cannot share evenly what there is {uneven[0] if uneven else 'to share'} of.")
    out: list[dict[str, Tensor]] = [{} for _ in range(ranks)]
    for key, value in to_published(config, tensors).items():
        axis = _axis(key)
        for rank, part in enumerate([value] * ranks if axis is None else value.chunk(ranks, axis)):
            out[rank][key] = part.clone()
    return out


def _axis(key: str) -> int | None:
    return _SHARED.get(key.removesuffix(".weight").rpartition(".")[2])


def to_llama(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the names of transformers' `LlamaForCausalLM`; with `qk_norm`, of its `Qwen3ForCausalLM`.

    Raises:
        BadInput: a network with positions, text or a begin token that those do not have.
    """
    if not config.flat or config.context_dim or config.absolute or config.begin:
        raise BadInput("A Llama has flat positions, and neither text, nor an absolute table, nor a begin token.")
    names = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    block = _LLAMA | ({f"attention.norm_{x}": f"self_attn.{x}_norm" for x in "qk"} if config.qk_norm else {})
    for i in range(config.layers):
        names |= {f"blocks.{i}.{ours}": f"model.layers.{i}.{theirs}" for ours, theirs in block.items()}
    return {f"{names[k.removesuffix('.weight')]}.weight": v for k, v in tensors.items()}


def shards_beside(path: Path) -> list[Path]:
    """`NAME_model_mp_0.pt` and on, for a path `NAME.pt` that is itself not there; in the order of their ranks.

    Raises:
        BadInput: one in the middle is missing.
    """
    named = {}
    for found in path.parent.glob(f"{path.stem}_model_mp_*{path.suffix}"):
        rank = found.stem.rpartition("_")[2]
        if rank.isdigit():
            named[int(rank)] = found
    if missing := sorted(set(range(max(named, default=-1) + 1)) - named.keys()):
        raise BadInput(f"Of the shards of {path} number {missing[0]} is missing; there are {sorted(named)}.")
    return [named[rank] for rank in sorted(named)]


def load_published(network: Transformer, path: str | Path) -> None:
    """Copy published weights into `network`, strictly. Nothing in the file is unpickled.

    Args:
        path: a .safetensors or .pt file; or the name that shards of tensor parallelism have in common, as `model.pt` for
            `model_model_mp_0.pt` and on.

    Raises:
        BadInput: unreadable, or tensors missing, left over or of another shape.
    """
    path = Path(path)
    shards = [] if path.is_file() else shards_beside(path)
    if not path.is_file() and not shards:
        raise BadInput(f"{path} is no file; give the model.pt or .safetensors of the published weights.")
    if shards:
        state = merge(network.config, [read_tensors(shard, mapped=True) for shard in shards])
    else:
        state = from_published(network.config, read_tensors(path, mapped=True))
    own = network.state_dict()
    wrong = [k for k, v in state.items() if v.shape != own[k].shape]
    if wrong:
        raise BadInput(
            f"{path}: {len(wrong)} tensors of another shape; {wrong[0]} is {tuple(state[wrong[0]].shape)}, "
            f"wanted {tuple(own[wrong[0]].shape)}."
        )
    network.load_state_dict(state, strict=True)
