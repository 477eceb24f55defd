"""Few steps from many: a student learns to go in one evaluation where its teacher goes in several (consistency distillation).

The teacher walks down a grid of noise levels by Euler steps, guidance included. A pace of k cuts that grid into k stretches, and the
student is to land at the end of a stretch from anywhere in it (one stretch: Song et al. 2023, arXiv 2303.01469, algorithm 2; several:
multistep consistency models, Heek et al. 2024, arXiv 2403.06807). In a step a row is noised to a level `s`, the teacher takes it to the
next level `s'` of the grid, and the student, without gradient, from there to the end `e`:

    teacher  x' = D + (s'/s) (x - D)          student  x_e = D' + (e/s') (x' - D')

so the answer at `s` from which one Euler step lands at `x_e` is `D + share (D' - D)`, with `share = (1 - e/s') / (1 - e/s)`. Where `s'` is
the end of the stretch `share` is 0, and the teacher's own answer is what is learned: at the end itself, 0 for the last stretch, the student
would answer what it is shown. That boundary holds for every objective, so scalings and networks stay as they are.

What is asked is what the world itself asks in training (`ask`): given frames with their noise, actions, text withheld now and then (such
rows are taught without guidance). With `forced`, some steps go on from the student's own dreams, in as few steps as it will have.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from armillary.errors import BadInput
from armillary.types import Batch
from armillary.worlds.diffusion.common import Asked, DiffusionWorld, integers
from armillary.worlds.diffusion.few import Few

# Below this share of the signal's deviation an error counts squared, above it by its size.
KNEE = 0.03


@dataclass(frozen=True)
class DistillConfig:
    """How a world is distilled.

    Args:
        steps: evaluations of a sample unless told otherwise, afterwards; paces: numbers of steps that are taught.
        levels: Euler steps of the teacher's path; 0 for what is usual for it (35 of a clip, 18 of a first frame, 8 of a causal one).
        guidance: of the teacher, folded in: `cond + guidance * (cond - uncond)`, against no text.
        loss: of a row: `huber`, the pseudo-Huber norm of its error, or `square`.
    """

    steps: int = 4
    paces: tuple[int, ...] = (1, 2, 4)
    levels: int = 0
    guidance: float = 0.0
    loss: Literal["huber", "square"] = "huber"


def student_of(teacher: DiffusionWorld, config: DistillConfig, name: str) -> DiffusionWorld:
    """A copy of a world that is to be distilled: the same answers at first, and it says of itself what it will be.

    Args:
        name: of the teacher, for the record.

    Raises:
        BadInput: the teacher is distilled itself, takes no text that guidance could be for, or the paces do not fit its path.
    """
    if teacher.config.few is not None:
        raise BadInput(
            f"World {name!r} is distilled itself, from {teacher.config.few.teacher!r}, and answers where it lands, not what is likely: "
            "start from that one."
        )
    if config.guidance and not teacher.setting.text_dim:
        raise BadInput(f"World {name!r} reads no text, which guidance contrasts with; leave it at 0.")
    levels = config.levels or max(teacher.usual.values())
    few = Few(config.steps, config.paces, levels, config.guidance, name, teacher.sha256)
    student = dataclasses.replace(teacher.config, few=few).build(copy.deepcopy(teacher.setting))
    missing, unknown = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not unknown and set(missing) <= {"pace.weight"}
    return student.train()


class Distillation(nn.Module):
    """A trainable: its state is the student's; the teacher stays as it is.

    Args:
        student: as `student_of` makes it. loss: see `DistillConfig`.
        forced: whether steps may go on from the student's own dreams; then `unroll_prob` says in what share of them.
    """

    def __init__(self, student: DiffusionWorld, teacher: DiffusionWorld, loss: str = "huber", forced: bool = False) -> None:
        super().__init__()
        assert student.config.few is not None
        self.world, self.few, self.loss = student, student.config.few, loss
        if forced:  # named so that sharding, which wants all processes to do the same, sees it
            self.unroll_prob = 0.0
        # In a list, so that it is no part of what is trained, saved and resumed.
        self._teacher = [teacher.eval().requires_grad_(False)]

    def _apply(self, fn: Any, recurse: bool = True) -> Distillation:
        for teacher in self._teacher:
            teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def blocks(self) -> nn.ModuleList:
        """What parallelism walks."""
        return self.world.blocks

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss.

        Args:
            batch: as the world's own `forward` takes it.

        Returns:
            loss; `{"error": mean square between the student's answer and where it should land, in units of the signal's variance}`.
        """
        student, few, sd = self.world, self.few, self.world.config.objective.sigma_data
        asked = student.ask(batch, rng, unroll_prob=getattr(self, "unroll_prob", 0.0))
        pace = integers(0, len(few.paces), (len(asked.clean),), rng, asked.clean)
        at = integers(0, few.levels, asked.sigma.shape, rng, asked.clean)
        sigma, onward, share = self.stretch(asked, pace, at)
        with torch.no_grad():
            target = self.target(asked, asked.noisy(sigma), sigma, onward, share, pace)
        guess = student.answer(asked.noisy(sigma), sigma, asked, pace)
        square = (guess.float() - target.float()).square() / sd**2
        weighted = square if asked.weight is None else square * asked.weight
        row = weighted.flatten(1).mean(1)
        loss = row if self.loss == "square" else (row + KNEE**2).sqrt() - KNEE
        return loss.mean(), {"error": row.detach().mean()}

    def stretch(self, asked: Asked, pace: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Levels and shares of a step, each shaped as `asked.sigma`.

        Args:
            pace: `b`, places in `few.paces`; at: places on the grid, shaped as `asked.sigma`.

        Returns:
            the level there, the next one, and the share of the student's answer in the target.
        """
        few = self.few
        grid = few.grid(self.world.config.objective).to(at.device)
        place = torch.arange(few.levels)
        ends = torch.stack(
            [b[torch.searchsorted(b, place, right=True)] for b in map(torch.tensor, map(few.visited, few.paces))]
        )
        end = ends.to(at.device)[pace.view(-1, *(1,) * (at.ndim - 1)).expand_as(at), at]
        s, onward, last = grid[at], grid[at + 1], grid[end]
        share = torch.where(end == at + 1, 0.0, (1 - last / onward.clamp(min=grid[-2])) / (1 - last / s))
        if asked.fixed is not None:  # given frames stay as they are
            own = asked.sigma.to(grid.dtype)
            s, onward = (torch.where(asked.fixed > 0, own, x) for x in (s, onward))
        return s.to(asked.clean), onward.to(asked.clean), share.to(asked.clean)

    def target(self, asked: Asked, x: Tensor, sigma: Tensor, onward: Tensor, share: Tensor, pace: Tensor) -> Tensor:
        """What the student is to answer at `x`, shaped as it."""
        (teacher,), student, guidance = self._teacher, self.world, self.few.guidance
        theirs = teacher.answer(x, sigma, asked)
        if guidance:
            theirs = theirs + guidance * (theirs - teacher.answer(x, sigma, asked, withheld=True))
        if not bool(share.any()):
            return theirs
        ahead = theirs + asked.wide(onward / sigma) * (x - theirs)
        lowest = float(self.few.grid(student.config.objective)[-2])
        # Nothing is asked at level 0, and the network has no word for it.
        own = student.answer(ahead, torch.where(onward > 0, onward, lowest), asked, pace)
        return theirs + asked.wide(share) * (own - theirs)
