"""Few steps from many: a student learns to go in one evaluation where its teacher goes in several.

The teacher walks down a grid of noise levels by Euler steps, guidance included. A pace of k cuts that grid into k stretches; the student is
to give, where a stretch begins, the answer from which one Euler step lands at its end `e`: from `x` at level `s`, landing at `x_e`, that is
`(x_e - (e/s) x) / (1 - e/s)`. At level 0 it would answer what it is shown: that boundary holds for every objective, so scalings and
networks stay as they are. Where it should land is found in one of two ways.

* `halving`: the finest pace follows the teacher's own steps through the stretch, each coarser one two (or more) steps of the student at
  the next finer pace: progressive distillation (Salimans and Ho 2022, arXiv 2202.00512) with all of its rounds at once, as in shortcut
  models (Frans et al. 2024, arXiv 2410.12557). Only levels that are visited are learned.
* `consistency`: from anywhere in a stretch the teacher takes one step and the student, without gradient, the rest (one stretch: Song et
  al. 2023, arXiv 2303.01469, algorithm 2; several: Heek et al. 2024, arXiv 2403.06807). Of `x' = D + (s'/s) (x - D)` and
  `x_e = D' + (e/s') (x' - D')` the answer to learn is `D + share (D' - D)`, `share = (1 - e/s') / (1 - e/s)`: `D` where `s'` is the end.

What is asked is what the world itself asks in training (`ask`): given frames with their noise, actions, text withheld now and then (such
rows are taught without guidance). With `forced`, some steps go on from the student's own dreams, in as few steps as it will have.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
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
        method: `halving` or `consistency`, see above.
        loss: of a row: `huber`, the pseudo-Huber norm of its error, or `square`.
    """

    steps: int = 4
    paces: tuple[int, ...] = (1, 2, 4)
    levels: int = 0
    guidance: float = 0.0
    method: Literal["halving", "consistency"] = "halving"
    loss: Literal["huber", "square"] = "huber"


def student_of(teacher: DiffusionWorld, config: DistillConfig, name: str) -> DiffusionWorld:
    """A copy of a world that is to be distilled: the same answers at first, and it says of itself what it will be.

    Args:
        name: of the teacher, for the record.

    Raises:
        BadInput: the teacher is distilled itself, takes no text that guidance could be for, or the paces do not fit its path or each other.
    """
    if teacher.config.few is not None:
        raise BadInput(
            f"World {name!r} is distilled itself, from {teacher.config.few.teacher!r}, and answers where it lands, not what is likely: "
            "start from that one."
        )
    if config.method == "halving" and any(b % a for a, b in itertools.pairwise(config.paces)):
        raise BadInput(
            f"By halving each pace is a multiple of the one before, as 1, 2, 4; got {', '.join(map(str, config.paces))}."
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
        student: as `student_of` makes it. method, loss: see `DistillConfig`.
        forced: whether steps may go on from the student's own dreams; then `unroll_prob` says in what share of them.
    """

    def __init__(
        self,
        student: DiffusionWorld,
        teacher: DiffusionWorld,
        method: str = "halving",
        loss: str = "huber",
        forced: bool = False,
    ) -> None:
        super().__init__()
        assert student.config.few is not None
        self.world, self.few, self.method, self.loss = student, student.config.few, method, loss
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
        student, sd = self.world, self.world.config.objective.sigma_data
        asked = student.ask(batch, rng, unroll_prob=getattr(self, "unroll_prob", 0.0))
        sigma, target, pace = (self.consistent if self.method == "consistency" else self.halved)(asked, rng)
        guess = student.answer(asked.noisy(sigma), sigma, asked, pace)
        square = (guess.float() - target.float()).square() / sd**2
        weighted = square if asked.weight is None else square * asked.weight
        row = weighted.flatten(1).mean(1)
        loss = row if self.loss == "square" else (row + KNEE**2).sqrt() - KNEE
        return loss.mean(), {"error": row.detach().mean()}

    def theirs(self, x: Tensor, sigma: Tensor, asked: Asked) -> Tensor:
        """The teacher's answer, guidance included."""
        (teacher,), guidance = self._teacher, self.few.guidance
        said = teacher.answer(x, sigma, asked)
        return said + guidance * (said - teacher.answer(x, sigma, asked, withheld=True)) if guidance else said

    # ----------------------------------------------------------------------------------------------------------------- halving

    @torch.no_grad()
    def halved(self, asked: Asked, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A level, what to answer there and the pace `b`: one for all rows, as what it learns from takes another number of evaluations."""
        few, like = self.few, asked.clean
        place = int(integers(0, len(few.paces), (1,), rng, like))
        pace = torch.full((len(like),), place, device=like.device)
        finest = place + 1 == len(few.paces)
        bounds = torch.tensor(few.visited(few.paces[place]), device=like.device)
        route = torch.arange(few.levels + 1) if finest else torch.tensor(few.visited(few.paces[place + 1]))
        which = integers(0, few.paces[place], asked.sigma.shape, rng, like)
        grid = few.grid(self.world.config.objective).to(like.device)
        fixed = torch.zeros_like(asked.sigma) if asked.fixed is None else asked.fixed

        def level(at: Tensor) -> Tensor:  # given frames stay as they are
            return torch.where(fixed > 0, asked.sigma, grid[at].to(like))

        begin, end = bounds[which], bounds[which + 1]
        x = start = asked.noisy(level(begin))
        route, at = route.to(like.device), begin
        while bool((at < end).any()):
            onward = torch.minimum(route[torch.searchsorted(route, at, right=True).clamp(max=len(route) - 1)], end)
            sigma = level(at.clamp(max=few.levels - 1))  # of a row that has arrived nothing is used
            said = self.theirs(x, sigma, asked) if finest else self.world.answer(x, sigma, asked, pace + 1)
            stepped = said + asked.wide(level(onward) / sigma) * (x - said)
            x = torch.where(asked.wide(at < end), stepped, x)
            at = onward
        rest = asked.wide(torch.where(fixed > 0, 0.0, level(end) / level(begin)))
        return level(begin), (x - rest * start) / (1 - rest), pace

    # ------------------------------------------------------------------------------------------------------------- consistency

    @torch.no_grad()
    def consistent(self, asked: Asked, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As `halved`: a level of the grid, what to answer there, and a pace for each row."""
        pace = integers(0, len(self.few.paces), (len(asked.clean),), rng, asked.clean)
        at = integers(0, self.few.levels, asked.sigma.shape, rng, asked.clean)
        sigma, onward, share = self.stretch(asked, pace, at)
        return sigma, self.target(asked, asked.noisy(sigma), sigma, onward, share, pace), pace

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
        theirs, student = self.theirs(x, sigma, asked), self.world
        if not bool(share.any()):
            return theirs
        ahead = theirs + asked.wide(onward / sigma) * (x - theirs)
        lowest = float(self.few.grid(student.config.objective)[-2])
        # Nothing is asked at level 0, and the network has no word for it.
        own = student.answer(ahead, torch.where(onward > 0, onward, lowest), asked, pace)
        return theirs + asked.wide(share) * (own - theirs)
