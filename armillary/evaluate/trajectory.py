"""Does the dreamed car go where it was told? Its way is read off all views and held against the way commanded, in cm.

Arms: the *truth* as it is read (the floor of everything here), the tokenizer's *reconstruction* of it, the *dream* that was told the way,
the same world told none (*free*, the baseline), and where a ride was told another one's way, that dream against the other way
(*swapped*), beside the free dream against it (*deaf*). *Usual* is the guess that a car moves as the rides do on average. Errors are mean
distances over the dreamed frames that are read, from the last given one on.

Two readers. `twin.Twins`, for drives of a recorded simulator: it finds the place from which the street looks like that.
`odometry.Odometer`, for any drives: optical flow, learned on other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate.odometry import driven, path_of
from armillary.evaluate.rides import Ride
from armillary.evaluate.stats import estimate, estimate_ratio
from armillary.evaluate.views import Dreamed
from armillary.progress import Progress
from armillary.types import Report

BLIND, FOLLOWS, OPEN = "TRAJECTORY-BLIND", "FOLLOWS ITS TRAJECTORY", "INCONCLUSIVE"
HALF = 0.5  # of the error of a world that was told nothing; and of a guess's, which truth must be read better than


class Reader(Protocol):
    """What reads a way off views; `about` says how, in a sentence."""

    @property
    def about(self) -> str: ...

    def way(self, ride: Ride, frames: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a video uint8 `v t h w 3` that begins as the ride does: steps after frame `first`, int `n` (1 is the next frame), and the
        places then, float64 `n 2`, in the body axes of that frame (ahead, to the left, of the point below the first camera).
        """
        ...


def evaluate_trajectory(
    dreamed: Sequence[Dreamed], reader: Reader, title: str = "Trajectory: does the car go where it was told?"
) -> Report:
    """Of what `dream_rides` gave.

    Returns:
        Report whose `metrics` hold `verdict` and `why`; `error_cm`: {arm: Estimate over rides}, `aside_cm`: its part across the way that
        began; `final_cm`: of the last place; `ratio`: the dream's error over that of the free one, `swapped_ratio`: the swapped dream's
        over the deaf one's. The verdict is BLIND when the interval of neither ratio stays below 1.
    """
    if not dreamed:
        raise BadInput("No ride was dreamed; there is nothing to judge.")
    usual = np.concatenate([driven(d.ride) for d in dreamed]).mean(0)
    rows: list[dict[str, np.ndarray]] = []
    with Progress("trajectory", total=len(dreamed)) as bar:
        for d in dreamed:
            rows.append(_row(d, reader, usual))
            bar.advance()
    arms = [a for a in rows[0] if all(a in r for r in rows)]
    far = {a: [np.linalg.norm(r[a], axis=-1) for r in rows] for a in arms}
    error = {a: np.array([x.mean() for x in far[a]]) for a in arms}
    metrics: dict[str, Any] = {
        "error_cm": {a: estimate(error[a]) for a in arms},
        "aside_cm": {a: estimate([np.abs(r[a][:, 1]).mean() for r in rows]) for a in arms},
        "final_cm": {a: estimate([x[-1] for x in far[a]]) for a in arms},
        "ratio": estimate_ratio(error["dream"], error["free"]),
        "swapped_ratio": estimate_ratio(error["swapped"], error["deaf"]) if "swapped" in error else None,
        "rides": len(rows),
        "steps": len(dreamed[0].ride) - dreamed[0].past,
    }
    verdict, why = judge(metrics)
    notes = (
        f"{len(rows)} rides, {metrics['steps']} dreamed frames, {dreamed[0].past} given. {reader.about}",
        "Errors include the reader's own, which the truth arm shows; the way is that of the point on the ground below the first camera.",
    )
    return Report(title, {"verdict": verdict, "why": why, **metrics}, notes)


def _row(d: Dreamed, reader: Reader, usual: np.ndarray) -> dict[str, np.ndarray]:
    """For each arm what is missing to the way in cm, `n 2`, at each place that was read."""
    first = d.past - 1
    read = {arm: reader.way(d.ride, frames, first) for arm, frames in d.arms.items() if arm != "copy"}
    own = path_of(driven(d.ride)[first:])
    out = {arm: 100 * (path - own[at - 1]) for arm, (at, path) in read.items() if arm != "swapped"}
    at = read["truth"][0]
    out["usual"] = 100 * (path_of(np.tile(usual, (len(own), 1))) - own)[at - 1]
    if d.other is not None and "swapped" in read:
        theirs = path_of(driven(d.other)[first:])
        out["swapped"], out["deaf"] = (100 * (read[arm][1] - theirs[read[arm][0] - 1]) for arm in ("swapped", "free"))
    return out


def judge(metrics: dict[str, Any]) -> tuple[str, str]:
    """The verdict and a sentence of reasons."""
    floor, guess = (metrics["error_cm"][arm]["mean"] for arm in ("truth", "usual"))
    if floor is None or guess is None or floor > HALF * guess:
        return OPEN, (
            f"the way cannot be read well enough off truth itself: {floor or 0:.0f} cm, where always guessing the mean motion errs by "
            f"{guess or 0:.0f} cm."
        )
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
