"""The gate: every rail before generation and after it, and the rule that whatever could not be checked does not pass.

An exception, a timeout, a missing model, an empty list of rails: each becomes a verdict with `state="failed"` and `blocked=True`.
Running without a guard is possible, is said with `guard=Open()`, and is written into every sidecar. The platform this re-implements
returned «safe» on any exception and from a runner without models; that is the behaviour this file exists to exclude.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.errors import Blocked
from armillary.guard.rail import Finding, FrameRail, PromptRail
from armillary.guard.ranks import agreed
from armillary.types import Verdict


@dataclass(frozen=True)
class Timeouts:
    """Seconds a rail may take: `prompt` for a text (the first call also loads weights), `frames` + `per_frame` x t for frames."""

    prompt: float = 60.0
    frames: float = 60.0
    per_frame: float = 4.0


class Gate:
    """Rails before and after generation.

    Args:
        before: prompt rails, in the order they are recorded.
        after: frame rails; one that changes frames (faces) hands its copy to the next.
        agree: in a process group, what one rank refuses all refuse (every rank must then call the gate equally often). Say False
            where each rank serves prompts of its own.
    """

    def __init__(
        self,
        before: Sequence[PromptRail] = (),
        after: Sequence[FrameRail] = (),
        timeouts: Timeouts | None = None,
        agree: bool = True,
    ) -> None:
        self.before, self.after, self.agree = tuple(before), tuple(after), agree
        self.timeouts = timeouts or Timeouts()

    def check_prompt(self, text: str | None) -> tuple[Verdict, ...]:
        """One verdict for each rail. `None` means that there is no prompt (recorded as skipped); an empty one is refused."""
        verdicts = self._prompt(text)
        return agreed(verdicts) if self.agree else verdicts

    def _prompt(self, text: str | None) -> tuple[Verdict, ...]:
        if text is None:
            return tuple(Verdict(r.name, "skipped", False, "no prompt was given", version=r.version) for r in self.before) or (
                Verdict("gate", "skipped", False, "no prompt was given"),
            )
        if not self.before:
            return (Verdict("gate", "failed", True, "this gate has no rail for prompts; say guard=Open() to run without"),)
        verdicts: list[Verdict] = []
        stopped = ""
        for rail in self.before:
            if stopped:
                verdicts.append(
                    Verdict(rail.name, "skipped", False, f"not run: {stopped} already refused", version=rail.version)
                )
                continue
            verdict, _ = _run(rail, lambda rail=rail: rail.check(text), self.timeouts.prompt)
            verdicts.append(verdict)
            if verdict.blocked and rail.first:
                stopped = rail.name
        return tuple(verdicts)

    def check_frames(self, frames: np.ndarray, fps: float) -> tuple[tuple[Verdict, ...], np.ndarray]:
        """Verdicts, and the frames that may be shown: a copy with faces blurred, or black frames when a rail refused.

        Args:
            frames: uint8 `t h w 3` RGB (float in [0, 1] is taken too, so that NaN can be reported). Never written to.
        """
        verdicts, shown = self._frames(frames, fps)
        if self.agree:
            verdicts = agreed(verdicts)
            shown = _black(frames) if any(v.blocked for v in verdicts) else shown
        return verdicts, shown

    def _frames(self, frames: np.ndarray, fps: float) -> tuple[tuple[Verdict, ...], np.ndarray]:
        if not self.after:
            return (
                Verdict("gate", "failed", True, "this gate has no rail for frames; say guard=Open() to run without"),
            ), _black(frames)
        seen = np.asarray(frames).view()
        seen.flags.writeable = False
        limit = self.timeouts.frames + self.timeouts.per_frame * (len(seen) if seen.ndim else 0)
        verdicts: list[Verdict] = []
        stopped = ""
        for rail in self.after:
            if stopped:
                verdicts.append(
                    Verdict(rail.name, "skipped", False, f"not run: {stopped} already refused", version=rail.version)
                )
                continue
            verdict, finding = _run(rail, lambda rail=rail, seen=seen: rail.check(seen, fps), limit, np.shape(seen))
            verdicts.append(verdict)
            if verdict.blocked and rail.first:
                stopped = rail.name
            if finding is not None and finding.frames is not None and not verdict.blocked:
                seen = finding.frames
        # What a caller who ignores the verdicts would show must not be what was refused.
        shown = _black(frames) if any(v.blocked for v in verdicts) else np.array(seen)
        return tuple(verdicts), shown

    def describe(self) -> dict[str, Any]:
        """What this gate would run, for a sidecar or the `guard` verb."""
        return {
            "guard": "gate",
            "before": [{"rail": r.name, "version": r.version} for r in self.before],
            "after": [{"rail": r.name, "version": r.version} for r in self.after],
        }


class Open:
    """No guard, on the caller's word. It says so in every verdict it gives."""

    reason = "guard switched off by the caller"

    def check_prompt(self, text: str | None) -> tuple[Verdict, ...]:
        return (Verdict("open", "skipped", False, self.reason),)

    def check_frames(self, frames: np.ndarray, fps: float) -> tuple[tuple[Verdict, ...], np.ndarray]:
        return (Verdict("open", "skipped", False, self.reason),), np.array(frames)

    def describe(self) -> dict[str, Any]:
        return {"guard": "open", "reason": self.reason}


