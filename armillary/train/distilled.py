"""A diffusion world brought to a few steps: trained on its teacher's answers, kept as an ordinary world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from armillary.data.base import Dataset
from armillary.errors import BadInput
from armillary.train.models import WorldRun
from armillary.worlds.diffusion.causal import CausalWorld
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.distill import Distillation, DistillConfig, student_of


@dataclass(frozen=True)
class DistillRun:
    """A student of a diffusion world. The data are the teacher's own kind.

    Args:
        start: the teacher, a shipped name or a checkpoint folder.
        distill: to how many steps, and how.
        unroll_prob: share of the steps that go on from the student's own dreams: a stepping world's last frames, a clip's given ones.
        unroll_from: share of the run after which that begins; it rises to the whole over a tenth of the run.
    """

    start: str = ""
    distill: DistillConfig = field(default_factory=DistillConfig)
    unroll_prob: float = 0.0
    unroll_from: float = 0.3

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: no diffusion world, one that is distilled itself, or data that do not fit it."""
        if not self.start:
            raise BadInput("A world is distilled from another: name it in model.start (--start).")
        teacher = WorldRun(size="", start=self.start).build(data)
        if not isinstance(teacher, DiffusionWorld):
            raise BadInput(f"{self.start!r} is no diffusion world; it has no noise levels to take in fewer steps.")
        if self.unroll_prob and isinstance(teacher, CausalWorld):
            raise BadInput(
                "A causal world's frames are noised apart, which is its remedy for its own errors: leave model.unroll_prob at 0."
            )
        path = Path(self.start).resolve()
        name = self.start if not path.is_dir() else path.parent.name if path.name == "model" else path.name
        return Distillation(
            student_of(teacher, self.distill, name), teacher, self.distill.method, self.distill.loss, bool(self.unroll_prob)
        )

    def at(self, model: nn.Module, done: float) -> None:
        """Raise the share of steps from the student's own dreams, once these are worth going on from."""
        if self.unroll_prob:
            model.unroll_prob = self.unroll_prob * min(1.0, max(0.0, (done - self.unroll_from) / 0.1))  # type: ignore[assignment]

    def save(
        self, model: nn.Module, folder: Path, extra: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """The student, as any world."""
        assert isinstance(model, Distillation)
        held = None
        if tensors is not None:
            held = {k.removeprefix("world."): v for k, v in tensors.items() if k.startswith("world.")}
        WorldRun(size="", start=self.start).save(model.world, folder, extra, held)
