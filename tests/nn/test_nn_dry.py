"""A run without bytes counts what a run with bytes would take."""

from __future__ import annotations

import torch
from torch import nn

from armillary.nn.dry import dry_run


class Chain(nn.Module):
    def __init__(self, layers: int = 4, bends: int = 1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64, bias=False), *[nn.Tanh() for _ in range(bends)]) for _ in range(layers)
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


ROW, WEIGHT = 1000 * 64 * 4, 64 * 64 * 4


def run(module):
    return module(torch.zeros(1000, 64))


def test_weights_and_the_two_tensors_that_live_together():
    dry = dry_run(lambda: Chain().requires_grad_(False), run)
    # The input stays; a layer's own input and its two answers do, for a moment.
    assert dry.weights == 4 * WEIGHT and 3 * ROW <= dry.peak <= 4 * ROW


def test_the_way_back_holds_what_each_layer_kept():
    forward = dry_run(lambda: Chain().requires_grad_(False), run).peak
    four, eight = (dry_run(lambda n=n: Chain(n), run, train=True).peak for n in (4, 8))
    assert four > forward + 2 * ROW
    assert 4 * ROW <= eight - four <= 4 * (ROW + WEIGHT) + ROW, "one answer and one gradient for each further layer"
    kept, again = (dry_run(lambda: Chain(8, 3), run, train=True, checkpoint=c).peak for c in (False, True))
    assert kept - again >= 10 * ROW, "of three answers in a block two are made again"


def test_half_precision_takes_half():
    dry = dry_run(
        lambda: Chain().to(torch.bfloat16).requires_grad_(False), lambda m: m(torch.zeros(1000, 64, dtype=torch.bfloat16))
    )
    whole = dry_run(lambda: Chain().requires_grad_(False), run)
    assert (2 * dry.weights, 2 * dry.peak) == (whole.weights, whole.peak)


def test_nothing_of_the_largest_is_ever_there():
    dry = dry_run(lambda: nn.Linear(100_000, 100_000, bias=False).requires_grad_(False), lambda m: m(torch.zeros(10, 100_000)))
    assert dry.weights == 4 * 100_000**2
