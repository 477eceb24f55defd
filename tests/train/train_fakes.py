"""A model small enough that a hundred steps take a second, and data that can be poisoned or send a signal. Run as a script it trains."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from armillary.data import SyntheticConfig
from armillary.store import save_folder
from armillary.train import OptimConfig, RunConfig, train


@dataclass(frozen=True)
class TinyRun:
    """Reconstructs frames through a narrow waist, with noise from `rng`; `at` is recorded in a buffer."""

    width: int = 6

    def build(self, data: Any) -> nn.Module:
        return Tiny(self.width)

    def at(self, model: Any, done: float) -> None:
        model.done = done

    def save(self, model: Any, folder: Any, extra: Any) -> None:
        save_folder(folder, family="tiny", config=self, tensors=model.state_dict(), extra=extra)


class Tiny(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, width, 4, 4), nn.ConvTranspose2d(width, 3, 4, 4)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: Any, rng: torch.Generator) -> Any:
        x = batch.video[:, :, 0]
        if self.training:
            self.seen += len(x)
        z = self.down(x)
        y = self.up(z + 0.1 * torch.randn(z.shape, generator=rng))
        loss = (y - x).square().mean()
        return loss, {"spread": z.detach().std()}


@dataclass(frozen=True)
class TrickyConfig:
    """Drawn data that gives NaN at some steps, and sends this process a signal while the batch of one step is made."""

    source: SyntheticConfig = field(default_factory=lambda: SyntheticConfig(episodes=6, length=8, frames=2, size=(16, 16)))
    poison: tuple[int, ...] = ()
    signal_at: int = -1

    def build(self, split: str = "train") -> Any:
        return Tricky(self, self.source.build(split), split)


class Tricky:
    def __init__(self, config: TrickyConfig, inner: Any, split: str) -> None:
        self.config, self.inner, self.split = config, inner, split

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def batch(self, step: int, *rest: Any, **more: Any) -> Any:
        batch = self.inner.batch(step, *rest, **more)
        if self.split == "train" and step in self.config.poison:
            batch = dataclasses.replace(batch, video=batch.video * float("nan"))
        if self.split == "train" and step == self.config.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch


def tiny(**changes: Any) -> RunConfig:
    base = RunConfig(
        name="tiny",
        model=TinyRun(),  # type: ignore[arg-type]
        data=TrickyConfig(),  # type: ignore[arg-type]
        optim=OptimConfig(lr=1e-2, warmup=5),
        steps=40,
        batch=4,
        ema=0.9,
        log_every=1,
        save_every=10,
        eval_every=20,
        eval_batches=2,
        threads=1,
        ahead=0,  # a signal that a batch sends falls into the step of that batch
    )
    return dataclasses.replace(base, **changes)


if __name__ == "__main__":
    result = train(tiny(steps=int(sys.argv[2]), save_every=int(sys.argv[3]), ahead=2), sys.argv[1], progress=False)
    sys.exit(0 if result.finished else 3)