def raise_if_blocked(verdicts: Sequence[Verdict]) -> None:
    """Nothing, or the refusal in words.

    Raises:
        Blocked: naming each rail that refused and why.
    """
    refused = [v for v in verdicts if v.blocked]
    if refused:
        told = "; ".join(f"{v.rail} ({'could not run' if v.state == 'failed' else 'refused'}): {v.reason}" for v in refused)
        raise Blocked(f"The guard blocked this. {told}.".replace("..", "."))


def _black(frames: Any) -> np.ndarray:
    shape = np.shape(frames)
    return np.zeros(shape if len(shape) == 4 and shape[-1] == 3 else (0, 0, 0, 3), np.uint8)


def _run(
    rail: PromptRail | FrameRail, call: Callable[[], Finding], seconds: float, shape: tuple[int, ...] = ()
) -> tuple[Verdict, Finding | None]:
    """One rail on a thread of its own, so that one that hangs cannot hang the caller; whatever goes wrong blocks."""
    box: list[Finding] = []
    wrong: list[str] = []

    def work() -> None:
        # Broad on purpose: a rail that dies in any way must block, and the reason goes into the verdict.
        try:
            box.append(call())
        except BaseException as error:
            wrong.append(f"{type(error).__name__}: {error}"[:500])

    began = time.monotonic()
    thread = threading.Thread(target=work, name=f"guard-{rail.name}", daemon=True)
    thread.start()
    thread.join(seconds)
    spent = time.monotonic() - began

    def failed(reason: str) -> tuple[Verdict, None]:
        return Verdict(rail.name, "failed", True, reason, version=rail.version, seconds=spent), None

    if thread.is_alive():
        return failed(f"no answer within {seconds:g} s")
    if wrong:
        return failed(wrong[0])
    finding = box[0] if box else None
    if not isinstance(finding, Finding):
        return failed(f"answered with {type(finding).__name__} instead of a finding")
    if not isinstance(finding.blocked, (bool, np.bool_)) or not isinstance(finding.category, str):
        return failed(f"its finding says blocked={finding.blocked!r}, category={finding.category!r}")
    if finding.frames is not None and (finding.frames.dtype != np.uint8 or finding.frames.shape != shape):
        return failed(f"it gave back {finding.frames.dtype} frames of shape {finding.frames.shape} for {shape}")
    if finding.score is not None and not 0.0 <= finding.score <= 1.0:  # NaN fails this comparison too
        return failed(f"its score {finding.score!r} is no number in [0, 1]")
    state = "skipped" if finding.skipped else "ran"
    verdict = Verdict(
        rail.name, state, bool(finding.blocked), str(finding.reason), finding.score, rail.version, spent, finding.category
    )
    return verdict, finding
