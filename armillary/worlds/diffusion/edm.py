"""The EDM objective (Karras et al. 2022), as the paper's diffusion world uses it (section on the diffusion formulation).

A noisy sample is `x = y + sigma * n`. The network `F` never sees `x` nor answers `y` directly:

    D(x, sigma) = c_skip * x + c_out * F(c_in * x, c_noise)            c_skip = sd^2 / (s^2 + sd^2)     c_in = 1 / sqrt(s^2 + sd^2)
    loss        = lambda * |y - D|^2 * exp(-u(sigma)) + u(sigma)        c_out = s * sd / sqrt(s^2 + sd^2)  c_noise = ln(s) / 4

with `lambda = (s^2 + sd^2) / (s * sd)^2`, which makes the network's own target of unit variance at every noise level, and `u` a
learned log-variance of the loss at that level (training only). `y` is assumed to have standard deviation `sd` (`sigma_data`).

Three things here are not in the paper. `clean` lets the network answer `y / sd` itself (`c_skip = 0`, `c_out = sd`, `lambda = 1 / sd^2`):
where most of `y` is zero, as in a change from frame to frame, a small network says zero far more easily than it says the noise it was
shown; samples of four steps then have a tenth of the error. `top` trains that share of the samples at `sigma_max` itself, so that one
evaluation from pure noise is the conditional mean. `gate` feeds the network `c_skip * x / sd` in place of `c_in * x`: the same picture
scaled by how much of it is signal, so that at `sigma_max` a small network is not asked to learn to ignore a full-strength field of noise.

`flow` is the rectified flow of the later published generation (Predict2), in the same terms: at `t = s / (1 + s)` the network sees
`(1 - t) x`, which is `(1 - t) y + t n`, is told `t`, and answers the velocity `n - y`, so that `y = (1 - t) x - t F`. `sigma_data` is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from armillary.errors import BadInput


@dataclass(frozen=True)
class EDMConfig:
    """Args:
    sigma_data: standard deviation of the clean signal.
    sigma_min, sigma_max: range of noise that sampling walks through.
    mean, std: of `ln sigma` in training.
    top: share of training samples put at `sigma_max`.
    gate: scale the network's noisy input by its share of signal.
    by_frames: multiply sigma by the square root of the number of latent frames, which hides long clips as well as short ones.
    clean: the network answers the clean signal.
    flow: rectified flow: the network answers noise less signal.
    uncertainty: number of Fourier features of the learned loss variance; 0 for none.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.0002
    sigma_max: float = 80.0
    mean: float = 0.0
    std: float = 1.0
    top: float = 0.0
    gate: bool = False
    clean: bool = False
    by_frames: bool = False
    uncertainty: int = 128
    flow: bool = False

    def __post_init__(self) -> None:
        if self.flow and (self.sigma_data != 1.0 or self.gate or self.clean):
            raise BadInput(
                "A rectified flow wants sigma_data 1 and neither gate nor clean: its scalings follow from the level alone."
            )


class Scalings(NamedTuple):
    """The four factors of a noise level, each shaped as the sigma given."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def scalings(sigma: Tensor, sigma_data: float = 0.5, gate: bool = False, clean: bool = False, flow: bool = False) -> Scalings:
    """`c_skip, c_out, c_in, c_noise` of sigma, in sigma's own precision."""
    if flow:
        t = sigma / (1 + sigma)
        return Scalings(skip=1 - t, out=-t, into=1 - t, noise=t)
    total = sigma.square() + sigma_data**2
    skip = sigma_data**2 / total
    return Scalings(
        skip=torch.zeros_like(skip) if clean else skip,
        out=torch.full_like(sigma, sigma_data) if clean else sigma * sigma_data * total.rsqrt(),
        into=skip / sigma_data if gate else total.rsqrt(),
        noise=0.25 * sigma.log(),
    )


def loss_weight(sigma: Tensor, sigma_data: float = 0.5, clean: bool = False, flow: bool = False) -> Tensor:
    """The inverse square of `c_out`: `(s^2 + sd^2) / (s * sd)^2`, `1 / sd^2` where the network answers the clean signal, or that of a
    flow, `((1 + s) / s)^2`."""
    if flow:
        return ((1 + sigma) / sigma).square()
    if clean:
        return torch.full_like(sigma, sigma_data**-2)
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


class LossVariance(nn.Module):
    """`u(sigma)`: a linear read-out, zero at first, of random Fourier features of `c_noise`. Used in training only."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(features))
        self.register_buffer("phases", 2 * math.pi * torch.rand(features))
        self.weight = nn.Parameter(torch.zeros(1, features))

    def forward(self, c_noise: Tensor) -> Tensor:
        """`b` -> `b`."""
        features = math.sqrt(2.0) * torch.cos(c_noise.float()[:, None] * self.freqs + self.phases)
        return (features @ self.weight.T)[:, 0]


class EDM(nn.Module):
    """The objective with its learned loss variance. It knows no network: a network comes in as a function."""

    def __init__(self, config: EDMConfig) -> None:
        super().__init__()
        self.config = config
        self.variance = LossVariance(config.uncertainty) if config.uncertainty else None

    def scalings(self, sigma: Tensor) -> Scalings:
        c = self.config
        return scalings(sigma, c.sigma_data, c.gate, c.clean, c.flow)

    def draw(self, size: int, rng: Generator, frames: int = 1) -> Tensor:
        """Training noise levels, float32 `size`, on the generator's device: log-normal, within what sampling visits."""
        c = self.config
        sigma = torch.exp(c.mean + c.std * torch.randn(size, generator=rng, device=rng.device))
        if c.by_frames:
            sigma = sigma * math.sqrt(frames)
        sigma = sigma.clamp(c.sigma_min, c.sigma_max)
        at_top = torch.rand(size, generator=rng, device=rng.device) < c.top
        return torch.where(at_top, torch.full_like(sigma, c.sigma_max), sigma)

    def loss(self, target: Tensor, denoised: Tensor, sigma: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The training loss and, apart, the unweighted error in units of the signal's variance.

        Args:
            target, denoised: `b ...`; sigma: `b`.
            weight: broadcastable to `target`; its mean decides the loss' scale (give it mean 1).

        Returns:
            loss: a scalar; error: `b`, `mean |target - denoised|^2 / sigma_data^2`.
        """
        square = (target.float() - denoised.float()).square()
        error = square.flatten(1).mean(1) / self.config.sigma_data**2
        weighted = square if weight is None else square * weight
        c = self.config
        per_sample = loss_weight(sigma, c.sigma_data, c.clean, c.flow) * weighted.flatten(1).mean(1)
        if self.variance is not None:
            u = self.variance(0.25 * sigma.log())
            per_sample = per_sample * torch.exp(-u) + u
        return per_sample.mean(), error.detach()
