"""With flat positions the autoregressive network is a Llama (with normed heads a Qwen 3): logits against transformers' own classes."""

import pytest
import torch

from armillary.errors import BadInput
from armillary.types import Grid
from armillary.worlds.autoregressive.decode import Sampling, decode, draw
from armillary.worlds.autoregressive.published import to_llama
from armillary.worlds.autoregressive.transformer import Cache, Transformer, TransformerConfig

transformers = pytest.importorskip("transformers", reason='transformers is not installed: pip install "armillary[vlm]"')

SIZE = {"vocab": 61, "dim": 48, "layers": 3, "heads": 6, "kv_heads": 2, "hidden": 80, "theta": 10_000.0}


def pair(qk_norm: bool):
    """Ours and theirs with the same weights, none of which is where it starts."""
    config = TransformerConfig(**SIZE, begin=False, flat=True, qk_norm=qk_norm)
    network, rng = Transformer(config, Grid(1, 4, 4, 4)).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=rng) * (0.3 if p.ndim == 1 else 0.1))
    kind = "Qwen3" if qk_norm else "Llama"
    settings = getattr(transformers, f"{kind}Config")(
        vocab_size=config.vocab,
        hidden_size=config.dim,
        intermediate_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head,
        rms_norm_eps=config.eps,
        rope_theta=config.theta,
        tie_word_embeddings=False,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
    )
    theirs = getattr(transformers, f"{kind}ForCausalLM")(settings).eval()
    theirs.load_state_dict(to_llama(config, network.state_dict()), strict=True)
    return network, theirs


def error(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_prefill_and_cached_decode(qk_norm):
    network, theirs = pair(qk_norm)
    ids = torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(1))
    assert error(network(ids), theirs(ids).logits) < 1e-5
    cache, memory = Cache(network.config, 2, 20, network.embed.weight), None
    for start, end in ((0, 14), (14, 15), (15, 16), (16, 20)):
        said = theirs(ids[:, start:end], past_key_values=memory, use_cache=True)
        memory = said.past_key_values
        assert error(network(ids[:, start:end], cache=cache), said.logits) < 1e-5


def test_decoding_equals_generate():
    network, theirs = pair(False)
    ids = torch.randint(0, 61, (2, 5), generator=torch.Generator().manual_seed(2))
    wanted = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False)[:, 5:]
    made = decode(network, ids, draw(torch.Generator(), 2, 30), Sampling(0.0))
    assert torch.equal(made, wanted) and len(made.unique()) > 5


def test_what_a_llama_does_not_have():
    with pytest.raises(BadInput, match="flat positions"):
        to_llama(TransformerConfig(**SIZE, begin=True), {})
