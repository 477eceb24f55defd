"""A sample in a few steps: what a world was distilled to, and how such a world walks down its noise levels.

The teacher's own path is a grid of `levels` Euler steps. A pace of k cuts that grid into k stretches, and a world taught that pace goes
from the beginning of one to its end in one evaluation, without a new random number: one seed gives the teacher's picture and the student's.
Asked for a number of steps it was not taught, a world that knows pace 1 goes on as consistency models do (Song et al. 2023,
arXiv 2303.01469, algorithm 1): guess the clean signal, add new noise of the next level, guess again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.progress import beat
from armillary.worlds.diffusion.edm import EDMConfig
from armillary.worlds.diffusion.sampler import Denoise, karras, sample, to_zero


@dataclass(frozen=True)
class Few:
    """What a world was distilled to.

    Args:
        steps: evaluations of a sample unless told otherwise.
        paces: numbers of steps it was taught, rising. More than one: the network hears which.
        levels: Euler steps of the teacher's path.
        guidance: of the teacher's, folded in (`cond + guidance * (cond - uncond)`; 0 for none).
        teacher, sha256: whom it learned from.
    """

    steps: int = 4
    paces: tuple[int, ...] = (1, 2, 4)
    levels: int = 18
    guidance: float = 0.0
    teacher: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if (
            not self.paces
            or list(self.paces) != sorted({*self.paces})
            or not 1 <= self.paces[0] <= self.paces[-1] <= self.levels
        ):
            raise BadInput(f"paces are rising numbers of steps from 1 to {self.levels} (levels); got {list(self.paces)}.")
        self.check(self.steps)

    def check(self, steps: int) -> None:
        """Raises BadInput for a number of steps that such a world cannot take."""
        if steps not in self.paces and (self.paces[0] != 1 or not 1 <= steps <= self.levels):
            able = f"1 to {self.levels}" if self.paces[0] == 1 else " or ".join(map(str, self.paces))
            raise BadInput(f"A world distilled to {self.told()} samples in {able} steps; got {steps}.")

    def told(self) -> str:
        """`1, 2, 4 steps`."""
        return f"{', '.join(map(str, self.paces))} step{'s' if self.paces != (1,) else ''}"

    def record(self, steps: int | None = None) -> dict[str, str | int | float]:
        """For whoever asks where a world, or a dream of it in so many steps, comes from."""
        return {
            "from": self.teacher,
            "sha256": self.sha256,
            "steps": self.steps if steps is None else steps,
            "of": self.levels,
            "guidance": self.guidance,
            "told": f"distilled from {self.teacher} in {self.told()}",
        }

    def grid(self, objective: EDMConfig) -> Tensor:
        """The teacher's noise levels, float64 `levels + 1`; the last is 0."""
        return to_zero(karras(self.levels, objective.sigma_min, objective.sigma_max))

    def visited(self, steps: int) -> list[int]:
        """Places on the grid at which the stretches of so many steps begin, and its last one."""
        return [(2 * i * self.levels + steps) // (2 * steps) for i in range(steps + 1)]

    def walk(self, denoise: Denoise, start: Tensor, steps: int, objective: EDMConfig, generator: Generator) -> Tensor:
        """A sample.

        Args:
            denoise: of the distilled network at `pace(steps)`; start: noise times the grid's first level.
            generator: of new noise, which taught paces do not draw.
        """
        self.check(steps)
        sigmas = self.grid(objective)[self.visited(steps)]
        if steps in self.paces:
            return sample(denoise, start, sigmas)
        x = start
        for i, sigma in enumerate(sigmas[:-1].to(start.device, start.dtype)):
            x = denoise(x, sigma)
            beat()
            if i + 1 < steps:
                x = x + sigmas[i + 1].to(x) * torch.randn(x.shape, generator=generator, device=generator.device).to(x)
        return x

    def pace(self, steps: int) -> int:
        """The place in `paces` that the network is told for so many steps."""
        self.check(steps)
        return self.paces.index(steps) if steps in self.paces else 0
