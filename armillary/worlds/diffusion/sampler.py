"""From noise to a sample: noise schedules, three solvers of the probability-flow equation, one of its stochastic kin, guidance.

A solver walks down a list of noise levels with `denoise(x, sigma) -> y`, the estimate of the clean signal. Steps are taken in float64
where the device has it, for the levels span five orders of magnitude; the network is called in the precision of the noise it was given.

    euler   x' = x + (s' - s) (x - y) / s                          one call a step: the published inference solver
    heun    the slope averaged with the one at the Euler point      two calls a step (Karras et al. 2022, algorithm 1;
                                                                    the published code's "2heun_edm" averages the estimates instead)
    res     two-step exponential Adams-Bashforth in -ln sigma       one call a step, second order: the published training-time solver

    ancestral   a step to below the next level, and fresh noise up to it: what DDPM does (Ho et al. 2020). One call a step. Few steps
                draw with too small a deviation (60 from 80 to .002: 9 % on a Gaussian).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from armillary.errors import BadInput, lookup
from armillary.progress import beat

Denoise = Callable[[Tensor, Tensor], Tensor]
Fresh = Callable[[], Tensor]  # new noise of deviation 1, shaped as the sample
# (denoise, x, sigma, next sigma, the previous step's (sigma, y), new noise) -> (next x, this step's y)
Step = Callable[[Denoise, Tensor, Tensor, Tensor, "tuple[Tensor, Tensor] | None", "Fresh | None"], tuple[Tensor, Tensor]]


def karras(levels: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """`levels` noise levels from `sigma_max` down to `sigma_min`, float64, evenly spaced in `sigma ** (1 / rho)`."""
    if levels < 1:
        raise BadInput(f"Sampling wants at least one noise level; got {levels}.")
    if levels == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def to_zero(sigmas: Tensor) -> Tensor:
    """Append the level 0, at which the last estimate is the sample."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def guided(conditional: Denoise, unconditional: Denoise | None, guidance: float) -> Denoise:
    """`y = cond + guidance * (cond - uncond)`: the published convention, in which 0 is off and 7 is what others call 8."""
    if guidance == 0.0 or unconditional is None:
        return conditional

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        yes = conditional(x, sigma)
        return yes + guidance * (yes - unconditional(x, sigma))

    return denoise


def _euler(
    denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, before: tuple[Tensor, Tensor] | None, fresh: Fresh | None
) -> tuple[Tensor, Tensor]:
    y = denoise(x, s)
    return x + (s_next - s) * (x - y) / s, y


def _heun(
    denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, before: tuple[Tensor, Tensor] | None, fresh: Fresh | None
) -> tuple[Tensor, Tensor]:
    y = denoise(x, s)
    slope = (x - y) / s
    there = x + (s_next - s) * slope
    if s_next == 0:
        return there, y
    second = (there - denoise(there, s_next)) / s_next
    return x + (s_next - s) * 0.5 * (slope + second), y


def _res(
    denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, before: tuple[Tensor, Tensor] | None, fresh: Fresh | None
) -> tuple[Tensor, Tensor]:
    if before is None:
        return _euler(denoise, x, s, s_next, None, fresh)
    y = denoise(x, s)
    if s_next == 0:
        return y, y
    s_before, y_before = before
    h = s.log() - s_next.log()
    # The estimate is taken as linear in -ln sigma through the last two levels and integrated exactly against exp(-h).
    phi_1 = -torch.expm1(-h) / h
    phi_2 = (1 - phi_1) / h
    share = phi_2 / ((s.log() - s_before.log()) / h)
    return torch.exp(-h) * x + h * ((phi_1 - share) * y + share * y_before), y


def _ancestral(
    denoise: Denoise, x: Tensor, s: Tensor, s_next: Tensor, before: tuple[Tensor, Tensor] | None, fresh: Fresh | None
) -> tuple[Tensor, Tensor]:
    if fresh is None:
        raise BadInput("Solver 'ancestral' wants fresh noise at every step, and none is to be had here; 'euler' wants none.")
    y = denoise(x, s)
    down = s_next.square() / s  # with `up` the variance of the next level
    up = s_next * (1 - (s_next / s).square()).sqrt()
    there = y + down / s * (x - y)
    return (there + up * fresh().to(there) if s_next > 0 else there), y


SOLVERS: dict[str, Step] = {"euler": _euler, "heun": _heun, "res": _res, "ancestral": _ancestral}


def sample(
    denoise: Denoise, start: Tensor, sigmas: Tensor, solver: str = "euler", clean: bool = False, fresh: Fresh | None = None
) -> Tensor:
    """Walk `start`, drawn at `sigmas[0]`, down the levels.

    Args:
        denoise: `(x, sigma)` -> estimate of the clean signal, shaped as `x`; sigma is a scalar tensor of `x`'s precision.
        start: noise times `sigmas[0]`, any shape.
        sigmas: decreasing levels; the last may be 0.
        solver: a line of `SOLVERS`.
        clean: after the last level call `denoise` once more and return its estimate (for a list that does not end at 0).
        fresh: new noise, for the solver that wants some.

    Returns:
        The sample, in `start`'s precision.
    """
    step = lookup(SOLVERS, solver, "solver")
    if clean and sigmas[-1] == 0:
        raise BadInput("A list of noise levels that ends at 0 needs no cleaning step.")
    precise = start.dtype if start.device.type == "mps" else torch.float64
    sigmas = sigmas.to(start.device, precise)

    def in_precision(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x.to(start.dtype), sigma.to(start.dtype)).to(precise)

    x, before = start.to(precise), None
    for s, s_next in itertools.pairwise(sigmas):
        x, y = step(in_precision, x, s, s_next, before, fresh)
        before = (s, y)
        beat()
    if clean:
        x = in_precision(x, sigmas[-1])
    return x.to(start.dtype)
