"""Does a dream beat copying the last given frame, horizon by horizon? Paired: the same episode, the same object, the same frame.

Three answers stand side by side, because each alone deceives: PSNR hides a vanished object, copying keeps every object and moves none, and
the position of an object that vanished is nobody's error. Differences are dream less copy, with a 95 % bootstrap interval over episodes.

    psnr            dB over all pixels
    kept            share of the objects that are still there
    error_px        distance to the object in the truth, px of a 64-pixel image, over the objects that both show
    moved_error_px  the same over objects that moved more than 2 px since the last given frame
    in_place        share of the objects that are there and where they should be: what is lost counts as misplaced
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.evaluate.objects import Sighting
from armillary.evaluate.stats import estimate, estimate_ratio

UP_TO = 16
FEWEST = 6  # episodes: fewer have no interval worth the name
BEATS, PIXELS, NOT, OPEN = "BEATS COPYING", "BEATS COPYING IN PIXELS ONLY", "DOES NOT BEAT COPYING", "INCONCLUSIVE"
LOWER = ("error_px", "moved_error_px")  # is better
NAMES = {
    "psnr": "PSNR",
    "kept": "Objects kept",
    "error_px": "Position error",
    "moved_error_px": "Position error of what moved",
    "in_place": "Objects in place",
}


def against_copy(runs: Sequence[Mapping[str, Any]], horizons: Sequence[int]) -> dict[str, Any]:
    """The comparison.

    Args:
        runs: one an episode: `steps`: {"psnr": {arm: float `t`}}; `objects`: {arm: {horizon: [Sighting]}}, empty without truth. The arms
            `dream` and `copy` judge the same objects in the same order.
        horizons: steps after the last given frame, from 1.

    Returns:
        `horizons`; for each measure `{horizon: {"dream", "copy": means or None, "difference": Estimate}}`; `better`, `alike`, `worse`:
        {measure: [horizons]} by whether the interval of the difference leaves zero out, horizons of fewer than `FEWEST` episodes left
        out; `out_of_reach`: horizons at which the tokenizer alone shows the truth no better than copying does; `verdict` and `why`.
    """
    seen = [r for r in runs if r["objects"]]
    rows: dict[str, dict[str, Any]] = {name: {} for name in NAMES if name == "psnr" or seen}
    for h in horizons:
        pixels = np.array([[r["steps"]["psnr"][arm][h - 1] for arm in ("dream", "copy")] for r in runs])
        dream, copy = pixels.mean(0)
        rows["psnr"][str(h)] = {
            "dream": float(dream),
            "copy": float(copy),
            "difference": estimate(pixels[:, 0] - pixels[:, 1]),
        }
        if seen:
            pairs = [list(zip(r["objects"]["dream"][h], r["objects"]["copy"][h])) for r in seen]
            for name, row in _objects(pairs).items():
                rows[name][str(h)] = row
    sides: dict[str, dict[str, list[int]]] = {"better": {}, "alike": {}, "worse": {}}
    for name, by_horizon in rows.items():
        for side in sides.values():
            side[name] = []
        for h in horizons:
            if (where := side_of(by_horizon[str(h)]["difference"], name in LOWER)) is not None:
                sides[where][name].append(h)
    out: dict[str, Any] = {"horizons": list(horizons), "episodes": len(runs), **rows, **sides}
    out["out_of_reach"] = _out_of_reach(runs, horizons)
    out["verdict"], out["why"] = judge(out)
    return out


def _out_of_reach(runs: Sequence[Mapping[str, Any]], horizons: Sequence[int]) -> list[int]:
    """Horizons at which even the truth, as the tokenizer shows it, has no better PSNR than copying."""
    if "reconstruction" not in runs[0]["steps"]["psnr"]:
        return []
    gain = np.mean([r["steps"]["psnr"]["reconstruction"] - r["steps"]["psnr"]["copy"] for r in runs], axis=0)
    return [h for h in horizons if gain[h - 1] <= 0]


def _objects(pairs: list[list[tuple[Sighting, Sighting]]]) -> dict[str, Any]:
    """Every object measure at one horizon, of (dreamed, copied) objects in each episode."""
    count = [len(p) for p in pairs]
    both = [[(a.error, b.error) for a, b in p if not (a.lost or b.lost)] for p in pairs]
    moved = [[(a.error, b.error) for a, b in p if not (a.lost or b.lost) and a.kind == "pushed"] for p in pairs]
    return {
        "kept": _shares([[(not a.lost, not b.lost) for a, b in p] for p in pairs], count),
        "error_px": _shares(both, [len(p) for p in both]),
        "moved_error_px": _shares(moved, [len(p) for p in moved]),
        "in_place": _shares([[(a.in_place, b.in_place) for a, b in p] for p in pairs], count),
    }


def _shares(values: list[list[tuple[float, float]]], count: list[int]) -> dict[str, Any]:
    """Means over objects; episodes are what is drawn again."""
    sums = np.array([np.sum(np.array(v, np.float64).reshape(-1, 2), axis=0) for v in values])
    total = sum(count)
    dream, copy = (float(s) / total if total else None for s in sums.sum(0))
    return {"dream": dream, "copy": copy, "difference": estimate_ratio(sums[:, 0] - sums[:, 1], count), "objects": total}


def side_of(difference: Mapping[str, Any], lower: bool = False) -> str | None:
    """`better`, `worse` or `alike` by whether the interval leaves zero out; None where too few episodes have anything to say."""
    if difference["mean"] is None or difference["n"] < FEWEST:
        return None
    low, high = (-difference["high"], -difference["low"]) if lower else (difference["low"], difference["high"])
    return "better" if low > 0 else "worse" if high < 0 else "alike"


def judge(found: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict on what `against_copy` found, and the sentences it rests on."""
    horizons = found["horizons"]
    said = [_said(name, found) for name in NAMES if name in found]
    if beyond := found["out_of_reach"]:
        said[0] += f" Even the truth through the tokenizer is no better than copying at {ranges(beyond)}."
    if found["episodes"] < FEWEST:
        return OPEN, f"{found['episodes']} episodes; {FEWEST} at least are wanted for an interval. {' '.join(said)}"
    if found["better"]["psnr"] != horizons:
        return NOT, " ".join(said)
    if "kept" not in found:
        return PIXELS, f"{said[0]} The episodes hold no truth about objects, so that a vanished one would not be seen."
    fails = found["worse"]["kept"] or found["worse"]["error_px"] or found["worse"]["in_place"]
    return (PIXELS if fails else BEATS), " ".join(said)


def _said(name: str, found: Mapping[str, Any]) -> str:
    """One sentence on a measure: where it is better, alike or worse than copying."""
    known = [h for side in ("better", "alike", "worse") for h in found[side][name]]
    if not known:
        return f"{NAMES[name]}: too little to judge."
    parts = []
    for side, word in (("better", "better than copying"), ("alike", "no different"), ("worse", "worse")):
        at = found[side][name]
        if at:
            every = (
                "every horizon"
                if len(known) == len(found["horizons"])
                else f"every horizon that can be judged ({ranges(known)})"
            )
            parts.append(f"{word} at {every if len(at) == len(known) else ranges(at)}")
    return f"{NAMES[name]}: {', '.join(parts)}."


def ranges(numbers: Sequence[int]) -> str:
    """`[1, 2, 3, 7]` as `+1 to +3, +7`."""
    out: list[list[int]] = []
    for n in sorted(numbers):
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(f"+{a}" if a == b else f"+{a} to +{b}" for a, b in out)
