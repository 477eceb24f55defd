"""Findings against truth: a transition is found by a finding within three frames of it; a second finding in one transition is false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from armillary.curate.shots.types import Transition

TOLERANCE = 3


class Made(Protocol):
    """A true transition: frames `start..end`, `kind` "cut" when it is a hard one."""

    @property
    def kind(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass
class Score:
    """Counts, added up over videos."""

    hit: dict[str, int] = field(default_factory=lambda: {"hard": 0, "gradual": 0})
    true: dict[str, int] = field(default_factory=lambda: {"hard": 0, "gradual": 0})
    false: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)

    def add(self, found: Sequence[Transition], truth: Sequence[Made], sure: np.ndarray | None = None) -> list[Transition]:
        """One video. Findings within three frames of frames that are not `sure` (bool `n`) and find nothing are left out.

        Returns:
            the false findings.
        """
        free = sorted(found, key=lambda t: (t.start, t.end))
        for t in truth:
            kind = "hard" if t.kind == "cut" else "gradual"
            self.true[kind] += 1
            match = next((f for f in free if f.start - TOLERANCE <= t.end and f.end + TOLERANCE >= t.start), None)
            if match is None:
                self.missed[t.kind] = self.missed.get(t.kind, 0) + 1
                continue
            free.remove(match)
            self.hit[kind] += 1
        if sure is not None:
            free = [f for f in free if sure[max(0, f.start - TOLERANCE) : f.end + TOLERANCE + 1].all()]
        for f in free:
            self.false[f.kind] = self.false.get(f.kind, 0) + 1
        return free

    def figures(self) -> dict[str, Any]:
        """precision, recall, f1, hard_recall, gradual_recall (1 where there was none to find), and counts."""
        hits, true, false = sum(self.hit.values()), sum(self.true.values()), sum(self.false.values())
        precision, recall = hits / max(1, hits + false), hits / max(1, true)
        share = {k: self.hit[k] / self.true[k] if self.true[k] else 1.0 for k in self.true}
        return {
            "precision": round(precision, 4),
            "recall": round(recall, 4),
            "f1": round(2 * precision * recall / max(1e-9, precision + recall), 4),
            "hard_recall": round(share["hard"], 4),
            "gradual_recall": round(share["gradual"], 4),
            "transitions": dict(self.true),
            "false": dict(sorted(self.false.items())),
            "missed": dict(sorted(self.missed.items())),
        }
