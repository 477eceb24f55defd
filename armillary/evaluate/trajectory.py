"""Does the dreamed car go where it was told? Its way is read off all views (`odometry`) and held against the way commanded, in cm.

Arms: the *truth* as it is read (the floor of everything here), the tokenizer's *reconstruction* of it, the *dream* that was told the way,
the same world told none (*free*, the baseline), and where a ride was told another one's way, that dream against the other way
(*swapped*), beside the free dream against it (*deaf*). Errors are mean distances over the dreamed frames, from the last given one on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate.odometry import NAMES, Odometer, driven, path_of
from armillary.evaluate.stats import estimate, estimate_ratio
from armillary.evaluate.views import Dreamed
from armillary.progress import Progress
from armillary.types import Report

BLIND, FOLLOWS, OPEN = "TRAJECTORY-BLIND", "FOLLOWS ITS TRAJECTORY", "INCONCLUSIVE"
SKILLED = 0.3  # of the variance of the motion ahead: an odometer that tells less judges nothing
HALF = 0.5  # of the error of a world that was told nothing


def evaluate_trajectory(
    dreamed: Sequence[Dreamed], odometer: Odometer, title: str = "Trajectory: does the car go where it was told?"
) -> Report:
    """Of what `dream_rides` gave, with an odometer that was measured.

    Returns:
        Report whose `metrics` hold `verdict` and `why`; `error_cm`: {arm: Estimate over rides}; `final_cm`: of the last frame; `ratio`: the
        dream's error over that of the free one, `swapped_ratio`: the swapped dream's over the deaf one's; `usual_cm`: of always guessing
        the mean motion; `skill`: of the odometer by part. The verdict is BLIND when the interval of neither ratio stays below 1.

    Raises:
        BadInput: the odometer was not measured.
    """
    if not np.isfinite(odometer.skill).any():
        raise BadInput("Measure the odometer on held-out rides first (`Odometer.measure`); its error is the floor of this.")
    rows: list[dict[str, np.ndarray]] = []
    with Progress("trajectory", total=len(dreamed)) as bar:
        for d in dreamed:
            rows.append(_row(d, odometer))
            bar.advance()
    arms = [a for a in rows[0] if all(a in r for r in rows)]
    error = {a: np.array([r[a].mean() for r in rows]) for a in arms}
    metrics: dict[str, Any] = {
        "error_cm": {a: estimate(error[a]) for a in arms},
        "final_cm": {a: estimate([r[a][-1] for r in rows]) for a in arms},
        "ratio": estimate_ratio(error["dream"], error["free"]),
        "swapped_ratio": estimate_ratio(error["swapped"], error["deaf"]) if "swapped" in error else None,
        "skill": {name: float(s) if np.isfinite(s) else None for name, s in zip(NAMES, odometer.skill)},
        "rides": len(rows),
        "steps": len(dreamed[0].ride) - dreamed[0].past,
    }
    verdict, why = judge(metrics)
    notes = (
        f"{len(rows)} rides, {metrics['steps']} dreamed frames, {dreamed[0].past} given. The way is read off all views by flow and a ridge "
        "regression that learned on other drives; on these rides' truth it explains "
        + ", ".join(f"{100 * s:.0f} % of {n}" if s is not None else f"? of {n}" for n, s in metrics["skill"].items())
        + " (variance of a step).",
        "Errors include the reader's own, which the truth arm shows; the way is that of the point on the ground below the first camera.",
    )
    return Report(title, {"verdict": verdict, "why": why, **metrics}, notes)


def _row(d: Dreamed, odometer: Odometer) -> dict[str, np.ndarray]:
    """For each arm the distance in cm at each dreamed frame."""
    first = d.past - 1
    own = path_of(driven(d.ride)[first:])
    theirs = None if d.other is None else path_of(driven(d.other)[first:])
    read = {arm: path_of(odometer.read(frames[:, first:])) for arm, frames in d.arms.items() if arm != "copy"}
    out = {arm: _apart(path, own) for arm, path in read.items() if arm != "swapped"}
    out["usual"] = _apart(path_of(np.tile(odometer.usual, (len(own), 1))), own)
    if theirs is not None and "swapped" in read:
        out["swapped"], out["deaf"] = _apart(read["swapped"], theirs), _apart(read["free"], theirs)
    return out


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 100 * np.linalg.norm(a - b, axis=-1)


def judge(metrics: dict[str, Any]) -> tuple[str, str]:
    """The verdict and a sentence of reasons."""
    skill = metrics["skill"]["ahead"]
    if skill is None or skill < SKILLED:
        told = "nothing" if skill is None else f"{100 * skill:.0f} %"
        return OPEN, f"the way cannot be read well enough off these rides' own truth ({told} of the motion ahead explained)."
    ratios = {n: r for n in ("ratio", "swapped_ratio") if (r := metrics[n]) is not None and r["mean"] is not None}
    if not ratios:
        return OPEN, "no ride could be judged."
    said = "; ".join(
        f"{'another way is missed' if n == 'swapped_ratio' else 'the way is missed'} by {r['mean']:.2f} of what it is by when none is told "
        f"(95 %: {r['low']:.2f} to {r['high']:.2f})"
        for n, r in ratios.items()
    )
    best = min(r["high"] for r in ratios.values())
    if best >= 1:
        return BLIND, f"{said}."
    return (FOLLOWS if all(r["mean"] < HALF for r in ratios.values()) else OPEN), f"{said}; below {HALF} is following."
