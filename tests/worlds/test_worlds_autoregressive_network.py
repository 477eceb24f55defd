"""The autoregressive network, its objective and its decoder."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import BadInput
from armillary.types import Grid
from armillary.worlds.autoregressive import step as stepping
from armillary.worlds.autoregressive.decode import Sampling, choose, decode, draw
from armillary.worlds.autoregressive.heads import Heads, HeadsConfig
from armillary.worlds.autoregressive.objective import next_token_loss
from armillary.worlds.autoregressive.step import Joined, Stepper
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
    step = Stepper(Joined(network), cache, text.get("context_mask"))
    start = 4
    for end in (5, 6, 9, 12):
        states = step(ids[:, start:end], extra[:, start:end])
        assert torch.allclose(step.say(states), whole[:, start:end], atol=2e-5)
        start = end


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


@pytest.mark.parametrize("limit", [0, stepping.LIMIT])
def test_cached_decoding_equals_uncached(limit, monkeypatch):
    monkeypatch.setattr(stepping, "LIMIT", limit)  # the plain network, and the stepper
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


# Several tokens a pass


def counted(network, *arguments, **more):
    passes = []
    return decode(network, *arguments, progress=passes.append, **more), passes


@pytest.mark.parametrize("limit", [0, stepping.LIMIT])
@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1.0, 0, 1.0), Sampling(0.7, 5, 0.9)])
@pytest.mark.parametrize("kind", ["begin", "text, absolute, yarn"])
def test_heads_change_nothing_but_the_number_of_passes(kind, sampling, limit, monkeypatch):
    monkeypatch.setattr(stepping, "LIMIT", limit)
    network = network_of(KINDS[kind])
    ids, extra, text = inputs_of(network.config)
    uniform = draw(torch.Generator().manual_seed(3), 2, 10)
    given = {"extra": lambda a, b: extra[:, a:b], **text}
    plain, each = counted(network, ids[:, :3], uniform, sampling, **given)
    heads = Heads(HeadsConfig(3), network.config.dim, network.config.vocab)
    with torch.no_grad():
        heads.mix.weight.normal_(generator=torch.Generator().manual_seed(0))
    fast, passes = counted(network, ids[:, :3], uniform, sampling, heads=heads, **given)
    assert torch.equal(plain, fast)
    assert each == [1] * 10 and sum(passes) == 10


class Oracle(Heads):
    """Guesses what is given to it, so that all of it can be kept."""

    def __init__(self, answers, vocab):
        super().__init__(HeadsConfig(4), 48, vocab)
        self.answers, self.at = answers, 1

    def forward(self, states, say, count=None):
        guesses = self.answers[:, self.at : self.at + count]
        self.at += count + 1
        return torch.nn.functional.one_hot(guesses, 23).float() * 50


def test_right_guesses_save_passes():
    network = network_of(KINDS["begin"])
    ids, uniform = torch.zeros(1, 1, dtype=torch.long), draw(torch.Generator(), 1, 16)
    plain = decode(network, ids, uniform, Sampling(0.0))
    fast, passes = counted(network, ids, uniform, Sampling(0.0), heads=Oracle(plain, 23))
    assert torch.equal(plain, fast) and passes == [1, 5, 5, 5]


@torch.no_grad()
def test_blocks_read_and_say_together():
    config = TransformerConfig(**SMALL, block=3)
    network = network_of(config)
    ids, rng = torch.randint(0, 23, (2, 18), generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    inputs = torch.cat([torch.arange(23, 26).expand(2, -1), ids], 1)  # a block of begin tokens
    whole = network(inputs)
    cache = Cache(config, 2, 21, network.embed.weight)
    cache.keys.fill_(math.nan)
    step, start = None, 0
    for end in (6, 9, 15, 21):
        part = network(inputs[:, start:end], cache=cache) if step is None else step.say(step(inputs[:, start:end], None))
        assert torch.allclose(part, whole[:, start:end], atol=2e-5)
        start = end
        step = step or (Stepper(Joined(network), cache, None) if end >= 9 else None)
    changed = inputs.clone()
    changed[:, 8] = (changed[:, 8] + 1) % 23  # the last of the third block
    different = (network(changed) - whole).abs().amax((0, 2)) > 1e-4
    assert not different[:6].any() and different[6:9].all() and different[9:].any()
    assert not torch.allclose(whole[:, 0], whole[:, 1])  # begin tokens differ
    made, passes = counted(network, inputs[:, :6], draw(rng, 2, 12), Sampling(1.0, 0, 1.0))
    again = decode(network, inputs[:, :6], draw(torch.Generator().manual_seed(1), 2, 12), Sampling(1.0, 0, 1.0), cached=False)
    assert passes == [3] * 4 and torch.equal(made, again)
    with pytest.raises(BadInput, match="whole blocks"):
        decode(network, inputs[:, :4], draw(rng, 2, 12), Sampling())
    with pytest.raises(BadInput, match="do not divide"):
        Transformer(TransformerConfig(**SMALL, block=4), GRID)


@torch.no_grad()
def test_int8_is_near_and_rows_stay_alone():
    network = network_of(KINDS["text, absolute, yarn"])
    ids, _, text = inputs_of(network.config)
    whole = network(ids, **text)

    def read(rows, n, int8=True):
        mask = text["context_mask"][rows]
        cache = Cache(network.config, len(ids[rows]), 12, network.embed.weight)
        network(ids[rows, :4], context=text["context"][rows], context_mask=mask, cache=cache)
        step = Stepper(Joined(network, int8), cache, mask)
        return torch.cat([step.say(step(ids[rows, i : i + n], None)) for i in range(4, 12, n)], 1)

    both = read(slice(0, 2), 1)
    off = (both - whole[:, 4:]).square().mean().sqrt() / whole[:, 4:].std()
    assert 0 < off < 0.05
    assert torch.allclose(both[1:], read(slice(1, 2), 1), atol=1e-5)
    assert torch.allclose(both, read(slice(0, 2), 4), atol=1e-5)  # so heads change nothing here either
    with pytest.raises(BadInput, match="float32"):
        Joined(network.double(), int8=True)
