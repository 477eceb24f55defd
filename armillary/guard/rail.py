"""What a rail of the guard is: something with a name that looks at a prompt or at frames and says what it found.

A rail raises when it could not do its work; `Gate` turns that, and running late, into a verdict that blocks. A rail keeps no state
between calls, so that verdicts do not depend on order, threads, terminal or locale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from armillary.types import Verdict


@dataclass(frozen=True)
class Finding:
    """What a rail says.

    Args:
        blocked: whether it refuses; `reason`: one sentence, also when it does not.
        score: in [0, 1], when it has one.
        skipped: it did not look, and `reason` says why.
        frames: a changed copy of the frames, from a rail that changes them.
        facts: JSON-able detail for the sidecar.
        category: what kind of harm, a name of `taxonomy.CATEGORIES`; empty when the rail cannot tell.
    """

    blocked: bool
    reason: str = ""
    score: float | None = None
    skipped: bool = False
    frames: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    category: str = ""


@runtime_checkable
class PromptRail(Protocol):
    """Looks at a prompt. `first` rails decide whether the rest may look at all (an unreadable prompt is given to no model)."""

    name: str
    version: str
    first: bool

    def check(self, text: str) -> Finding: ...


@runtime_checkable
class FrameRail(Protocol):
    """Looks at frames, uint8 `t h w 3` RGB, which it must not write to; `first` as for prompts."""

    name: str
    version: str
    first: bool

    def check(self, frames: np.ndarray, fps: float) -> Finding: ...


def verdicts_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as a sidecar holds them: plain objects, floats rounded so that they read the same everywhere."""
    return [
        {
            "rail": v.rail,
            "state": v.state,
            "blocked": v.blocked,
            "category": v.category,
            "reason": v.reason,
            "score": None if v.score is None else round(float(v.score), 4),
            "version": v.version,
            "seconds": round(float(v.seconds), 4),
        }
        for v in verdicts
    ]
