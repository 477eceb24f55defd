"""A probe: what was done between two frames, read off the frames. Inverse dynamics where no simulator can be asked.

A small network learns on the training episodes to tell an action, or a camera's motion, from the frame before and the frame after it. What
it is worth is measured on held-out truth first: `skill` is the share of each component's variance that it explains there. A probe without
skill judges nothing.

    x    (frame, frame after - frame)  6 x 64 x 64, in [-1, 1]
    y    components, in deviations of the training data
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Generator, Tensor, nn

from armillary import media
from armillary.errors import BadInput
from armillary.progress import Progress

SIDE = 64
SKILLED = 0.1  # of the variance: a component of which less is told is not judged by


@dataclass(frozen=True)
class Pairs:
    """Moments to learn from: frames uint8 `n 2 h w 3` (before, after) and what was done between them, float `n a`."""

    frames: np.ndarray
    done: np.ndarray

    @classmethod
    def of(cls, runs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Pairs:
        """Of videos uint8 `t h w 3` with `t - 1` (or more) rows of what was done."""
        frames, done = [], []
        for video, rows in runs:
            video = media.fit(video, (SIDE, SIDE))
            m = min(len(video) - 1, len(rows))
            frames.append(np.stack([video[:m], video[1 : m + 1]], axis=1))
            done.append(np.asarray(rows[:m], np.float32))
        if not frames or not sum(map(len, frames)):
            raise BadInput("A probe learns from pairs of frames; none were given.")
        return cls(np.concatenate(frames), np.concatenate(done))


class Reader(nn.Module):
    """Five convolutions and two layers; the place of what moves matters, so nothing is pooled away before a 4 x 4 grid."""

    def __init__(self, out: int, width: int = 24) -> None:
        super().__init__()
        widths = [6, width, width, 2 * width, 2 * width]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(4, b), nn.SiLU()]
        self.look = nn.Sequential(*layers)
        self.tell = nn.Sequential(nn.Linear(2 * width * 16, 128), nn.SiLU(), nn.Linear(128, out))

    def forward(self, x: Tensor) -> Tensor:
        """`b 6 64 64` -> `b out`."""
        return self.tell(self.look(x).flatten(1))


class Probe:
    """Args:
    reader: trained; mean, std: of the components. skill: float `a`, see above; NaN until it was measured.
    """

    def __init__(self, reader: Reader, mean: np.ndarray, std: np.ndarray) -> None:
        self.reader, self.mean, self.std = reader.eval(), mean, std
        self.skill = np.full(len(mean), np.nan)

    @property
    def trusted(self) -> np.ndarray:
        """Bool `a`: the components it can tell."""
        return np.nan_to_num(self.skill, nan=-1.0) >= SKILLED

    @torch.no_grad()
    def read(self, video: np.ndarray) -> np.ndarray:
        """What was done in a video uint8 `t h w 3`: float `t-1 a`. A component that it cannot tell is given as it usually is."""
        frames = media.fit(video, (SIDE, SIDE))
        x = _input(torch.from_numpy(np.stack([frames[:-1], frames[1:]], axis=1)))
        return np.where(self.trusted, self.reader(x).numpy() * self.std + self.mean, self.mean)

    def measure(self, pairs: Pairs) -> np.ndarray:
        """Sets and gives `skill` on pairs it has not learned from."""
        with torch.no_grad():
            told = np.concatenate([self.reader(_input(part)).numpy() for part in torch.from_numpy(pairs.frames).split(64)])
        truth = (pairs.done - self.mean) / self.std
        spread = truth.var(0)
        self.skill = np.where(spread > 1e-6, 1 - ((told - truth) ** 2).mean(0) / np.maximum(spread, 1e-6), np.nan)
        return self.skill


def _input(pairs: Tensor, rng: Generator | None = None) -> Tensor:
    """uint8 `n 2 h w 3` -> float `n 6 h w`; with `rng` softened and noised by chance, as dreams are."""
    x = pairs.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    if rng is not None:
        soft = nn.functional.avg_pool2d(x.flatten(0, 1), 3, 1, 1).unflatten(0, x.shape[:2])
        blur = torch.rand(len(x), 1, 1, 1, 1, generator=rng)
        bright = 0.1 * torch.randn(len(x), 1, 3, 1, 1, generator=rng)
        x = (
            x
            + blur * (soft - x)
            + bright
            + 0.04 * torch.rand(len(x), 1, 1, 1, 1, generator=rng) * torch.randn(x.shape, generator=rng)
        )
    return torch.cat([x[:, 0], x[:, 1] - x[:, 0]], dim=1)


def fit_probe(pairs: Pairs, held_out: Pairs, steps: int = 600, batch: int = 64, seed: int = 0) -> Probe:
    """A probe of the pairs, measured on the held-out ones. About 0.03 core-seconds a step.

    Raises:
        BadInput: fewer than 8 pairs.
    """
    n = len(pairs.done)
    if n < 8:
        raise BadInput(f"A probe wants at least 8 pairs of frames to learn from; got {n}.")
    mean, std = pairs.done.mean(0), pairs.done.std(0)
    std = np.where(std > 1e-6, std, 1.0)
    rng = Generator().manual_seed(seed)
    frames, truth = torch.from_numpy(pairs.frames), torch.from_numpy((pairs.done - mean) / std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = Reader(pairs.done.shape[1])
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    with Progress("probe", steps) as bar:
        for _ in range(steps):
            rows = torch.randint(0, n, (min(batch, n),), generator=rng)
            loss = nn.functional.huber_loss(reader(_input(frames[rows], rng)), truth[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance()
    probe = Probe(reader, mean, std)
    probe.measure(held_out)
    return probe


def reading(probe: Probe | None, names: Sequence[str]) -> dict[str, float | None] | None:
    """`skill` by component, for a report."""
    if probe is None:
        return None
    return {name: (round(float(s), 3) if np.isfinite(s) else None) for name, s in zip(names, probe.skill)}
