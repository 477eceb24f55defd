"""The objective and the solvers on a world whose answer is known: data that is one Gaussian."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from armillary.errors import BadInput
from armillary.worlds.diffusion.edm import EDM, EDMConfig, loss_weight, scalings
from armillary.worlds.diffusion.sampler import SOLVERS, guided, karras, sample, to_zero

SIGMA = torch.tensor([1e-3, 0.1, 0.5, 2.0, 80.0], dtype=torch.float64)
MEAN, STD = 0.7, 0.5


def gaussian(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best estimate of a clean value drawn from N(MEAN, STD^2)."""
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def fresh(like: torch.Tensor, seed: int = 9):
    rng = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(like.shape, generator=rng, dtype=like.dtype)


def exact(x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """Where the probability-flow equation of that Gaussian takes `x` from one level to another."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + end**2) / (STD**2 + start**2))


@pytest.mark.parametrize("clean", [False, True])
def test_the_networks_own_target_has_unit_variance_at_every_level(clean):
    c, sd = scalings(SIGMA, 0.5, clean=clean), 0.5
    # Of F* = (y - c_skip x) / c_out with y of variance sd^2 and independent unit noise.
    variance = (((1 - c.skip) * sd) ** 2 + (c.skip * SIGMA) ** 2) / c.out**2
    torch.testing.assert_close(variance, torch.ones_like(variance))
    torch.testing.assert_close(loss_weight(SIGMA, sd, clean), c.out**-2)


def test_the_networks_input_has_unit_variance_or_only_its_share_of_signal():
    for gate in (False, True):
        c = scalings(SIGMA, 0.5, gate)
        std = c.into * (SIGMA**2 + 0.25).sqrt()
        share = 0.5 / (SIGMA**2 + 0.25).sqrt() if gate else torch.ones_like(SIGMA)
        torch.testing.assert_close(std, share)
    assert torch.equal(c.noise, 0.25 * SIGMA.log())


def test_without_an_answer_the_estimate_at_low_noise_is_what_was_seen():
    c = scalings(SIGMA)
    assert c.skip[0] > 0.99 and c.skip[-1] < 1e-4


def test_noise_levels_are_log_normal_within_bounds_and_a_share_lies_at_the_top():
    edm = EDM(EDMConfig(mean=-1.0, std=0.5, sigma_max=10.0, top=0.25))
    sigma = edm.draw(20_000, torch.Generator().manual_seed(0))
    top = sigma == 10.0
    assert abs(top.float().mean() - 0.25) < 0.02
    rest = sigma[~top].log()
    assert abs(rest.mean() + 1.0) < 0.02 and abs(rest.std() - 0.5) < 0.02
    wide = EDM(EDMConfig(std=5.0)).draw(5000, torch.Generator().manual_seed(0))
    assert wide.min() >= 0.0002 and wide.max() <= 80.0
    more = EDM(EDMConfig(by_frames=True)).draw(5000, torch.Generator().manual_seed(0), frames=16)
    same = EDM(EDMConfig()).draw(5000, torch.Generator().manual_seed(0), frames=16)
    torch.testing.assert_close(more, (4 * same).clamp(max=80.0))


def test_the_learned_loss_variance_settles_at_the_log_of_the_loss():
    torch.manual_seed(0)
    edm = EDM(EDMConfig())
    target, sigma = torch.zeros(64, 3), torch.linspace(0.05, 5.0, 64)
    off = 3.0 / loss_weight(sigma).sqrt()[:, None].expand(64, 3)  # weighted loss 9 at every level
    optimiser = torch.optim.Adam(edm.parameters(), lr=0.03)
    first, _ = edm.loss(target, off, sigma)
    torch.testing.assert_close(first.item(), 9.0)  # u is zero at first
    for _ in range(300):
        optimiser.zero_grad()
        loss, _ = edm.loss(target, off, sigma)
        loss.backward()
        optimiser.step()
    assert abs(loss.item() - (1 + math.log(9.0))) < 0.02  # the minimum of 9 exp(-u) + u


def test_a_weight_moves_the_loss_where_it_lies():
    edm = EDM(EDMConfig(uncertainty=0))
    target, guess, sigma = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0]] * 2), torch.ones(2)
    plain, error = edm.loss(target, guess, sigma)
    weighted, _ = edm.loss(target, guess, sigma, torch.tensor([[4.0, 0, 0, 0]]))
    torch.testing.assert_close(weighted, 4 * plain)
    torch.testing.assert_close(error, torch.full((2,), 0.25 / 0.25))


def test_the_schedule_falls_from_top_to_bottom_and_may_end_at_zero():
    levels = karras(9, 0.002, 80.0)
    assert len(levels) == 9 and (levels.diff() < 0).all()
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([80.0, 0.002], dtype=torch.float64))
    assert to_zero(levels)[-1] == 0 and karras(1, 0.002, 80.0).tolist() == [80.0]
    with pytest.raises(BadInput):
        karras(0, 0.002, 80.0)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_samples_of_a_gaussian_are_that_gaussian(solver):
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = 600 if solver == "ancestral" else 60  # it shrinks what it draws by 9 % at sixty
    out = sample(gaussian, 80 * noise, to_zero(karras(levels, 0.002, 80.0)), solver, fresh=fresh(noise))
    assert abs(out.mean() - MEAN) < 0.02 and abs(out.std() - STD) < 0.02


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_samples_of_a_leaning_gaussian_have_its_mean_and_covariance(solver):
    """Four numbers that hang together, one of them nearly a sum of two others: directions a thousandfold apart in variance."""
    rng = torch.Generator().manual_seed(1)
    root = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    root[3] = root[0] + root[1] + 0.03 * root[3]
    covariance, mean = root @ root.T, torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    values = torch.linalg.eigvalsh(covariance)
    assert values[-1] / values[0] > 1000

    def denoise(x, sigma):
        gain = covariance @ torch.linalg.inv(covariance + sigma.double().flatten()[0] ** 2 * torch.eye(4))
        return mean + (x - mean) @ gain.T

    noise = torch.randn(20_000, 4, generator=rng, dtype=torch.float64)
    levels = 800 if solver in ("euler", "ancestral") else 100  # of first order: its error is still 6 % at a hundred
    out = sample(denoise, 80 * noise, to_zero(karras(levels, 0.002, 80.0)), solver, fresh=fresh(noise))
    assert (out.mean(0) - mean).abs().max() < 0.05
    assert (torch.cov(out.T) - covariance).norm() / covariance.norm() < 0.02  # the draws alone are off by 0.01


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("res", 2)])
def test_each_solver_converges_with_its_order(solver, order):
    x = 10 * torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors = [
        (sample(gaussian, x, karras(n + 1, 0.05, 10.0), solver) - exact(x, 10.0, 0.05)).abs().max().item()
        for n in (40, 80, 160)
    ]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert abs(slopes[-1] - order) < 0.25, (errors, slopes)


def test_a_stochastic_solver_is_its_noise_and_forgets_where_it_began():
    x, levels = torch.full((4000,), 8.0, dtype=torch.float64), to_zero(karras(400, 0.002, 10.0))
    one, same, other = (sample(gaussian, x, levels, "ancestral", fresh=fresh(x, seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    # The equation would take all of them to one place; here they spread over the Gaussian, one as far from the other as two draws are.
    assert abs(one.std() - STD) < 0.03 and abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.1
    with pytest.raises(BadInput, match="wants fresh noise"):
        sample(gaussian, x, levels, "ancestral")


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_a_gaussian_is_drawn_with_temperature_times_its_deviation(temperature):
    x = 80 * torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warm = fresh(x)
    out = sample(gaussian, x, to_zero(karras(600, 0.002, 80.0)), "ancestral", fresh=lambda: temperature * warm())
    assert abs(out.mean() - MEAN) < 0.02 and abs(out.std() - temperature * STD) < 0.02


def test_one_step_from_the_top_is_the_mean():
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0))
    out = sample(gaussian, 80 * noise, to_zero(karras(1, 0.02, 80.0)))
    assert (out - MEAN).abs().max() < 0.02 and out.dtype == torch.float32


def test_guidance_follows_the_published_convention():
    calls = []

    def model(value):
        def denoise(x, sigma):
            calls.append(value)
            return torch.full_like(x, value)

        return denoise

    x, s = torch.zeros(2), torch.tensor(1.0)
    assert guided(model(3.0), model(1.0), 7.0)(x, s).tolist() == [17.0, 17.0]
    calls.clear()
    assert guided(model(3.0), model(1.0), 0.0)(x, s).tolist() == [3.0, 3.0] and calls == [3.0], "off costs no second call"


def test_bad_settings_are_named():
    with pytest.raises(BadInput, match="Did you mean 'heun'"):
        sample(gaussian, torch.zeros(2), karras(3, 0.1, 1.0), "huen")
    with pytest.raises(BadInput, match="cleaning"):
        sample(gaussian, torch.zeros(2), to_zero(karras(3, 0.1, 1.0)), clean=True)
