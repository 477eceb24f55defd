"""The hand of a world that acts: a mixture of Gaussians over actions, read off cells and words."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from armillary.worlds.diffusion.actor import STIRRED, Actor, ActorConfig, Answer, drawn, surprise, unforeseen

SMALL = ActorConfig(width=32, depth=1, heads=4, reads=2, modes=3)


def answer(rng, b=5, m=3, a=2):
    weights = torch.randn(b, m, generator=rng).log_softmax(1)
    mean, deviation = torch.randn(b, m, a, generator=rng), 0.5 * torch.randn(b, m, a, generator=rng)
    return Answer(weights, mean, deviation, torch.randn(b, 3, 2, 2, generator=rng))


def test_surprise_is_minus_the_log_density_of_the_mixture():
    rng = torch.Generator().manual_seed(0)
    made = weights, mean, deviation, _ = answer(rng)
    action = torch.randn(5, 2, generator=rng)
    peer = MixtureSameFamily(Categorical(logits=weights), Independent(Normal(mean, deviation.exp()), 1))
    torch.testing.assert_close(surprise(made, action), -peer.log_prob(action))


def test_draws_have_the_mixtures_mean_and_spread_and_come_again_with_the_seed():
    rng = torch.Generator().manual_seed(1)
    one = answer(rng, b=1)
    many = Answer(*(x.expand(40_000, *x.shape[1:]) for x in one))
    draws = drawn(many, torch.Generator().manual_seed(2))
    weights, mean, deviation = one[0][0].exp()[:, None], one[1][0], one[2][0].exp()
    middle = (weights * mean).sum(0)
    variance = (weights * (deviation**2 + mean**2)).sum(0) - middle**2
    torch.testing.assert_close(draws.mean(0), middle, atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), variance, atol=0.0, rtol=0.05)
    assert torch.equal(draws, drawn(many, torch.Generator().manual_seed(2)))


def test_without_spread_it_is_the_middle_of_the_likeliest_mode_whatever_the_seed():
    one = answer(torch.Generator().manual_seed(3))
    for seed in range(3):
        made = drawn(one, torch.Generator().manual_seed(seed), 0.0)
        assert torch.equal(made, one.mean[torch.arange(5), one.weights.argmax(1)])


def test_what_is_foreseen_is_cheap():
    change = torch.zeros(2, 3, 4, 2, 2)
    change[0, 1, :, 0, 1] = 1.1 * STIRRED  # of one row one cell, a while on
    sure = torch.full((2, 3, 2, 2), -8.0)
    sure[0, 1, 0, 1] = 8.0
    known = unforeseen(answer(torch.Generator(), 2)._replace(stirred=sure), change)
    wrong = unforeseen(answer(torch.Generator(), 2)._replace(stirred=sure.flip(0)), change)
    assert float(known.max()) < 1e-3 and torch.allclose(wrong, torch.full((2,), 8 / 12), atol=1e-3)


@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_any_size_of_frame_and_masked_words_say_nothing(size):
    torch.manual_seed(0)
    actor = Actor(SMALL, channels=4, action_dim=6, text_dim=5)
    frame, context = torch.randn(2, 4, *size), torch.randn(2, 7, 5)
    mask = torch.arange(7)[None] < torch.tensor([[4], [7]])
    made = actor(frame, context, mask)
    assert made.weights.shape == (2, 3) and made.mean.shape == made.deviation.shape == (2, 3, 6)
    assert made.stirred.shape == (2, 3, *size)
    torch.testing.assert_close(made.weights.exp().sum(1), torch.ones(2))
    other = context.clone()
    other[0, 4:] = 9.0
    for a, b in zip(made, actor(frame, other, mask)):
        torch.testing.assert_close(a, b)


def scenes(rng, b):
    """Two of six kinds of things in each scene, the word for one of them, and in which cell that one is."""
    kind, at = torch.randint(0, 6, (b,), generator=rng), torch.randint(0, 16, (b,), generator=rng)
    cells = 0.3 * torch.randn(b, 6, 16, generator=rng)
    other = (kind + 1 + torch.randint(0, 5, (b,), generator=rng)) % 6
    there = (at + 1 + torch.randint(0, 15, (b,), generator=rng)) % 16
    cells[torch.arange(b), kind, at] += 3.0
    cells[torch.arange(b), other, there] += 3.0
    return cells.unflatten(2, (4, 4)), torch.eye(6)[kind][:, None], at


def test_it_learns_to_go_where_the_word_says():
    torch.manual_seed(0)
    actor, rng = Actor(SMALL, channels=6, action_dim=2, text_dim=6), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(actor.parameters(), lr=4e-3)
    places = torch.cartesian_prod(torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 4))
    for _ in range(120):
        cells, context, at = scenes(rng, 48)
        loss = surprise(actor(cells, context), places[at]).mean() + actor.mismatch(cells, context, None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    cells, context, at = scenes(rng, 200)
    with torch.no_grad():
        made = drawn(actor(cells, context), rng, 0.0)
        deaf = drawn(actor(cells, context.roll(1, 0)), rng, 0.0)
    off, other = (made - places[at]).norm(dim=1), (deaf - places[at]).norm(dim=1)
    assert off.median() < 0.25 < 0.5 < other.median()


def test_words_find_their_cells_though_nobody_points():
    """Each scene shows two kinds of things and its sentence names one: by contrast of scenes and sentences words learn their cells."""
    torch.manual_seed(0)
    actor, rng = Actor(SMALL, channels=6, action_dim=2, text_dim=6), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(actor.pointer.parameters(), lr=5e-3)
    for _ in range(60):
        cells, context, _ = scenes(rng, 48)
        loss = actor.mismatch(cells, context, None)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    cells, context, at = scenes(rng, 300)
    words = actor.pointer.sentences(context, torch.ones(300, 1, dtype=torch.bool))
    found = torch.einsum("bnd,bd->bn", actor.pointer.cells(cells), words).argmax(1)
    assert float((found == at).float().mean()) > 0.9


def test_silence_is_not_contrasted_and_one_sentence_twice_is_one():
    actor = Actor(SMALL, channels=6, action_dim=2, text_dim=6)
    cells, context, _ = scenes(torch.Generator().manual_seed(0), 4)
    mask = torch.tensor([[True], [False], [False], [False]])
    assert float(actor.mismatch(cells, context, mask)) == 0.0 and float(actor.mismatch(cells, None, None)) == 0.0
    alike = actor.mismatch(cells, context[:1].expand(4, -1, -1), None)
    torch.testing.assert_close(alike, torch.log(torch.tensor(4.0)), atol=0.3, rtol=0)  # every frame fits every one of them
    assert actor.pointer.sentences(context, mask)[1:].abs().max() == 0
