"""The autoregressive network, its objective and its decoder."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import BadInput
from armillary.types import Grid
from armillary.worlds.autoregressive import decode as decoding
from armillary.worlds.autoregressive.decode import Sampling, choose, decode, draw
from armillary.worlds.autoregressive.objective import next_token_loss
from armillary.worlds.autoregressive.step import Stepper
from armillary.worlds.autoregressive.transformer import Cache, Transformer, TransformerConfig, Yarn

GRID = Grid(1, 3, 2, 3)
SMALL = {"vocab": 23, "dim": 48, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 64}
KINDS = {
    "plain": TransformerConfig(**SMALL, begin=False),
    "begin": TransformerConfig(**SMALL),
    "text": TransformerConfig(**SMALL, context_dim=8),
    "text, absolute, yarn": TransformerConfig(**SMALL, context_dim=8, absolute=True, yarn=Yarn(2.0, (2, 2, 3))),
    "wide heads": TransformerConfig(**(SMALL | {"dim": 40}), head_dim=16),
}


def network_of(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A network in which nothing is silent: every weight is random, the text's output too."""
    network, rng = Transformer(config, GRID).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=rng) * (0.3 if p.ndim == 1 else 0.15))
    return network


def inputs_of(config: TransformerConfig, rows: int = 2):
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(0, config.vocab, (rows, 12), generator=rng)
    extra = torch.randn(rows, 12, config.dim, generator=rng)
    if not config.context_dim:
        return ids, extra, {}
    context = torch.randn(rows, 5, config.context_dim, generator=rng)
    return ids, extra, {"context": context, "context_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]][:rows]).bool()}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_cached_reading_equals_the_full_pass(kind):
    network = network_of(KINDS[kind])
    ids, extra, text = inputs_of(network.config)
    whole = network(ids, extra=extra, **text)
    for cuts in ((5, 6, 7, 8, 9, 10, 11, 12), (4, 9, 12), (1, 12)):
        cache, start = Cache(network.config, 2, 12, network.embed.weight), 0
        cache.keys.fill_(math.nan)  # an empty place that is looked at shows
        cache.values.fill_(math.nan)
        for end in cuts:
            part = network(ids[:, start:end], extra=extra[:, start:end], cache=cache, **text)
            assert torch.allclose(part, whole[:, start:end], atol=2e-5)
            start = end


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_stepper_equals_the_network(kind):
    network = network_of(KINDS[kind])
    ids, extra, text = inputs_of(network.config)
    whole = network(ids, extra=extra, **text)
    cache = Cache(network.config, 2, 12, network.embed.weight)
    cache.keys.fill_(math.nan)
    network(ids[:, :4], extra=extra[:, :4], cache=cache, **text)
    step = Stepper(network, cache, text.get("context_mask"))
    for i in range(4, 12):
        assert torch.allclose(step(ids[:, i : i + 1], extra[:, i : i + 1]), whole[:, i], atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_nothing_sees_what_comes_later(kind):
    network = network_of(KINDS[kind])
    ids, extra, text = inputs_of(network.config)
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % network.config.vocab
    before, after = network(ids, extra=extra, **text), network(changed, extra=extra, **text)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().amin(dim=(0, 1)).max() > 1e-4


@torch.no_grad()
def test_rows_and_padding_do_not_touch_each_other():
    network = network_of(KINDS["text"])
    ids, _, text = inputs_of(network.config)
    whole = network(ids, **text)
    alone = network(ids[:1], context=text["context"][:1, :3])
    assert torch.allclose(whole[:1], alone, atol=2e-5)


@torch.no_grad()
def test_new_text_is_silent():
    network, (ids, _, text) = Transformer(KINDS["text"], GRID), inputs_of(KINDS["text"])
    assert torch.equal(network(ids, **text), network(ids))


def test_too_many_tokens():
    network = Transformer(KINDS["plain"], GRID)
    with pytest.raises(BadInput, match="19 tokens do not fit into 18 places"):
        network(torch.zeros(1, 19, dtype=torch.long))
    cache = Cache(network.config, 1, 2, network.embed.weight)
    with pytest.raises(BadInput, match="room for 2"):
        network(torch.zeros(1, 3, dtype=torch.long), cache=cache)


def test_heads_must_divide():
    with pytest.raises(BadInput, match="multiple"):
        TransformerConfig(heads=6, kv_heads=4)


def test_yarn_keeps_fast_and_halves_slow_frequencies():
    from armillary.worlds.autoregressive.transformer import frequencies

    plain = frequencies(TransformerConfig(dim=5120, head_dim=128))
    yarn = frequencies(TransformerConfig(dim=5120, head_dim=128, yarn=Yarn(2.0, (3, 40, 64))))
    ratio = yarn[1] / plain[1]
    assert ratio[0] == 1 and torch.allclose(ratio[-1], torch.tensor(0.5)) and (ratio.diff() <= 0).all()
    assert torch.equal(yarn[1], yarn[2])


def test_loss_values():
    logits = torch.tensor([[[0.0, 0.0, math.log(2)], [3.0, 3.0, 3.0]]])
    targets = torch.tensor([[2, 0]])
    log_z = torch.tensor([math.log(4), 3 + math.log(3)])
    nll = (math.log(2) + math.log(3)) / 2
    loss, metrics = next_token_loss(logits, targets, z_loss=0.25)
    assert loss.item() == pytest.approx(nll + 0.25 * log_z.square().mean().item(), rel=1e-6)
    assert metrics["nll"].item() == pytest.approx(nll, rel=1e-6)
    assert metrics["z"].item() == pytest.approx(log_z.square().mean().item(), rel=1e-6)
    bare, _ = next_token_loss(logits, targets, 0.0)
    assert bare.item() == pytest.approx(torch.nn.functional.cross_entropy(logits[0], targets[0]).item(), rel=1e-6)


def test_z_loss_pulls_the_normaliser_down_where_likelihood_does_not():
    logits = torch.full((1, 1, 4), 5.0, requires_grad=True)
    loss, _ = next_token_loss(logits, torch.tensor([[1]]), z_loss=1.0)
    loss.backward()
    assert logits.grad is not None and logits.grad.sum().item() == pytest.approx(2 * (5 + math.log(4)), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-600, 600).map(lambda i: i / 100), min_size=2, max_size=12),  # equal or apart, in float32 too
    st.floats(0, 0.999999),
    st.floats(0.05, 1.0),
    st.integers(0, 14),
    st.floats(0.2, 3.0),
)
def test_choices_stay_inside_the_filters(values, u, top_p, top_k, temperature):
    logits = torch.tensor([values])
    pick = choose(logits, torch.tensor([u]), Sampling(temperature, top_k, top_p)).item()
    order = sorted(values, reverse=True)
    if top_k:
        assert values[pick] >= order[min(top_k, len(values)) - 1]
    share = torch.softmax(torch.tensor([order if not top_k else order[:top_k]], dtype=torch.float64) / temperature, -1)[0]
    before = share.cumsum(0) - share
    allowed = [v for v, b in zip(order, before.tolist()) if b < top_p + 1e-6]
    assert values[pick] >= min(allowed) - 1e-6


