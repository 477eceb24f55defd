"""The autoregressive network against tensors written by the published code with random weights."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from armillary.errors import BadInput
from armillary.types import Grid
from armillary.worlds.autoregressive.published import from_published, key_map, load_published, merge, split, to_published
from armillary.worlds.autoregressive.transformer import SIZES, Cache, Transformer, TransformerConfig, Yarn, sine_table

GOLDEN = Path(__file__).resolve().parents[2] / "../shared/data/golden"
CASES = ("ar_4b_like", "ar_5b_v2w_like", "ar_12b_yarn_like", "ar_13b_v2w_yarn_like")
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference tensors are not on this machine")


def golden(name: str):
    tensors, facts = load_file(GOLDEN / f"{name}.safetensors"), json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    yarn = None
    if facts.get("apply_yarn"):
        original = tuple(facts["original_latent_shape"])
        yarn = Yarn(facts["yarn_scale"], original, facts["yarn_beta_fast"], facts["yarn_beta_slow"])
    config = TransformerConfig(
        vocab=facts["vocab_size"],
        dim=facts["dim"],
        layers=facts["n_layers"],
        heads=facts["n_heads"],
        kv_heads=facts["n_kv_heads"],
        head_dim=facts["head_dim"] or 0,
        hidden=facts["ffn_hidden_size"],
        context_dim=facts.get("context_dim", 0),
        begin="v2w" in name,
        absolute=facts.get("apply_abs_pos_emb", False),
        yarn=yarn,
        theta=float(facts["rope_theta"]),
        eps=facts["norm_eps"],
    )
    weights = {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")}
    return tensors, weights, config, Transformer(config, Grid(1, *facts["video_latent_shape"])).eval()


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@needs_golden
@pytest.mark.parametrize("suffix", ["", "_partial_context_mask"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_prefill_and_cached_decode(name, suffix):
    tensors, weights, config, network = golden(name)
    if suffix and not config.context_dim:
        suffix = ""
    network.load_state_dict(from_published(config, weights), strict=True)
    prompt, further = tensors["inputs/prefill_tokens"], tensors["inputs/decode_tokens"]
    mask = tensors.get("inputs/context_mask_partial" if suffix else "inputs/context_mask")
    cache = Cache(config, len(prompt), prompt.shape[1] + further.shape[1], network.embed.weight)
    given = {"context": tensors.get("inputs/context"), "context_mask": mask, "cache": cache}
    wanted = tensors[f"outputs/logits_prefill{suffix}"]
    assert error(network(prompt, **given)[:, -wanted.shape[1] :], wanted) < 1e-5
    for j in range(further.shape[1]):
        assert error(network(further[:, j : j + 1], **given), tensors[f"outputs/logits_decode_{j}{suffix}"]) < 1e-5


@needs_golden
@pytest.mark.parametrize("name", CASES)
def test_tables(name):
    tensors, _, config, network = golden(name)
    cos, sin, absolute = network.tables(torch.device("cpu"))
    assert error(cos, tensors["outputs/rope_cos"][: len(cos)]) < 1e-6
    assert error(sin, tensors["outputs/rope_sin"][: len(sin)]) < 1e-6
    if absolute is not None:
        theirs = tensors["outputs/abs_pos_emb_as_released_bf16_values"][0]
        assert torch.equal(absolute, theirs[: len(absolute)])
        assert torch.equal(absolute[1:], sine_table(network.grid, config.dim))


@needs_golden
def test_key_map_is_strict_and_invertible(tmp_path):
    _, weights, config, network = golden("ar_5b_v2w_like")
    ours = from_published(config, weights)
    assert ours.keys() == network.state_dict().keys()
    back = to_published(config, ours)
    assert back.keys() == weights.keys() and all(torch.equal(back[k], weights[k]) for k in weights)
    path = tmp_path / "model.pt"
    torch.save({"model": {f"model.{k}": v for k, v in weights.items()}}, path)
    load_published(network, path)
    assert all(torch.equal(v, ours[k]) for k, v in network.state_dict().items())
    with pytest.raises(BadInput, match=r"1 missing \(first: norm.weight\); 1 unexpected \(first: norm.bias\)"):
        from_published(
            config, {k.replace("norm.weight", "norm.bias") if k == "norm.weight" else k: v for k, v in weights.items()}
        )
    torch.save(weights | {"norm.weight": torch.ones(3)}, path)
    with pytest.raises(BadInput, match="another shape"):
        load_published(network, path)


WIDE = TransformerConfig(vocab=64, dim=32, layers=2, heads=8, kv_heads=4, hidden=24, context_dim=8, head_dim=6)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shards_of_tensor_parallelism(ranks, tmp_path):
    torch.manual_seed(0)
    network, empty = (Transformer(WIDE, Grid(1, 2, 2, 2)) for _ in range(2))
    shards = split(WIDE, network.state_dict(), ranks)
    sizes = {k: v.numel() for k, v in shards[0].items()}
    whole = to_published(WIDE, network.state_dict())
    for (
        key,
        tensor,
    ) in whole.items():  # as the published code shares them: rows of q, k, v, w1, w3 and vocabulary, columns of wo and w2
        shared = not key.endswith("norm.weight")
        assert sizes[key] * (ranks if shared else 1) == tensor.numel()
    narrow = shards[-1]["layers.1.attention.wo.weight"]
    assert torch.equal(narrow, whole["layers.1.attention.wo.weight"][:, -narrow.shape[1] :])
    assert torch.equal(shards[-1]["output.weight"], whole["output.weight"][-64 // ranks :])
    for rank, shard in enumerate(shards):
        torch.save({f"model.{k}": v for k, v in shard.items()}, tmp_path / f"iter_7_model_mp_{rank}.pt")
    load_published(empty, tmp_path / "iter_7.pt")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in empty.state_dict().items())
    if ranks > 1:
        del shards[1]["norm.weight"]
        with pytest.raises(BadInput, match=r"Shard 1 and shard 0 .* norm.weight"):
            merge(WIDE, shards)
        shards[1]["norm.weight"] = torch.full((32,), 2.0)
        with pytest.raises(BadInput, match=r"norm\.weight whole, and they differ"):
            merge(WIDE, shards)
        (tmp_path / "iter_7_model_mp_0.pt").unlink()
        with pytest.raises(BadInput, match="number 0 is missing"):
            load_published(empty, tmp_path / "iter_7.pt")
    with pytest.raises(BadInput, match="3 ranks"):
        split(WIDE, network.state_dict(), 3)


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"cbuiltins\nprint\n(S'run'\ntR.")
    with torch.device("meta"):
        network = Transformer(TransformerConfig(vocab=8, dim=16, layers=1, heads=2, kv_heads=1, hidden=16), Grid(1, 2, 2, 2))
    with pytest.raises(BadInput, match=r"before 1\.6|neither"):
        load_published(network, tmp_path / "model.pt")


@pytest.mark.parametrize(("size", "billions"), [("4b", 4.01), ("5b", 4.58), ("12b", 11.56), ("13b", 13.32)])
def test_published_parameter_counts(size, billions):
    config = SIZES[size]
    with torch.device("meta"):
        network = Transformer(dataclasses.replace(config), Grid(1, 5, 40, 64))
    assert round(sum(p.numel() for p in network.parameters()) / 1e9, 2) == billions
    assert key_map(config).keys() == network.state_dict().keys()
