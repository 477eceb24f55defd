"""Batch normalisation as it is at rest: stored statistics, no counter. Keys as in PyTorch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNUSED = r"\.num_batches_tracked$"  # a counter of training steps


class StillNorm(nn.Module):
    """`b c ...` -> the same, by the stored mean and variance of each channel."""

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