def test_choices_follow_the_distribution():
    logits = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0]).log_softmax(-1)
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for sampling, kept in (
        (Sampling(1.0, 0, 1.0), 5),
        (Sampling(1.0, 3, 1.0), 3),
        (Sampling(1.0, 0, 0.7), 2),
        (Sampling(0.5, 0, 1.0), 5),
    ):
        wanted = torch.softmax(logits / sampling.temperature, -1)
        if kept < 5:
            wanted = torch.where(wanted >= wanted.topk(kept).values[-1], wanted, 0.0)
            wanted /= wanted.sum()
        seen = torch.bincount(choose(logits.expand(len(u), -1), u, sampling), minlength=5) / len(u)
        assert (seen - wanted).abs().max() < 2e-4, sampling


def test_greedy_ignores_the_numbers():
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(choose(logits, torch.rand(4), Sampling(0.0)), logits.argmax(-1))


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"temperature": math.inf}]
)
def test_sampling_ranges(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize("limit", [0, decoding.LIMIT])
def test_cached_decoding_equals_uncached(limit, monkeypatch):
    monkeypatch.setattr(decoding, "LIMIT", limit)  # the plain network, and the stepper
    network = network_of(KINDS["text"])
    ids, extra, text = inputs_of(network.config)
    uniform = draw(torch.Generator().manual_seed(3), 2, 8)
    made = [
        decode(network, ids[:, :4], uniform, Sampling(1.0, 0, 1.0), extra=lambda a, b: extra[:, a:b], cached=cached, **text)
        for cached in (True, False)
    ]
    assert torch.equal(made[0], made[1])
    assert made[0].shape == (2, 8) and len(made[0].unique()) > 3


def test_seeds_belong_to_rows():
    a = draw(torch.Generator(), 3, 5, seeds=[7, 8, 9])
    b = draw(torch.Generator(), 2, 5, seeds=[9, 7])
    assert torch.equal(a[0], b[1]) and torch.equal(a[2], b[0])
    with pytest.raises(BadInput, match="3 rows want 3 seeds"):
        draw(torch.Generator(), 3, 5, seeds=[1])


def test_progress_counts_tokens():
    network, seen = network_of(KINDS["begin"]), []
    decode(network, torch.zeros(1, 1, dtype=torch.long), draw(torch.Generator(), 1, 6), Sampling(), progress=seen.append)
    assert seen == [1] * 6
