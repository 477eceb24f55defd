"""Six views dreamed at once: how good each is, and whether they show one world, across views and over time.

A dream is compared with what happened (PSNR, SSIM), beside the last given frame repeated and the tokenizer's reconstruction of the truth.
That views agree is asked in two ways. The Sampson error (`sampson`) of points matched between frames of one view (*temporal*) and between
neighbouring views of one moment (*cross-view*), under the cameras of the drive that was commanded. And the correlation of what
neighbouring views both see. Truth is the floor; one ride's left view beside another ride's front view is the chance level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from armillary.errors import BadInput, Failed
from armillary.evaluate import pixels
from armillary.evaluate.rides import Ride
from armillary.evaluate.sampson import Strip, fundamental, sampson, strip, track
from armillary.evaluate.stats import estimate
from armillary.progress import Progress
from armillary.types import Report

# (first frames uint8 `v k h w 3`, trajectory `64 3` from the first of them or None, texts, seed) -> the further frames, uint8 `v t h w 3`.
Dream = Callable[[np.ndarray, "np.ndarray | None", tuple[str, ...], int], np.ndarray]
Reconstruct = Callable[[np.ndarray], np.ndarray]
EVERY = 4  # frames between moments at which views are held against each other


@dataclass
class Dreamed:
    """One ride and what was dreamed of it.

    Args:
        ride: cut to the frames in question; past: how many of them were given.
        arms: name -> uint8 `v t h w 3` with the given frames: `truth`, `dream`, `copy`, `reconstruction`; `free` (no trajectory was told),
            `swapped` (that of `other` was).
    """

    ride: Ride
    past: int
    arms: dict[str, np.ndarray] = field(default_factory=dict)
    other: Ride | None = None


def dream_rides(
    dream: Dream,
    rides: Sequence[Ride],
    *,
    past: int = 1,
    steps: int = 16,
    seed: int = 0,
    reconstruct: Reconstruct | None = None,
    swap: bool = True,
) -> list[Dreamed]:
    """Dream each ride from its first `past` frames: told its trajectory, told none, and told another ride's.

    Args:
        rides: of the same cameras, each of `past + steps` frames at least.
        reconstruct: uint8 `v t h w 3` -> the same through the world's tokenizer. seed: ride `i` is dreamed with `seed + i`.

    Raises:
        BadInput: a ride is too short. Failed: the dream gave something else than it was asked for.
    """
    length = past + steps
    if past < 1 or steps < 1 or not rides or any(len(r) < length for r in rides):
        shortest = min((len(r) for r in rides), default=0)
        raise BadInput(
            f"{past} given and {steps} dreamed frames want rides of {length}; the shortest of {len(rides)} has {shortest}."
        )
    out = []
    with Progress("dream", total=len(rides)) as bar:
        for i, whole in enumerate(rides):
            ride, other = whole.part(0, length), rides[(i + 1) % len(rides)].part(0, length)
            given = ride.frames[:, :past]

            def go(way: np.ndarray | None, given=given, texts=ride.texts, i=i) -> np.ndarray:
                made = np.asarray(dream(given, way, texts, seed + i))
                wanted = (len(given), steps, *given.shape[2:])
                if made.dtype != np.uint8 or made.shape != wanted:
                    raise Failed(f"The dream was asked for uint8 {wanted} and gave {made.dtype} {made.shape}.")
                return np.concatenate([given, made], axis=1)

            held = Dreamed(ride, past, {"truth": ride.frames, "dream": go(ride.trajectory[0]), "free": go(None)})
            held.arms["copy"] = np.concatenate([given, np.repeat(given[:, -1:], steps, axis=1)], axis=1)
            if swap and len(rides) > 1:
                held.arms["swapped"], held.other = go(other.trajectory[0]), other
            if reconstruct is not None:
                held.arms["reconstruction"] = np.asarray(reconstruct(ride.frames))
            out.append(held)
            bar.advance()
    return out


def strips(ride: Ride) -> dict[tuple[int, int], Strip]:
    """What pairs of views share, by their numbers; a rig does not change, so those of the first frame hold for all."""
    pairs = [(a, b) for a in range(len(ride.cameras)) for b in range(a + 1, len(ride.cameras))]
    found = {pair: strip(ride.at(pair[0], 0), ride.at(pair[1], 0)) for pair in pairs}
    return {pair: s for pair, s in found.items() if s is not None}


def temporal(frames: np.ndarray, ride: Ride, first: int) -> np.ndarray:
    """Sampson errors in pixels of points matched from each frame to the next, all views, from frame `first` on."""
    found = [np.zeros(0)]
    for view in range(len(frames)):
        for i in range(first, frames.shape[1] - 1):
            f = fundamental(ride.at(view, i), ride.at(view, i + 1))
            found.append(sampson(f, track(frames[view, i], frames[view, i + 1])))
    return np.concatenate(found)


def across(
    frames: np.ndarray, others: np.ndarray, ride: Ride, shared: Mapping[tuple[int, int], Strip], first: int
) -> tuple[np.ndarray, float]:
    """Sampson errors of points matched between neighbouring views of one moment, and the mean correlation of what they share.

    Args:
        others: where the second view of each pair is taken from: `frames` itself, or for the chance level those of another ride.
    """
    found, agree = [np.zeros(0)], []
    for (a, b), where in shared.items():
        for i in range(first, frames.shape[1], EVERY):
            one, two = frames[a, i], others[b, i]
            found.append(sampson(fundamental(ride.at(a, i), ride.at(b, i)), where.match(one, two)))
            agree.append(where.agreement(one, two))
    agreed = np.asarray(agree)[np.isfinite(agree)]
    return np.concatenate(found), float(agreed.mean()) if len(agreed) else float("nan")


def evaluate_views(dreamed: Sequence[Dreamed], title: str = "Views: quality and consistency") -> Report:
    """Of what `dream_rides` gave.

    Returns:
        Report whose `metrics` hold `quality`: {arm: {view: {psnr, ssim}}} over the dreamed frames, and {arm: {"all": ...}}; `temporal` and
        `cross`: {arm: {`px`: Estimate of a ride's median error, `within_1px`: share, `matches`: a ride}}; `agreement`: {arm: Estimate};
        arms of the latter three also have `chance` (views of two rides). Copies stand still and are left out of the temporal ones.
    """
    rows: list[dict[str, Any]] = []
    with Progress("views", total=len(dreamed)) as bar:
        for i, d in enumerate(dreamed):
            rows.append(_row(d, dreamed[(i + 1) % len(dreamed)]))
            bar.advance()
    names = dreamed[0].ride.names
    quality: dict[str, Any] = {}
    for arm in rows[0]["quality"]:
        table = {m: np.stack([r["quality"][arm][m] for r in rows]) for m in ("psnr", "ssim")}  # rides views
        quality[arm] = {v: {m: estimate(table[m][:, k]) for m in table} for k, v in enumerate(names)}
        quality[arm]["all"] = {m: estimate(table[m].mean(1)) for m in table}
    metrics = {
        "quality": quality,
        "temporal": _errors([r["temporal"] for r in rows]),
        "cross": _errors([r["cross"] for r in rows]),
        "agreement": {arm: estimate([r["agreement"][arm] for r in rows]) for arm in rows[0]["agreement"]},
        "rides": len(rows),
        "past": dreamed[0].past,
        "steps": len(dreamed[0].ride) - dreamed[0].past,
        "views": list(names),
    }
    notes = (
        f"{len(rows)} rides, {metrics['past']} frame(s) of each of {len(names)} views given, {metrics['steps']} dreamed.",
        "Sampson error: the root of the squared form, in pixels of the pictures; medians of a ride, then their mean. Matches are "
        "corners followed by Lucas-Kanade, there and back; few are found between views, whose strips are narrow. Cameras are those of the "
        "commanded drive. A low error of few matches says little: the number of matches and the correlation stand beside it.",
        "Chance: each second view is taken from another ride.",
    )
    return Report(title, metrics, notes)


def _row(d: Dreamed, other: Dreamed) -> dict[str, Any]:
    shared = strips(d.ride)
    row: dict[str, Any] = {"quality": {}, "temporal": {}, "cross": {}, "agreement": {}}
    future = d.ride.frames[:, d.past :]
    for arm, frames in d.arms.items():
        if arm == "swapped":
            continue
        if arm != "truth":
            parts = [(pixels.psnr(a, b).mean(), pixels.ssim(a, b).mean()) for a, b in zip(future, frames[:, d.past :])]
            row["quality"][arm] = dict(zip(("psnr", "ssim"), np.array(parts).T))
        if arm in ("copy", "free"):
            continue
        row["temporal"][arm] = temporal(frames, d.ride, d.past - 1)
        row["cross"][arm], row["agreement"][arm] = across(frames, frames, d.ride, shared, d.past)
    if other is not d:
        row["cross"]["chance"], row["agreement"]["chance"] = across(d.ride.frames, other.ride.frames, d.ride, shared, d.past)
    return row


def _errors(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    return {
        arm: {
            "px": estimate([float(np.median(r[arm])) if len(r[arm]) else np.nan for r in rows]),
            "within_1px": estimate([float((r[arm] < 1).mean()) if len(r[arm]) else np.nan for r in rows]),
            "matches": float(np.mean([len(r[arm]) for r in rows])),
        }
        for arm in rows[0]
    }
