"""A dream many times as long as what the world was trained on, against the truth: what is still there, what was made up, when it collapses.

Open loop: only the first frames are given, and the episode's actions where the world takes them. What a long dream loses it loses slowly,
so that everything is a curve: the objects, their places and pixels against the truth of the same frame, and the look of the picture
against its own beginning (`rollout/drift.py`), beside what the truth itself does and what copying the last given frame would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate import collapse, objects, pixels, versus
from armillary.evaluate.rollouts import Dream, Reconstruct, Setup
from armillary.evaluate.stats import Estimate, estimate, median, share
from armillary.progress import Progress
from armillary.rollout.drift import looks
from armillary.types import Episode, Report

TIMES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
SPARE = 0.5  # of an object's own area: a second thing of its colour as large as this was made up
HOLDS, SOME, COLLAPSES = "HOLDS", "SOME COLLAPSE", "COLLAPSES"


def evaluate_long(
    dream: Dream,
    episodes: Iterable[Episode],
    *,
    trained: int,
    times: float = 10.0,
    past: int = 4,
    size: int = 64,
    camera: str = "front",
    reconstruct: Reconstruct | None = None,
    seed: int = 0,
    multiple: int = 1,
    truth_size: int = objects.TRUTH_SIZE,
    watch: Callable[[Episode, np.ndarray, np.ndarray], None] | None = None,
    title: str = "Far beyond the trained length",
) -> Report:
    """Dream each episode to `times` the trained length and judge every frame.

    Args:
        dream: see `rollouts.Dream`; it is asked for all frames at once.
        episodes: held out ones of at least `times * trained` frames; shorter ones are left out and named in the notes.
        trained: frames of the clips that the world was trained on, given ones counted; times: as many of them, given ones counted.
        reconstruct, seed, multiple, truth_size, watch, size, camera: as in `rollouts.evaluate_world`.

    Returns:
        Report whose `metrics` hold `verdict`, `why`; `horizons`: {frames after the last given one: times the trained length}; at those
        `psnr`: {arm: {horizon: Estimate}}, `objects`: {arm: {horizon: {n, kept, in_place, invented (shares), error_px (median)}}},
        `looks`: {arm: {measure: {horizon: Estimate}}}, `versus` (see `versus.against_copy`); `curves`: {measure: {arm: {mean, low, high:
        [a value each window]}}} with `x`, the middle of each window; `collapse` (see `collapse`): {arm: {share, by_window, median_horizon,
        why, left}}, `reach`. Arms: `truth` (its looks, and what is found in it), `dream`, `copy`, `reconstruction`.
        Looks are ratios to the beginning; `colour` is grey levels away from it, `movement` grey levels a frame.

    Raises:
        BadInput: no episode long enough, or a length that holds nothing to dream.
    """
    if past < 1 or trained < 1 or not np.isfinite(times) or trained * times <= past:
        raise BadInput(
            f"{times:g} times {trained} frames, {past} of them given, leave nothing to dream; --long 10 is the usual length."
        )
    steps = -(-(round(trained * times) - past) // multiple) * multiple
    setup = Setup(past, steps, size, camera, truth_size)
    kept, short = setup.long_enough(episodes)
    marks = {round(k * trained) - past: k for k in (*TIMES, times) if k <= times and round(k * trained) > past}
    marks = {h: k for h, k in sorted(marks.items()) if h <= steps}
    runs = []
    with Progress("dream on and on", total=len(kept)) as bar:
        for i, episode in enumerate(kept):
            truth = setup.frames(episode)
            made = setup.dream(dream, truth[:past], setup.actions(episode), setup.text(episode), seed + i)
            shown = truth if reconstruct is None else np.asarray(reconstruct(truth))
            runs.append(_run(episode, setup, truth, shown, made, reconstruct is not None))
            if watch is not None:
                watch(episode, truth, np.concatenate([truth[:past], made]))
            bar.advance(psnr=f"{runs[-1]['steps']['psnr']['dream'][-1]:.1f} dB at +{steps}")
    fps = float(kept[0].fps)
    parts = collapse.windows(steps, fps)
    metrics: dict[str, Any] = {"episodes": len(kept), "past": past, "trained": trained, "times": times, "steps": steps}
    metrics |= {"size": size, "seed": seed, "fps": fps, "horizons": {str(h): k for h, k in marks.items()}}
    metrics |= _at(runs, list(marks), parts) | {"curves": _curves(runs, parts)}
    metrics["versus"] = versus.against_copy(runs, list(marks))
    metrics["collapse"], metrics["per_episode"] = _collapse(runs, parts)
    metrics["verdict"], metrics["why"] = judge(metrics)
    return Report(title, metrics, tuple(_notes(metrics, short)))


def _run(
    episode: Episode, setup: Setup, truth: np.ndarray, shown: np.ndarray, made: np.ndarray, rebuilt: bool
) -> dict[str, Any]:
    """Everything about one episode, by frame. `shown`: the truth as the world's tokenizer shows it, `rebuilt`: that it does."""
    past, future = setup.past, truth[setup.past :]
    arms = {"dream": made, "copy": np.repeat(truth[past - 1 : past], setup.steps, axis=0)}
    if rebuilt:
        arms["reconstruction"] = shown[past:]
    begins = {"dream": shown[:past], "reconstruction": shown[:past]}
    run: dict[str, Any] = {
        "id": episode.id,
        "steps": {"psnr": {arm: pixels.psnr(future, frames) for arm, frames in arms.items()}},
        "looks": {arm: _looks(begins.get(arm, truth[:past]), frames) for arm, frames in ({"truth": future} | arms).items()},
        "objects": {},
        "invented": {},
    }
    scene = objects.Scene.read(episode.truth, setup.size, setup.truth_size)
    if scene is None:
        return run
    tracker = scene.learn(truth)
    seen = tracker.track(truth, spares=True)
    whole = SPARE * np.array([c.area for c in tracker.colours[: scene.num]])
    tracks = {"truth": seen} | {
        arm: tracker.track(np.concatenate([truth[:past], frames]), spares=True) for arm, frames in arms.items() if arm != "copy"
    }
    tracks["copy"] = tracker.track(truth[:past], spares=True).held(setup.steps)
    for arm, found in tracks.items():
        assert found.spare is not None
        run["invented"][arm] = found.spare[past : setup.length, : scene.num] >= whole
        run["objects"][arm] = {
            h: objects.compare(scene, seen, found, past - 1, past - 1 + h) for h in range(1, setup.steps + 1)
        }
    return run


def _looks(begin: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The look of each frame of `t h w 3` after a beginning: ratios to it, or what `drift.looks` says of colour and movement."""
    first = len(begin)
    found = looks(np.concatenate([begin, frames]), first)
    out = {name: found[name][first:] / max(float(found[name][:first].mean()), 1e-6) for name in collapse.RATIOS}
    return out | {name: found[name][first:] for name in ("colour", "movement")}


def _at(runs: list[dict[str, Any]], marks: list[int], parts: list[slice]) -> dict[str, Any]:
    """What there is at the marked horizons. Looks are those of the window up to there."""
    width = parts[0].stop
    out: dict[str, Any] = {"psnr": {}, "looks": {}}
    for arm in runs[0]["steps"]["psnr"]:
        out["psnr"][arm] = {str(h): estimate([r["steps"]["psnr"][arm][h - 1] for r in runs]) for h in marks}
    for arm, found in runs[0]["looks"].items():
        out["looks"][arm] = {
            name: {str(h): estimate([_mean(r["looks"][arm][name][max(0, h - width) : h]) for r in runs]) for h in marks}
            for name in found
        }
    held = [r for r in runs if r["objects"]]
    if held:
        out["objects"] = {arm: {str(h): _things(held, arm, range(h, h + 1)) for h in marks} for arm in held[0]["objects"]}
    return out


def _things(runs: list[dict[str, Any]], arm: str, horizons: Sequence[int]) -> dict[str, Any]:
    """The objects at some horizons together."""
    groups = [[s for h in horizons for s in r["objects"][arm][h]] for r in runs]
    count = [len(g) for g in groups]
    spare = [r["invented"][arm][horizons[0] - 1 : horizons[-1]] for r in runs]
    return {
        "n": sum(count),
        "kept": share([sum(not s.lost for s in g) for g in groups], count),
        "in_place": share([sum(s.in_place for s in g) for g in groups], count),
        "error_px": median([s.error for g in groups for s in g]),
        "invented": share([s.sum() for s in spare], [s.size for s in spare]),
    }


def _curves(runs: list[dict[str, Any]], parts: list[slice]) -> dict[str, Any]:
    out: dict[str, Any] = {"x": [(p.start + p.stop + 1) / 2 for p in parts]}
    out["psnr"] = {
        arm: _lines([estimate([_mean(r["steps"]["psnr"][arm][p]) for r in runs]) for p in parts])
        for arm in runs[0]["steps"]["psnr"]
    }
    for name in (*collapse.LOOKS, "movement"):
        out[name] = {
            arm: _lines([estimate([_mean(r["looks"][arm][name][p]) for r in runs]) for p in parts]) for arm in runs[0]["looks"]
        }
    held = [r for r in runs if r["objects"]]
    if held:
        for name in ("kept", "in_place", "invented", "error_px"):
            out[name] = {}
        for arm in held[0]["objects"]:
            found = [_things(held, arm, range(p.start + 1, p.stop + 1)) for p in parts]
            for name in ("kept", "in_place", "invented"):
                out[name][arm] = _lines([f[name] for f in found])
            out["error_px"][arm] = {"mean": [f["error_px"] for f in found]}
    return out


def _lines(estimates: list[Estimate]) -> dict[str, list[float | None]]:
    return {key: [e[key] for e in estimates] for key in ("mean", "low", "high")}


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _collapse(runs: list[dict[str, Any]], parts: list[slice]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Per arm: the share of episodes that have fallen apart, by window and in the end; where; why. And each episode's own."""
    windowed = [
        {arm: {n: np.array([_mean(v[p]) for p in parts]) for n, v in found.items()} for arm, found in r["looks"].items()}
        for r in runs
    ]
    reach = collapse.farthest([w["truth"] for w in windowed])
    arms = list(runs[0]["looks"])
    rows: list[dict[str, Any]] = [{"id": r["id"]} for r in runs]
    out: dict[str, Any] = {"reach": reach, "window": parts[0].stop}
    for arm in arms:
        broken, left, reasons = [], [], {}
        for run, look, row in zip(runs, windowed, rows):
            kept = _kept(run, arm, parts)
            found = collapse.first(look[arm], reach, kept)
            away = collapse.first(look[arm], reach, None, 1.0)
            broken.append(None if found is None else found[0])
            left.append(None if away is None else away[0])
            if found is not None:
                reasons[found[1]] = reasons.get(found[1], 0) + 1
            row[arm] = {
                "collapse": None if found is None else parts[found[0]].start + 1,
                "by": None if found is None else found[1],
            }
        out[arm] = _survival(broken, parts) | {"why": reasons, "left": _survival(left, parts)}
    return out, rows


def _kept(run: dict[str, Any], arm: str, parts: list[slice]) -> np.ndarray | None:
    if not run["objects"]:
        return None
    groups = [[s for h in range(p.start + 1, p.stop + 1) for s in run["objects"][arm][h]] for p in parts]
    return np.array([np.mean([not s.lost for s in g]) if g else np.nan for g in groups])


def _survival(broken: list[int | None], parts: list[slice]) -> dict[str, Any]:
    """`median_horizon`: the first frame of the window in which half of the episodes have fallen apart, None where fewer do."""
    by = [float(np.mean([b is not None and b <= i for b in broken])) for i in range(len(parts))]
    half = next((parts[i].start + 1 for i, value in enumerate(by) if value >= 0.5), None)
    return {
        "share": share([b is not None for b in broken], [1] * len(broken)),
        "by_window": by,
        "median_horizon": half,
    }


def judge(metrics: dict[str, Any]) -> tuple[str, str]:
    """The verdict on a long dream and the sentence it rests on."""
    found = metrics["collapse"]["dream"]
    n = metrics["episodes"]
    count = round(n * found["share"]["mean"])
    said = f"{count} of {n} episodes collapse within {metrics['times']:g} times the trained {metrics['trained']} frames"
    if not count:
        return HOLDS, f"{said} (95 %: at most {100 * found['share']['high']:.0f} % would)."
    why = ", ".join(f"{k} {v}" for k, v in sorted(found["why"].items(), key=lambda item: -item[1]))
    if found["median_horizon"] is None:
        return SOME, f"{said}; what gave way first: {why}."
    return COLLAPSES, f"{said}, half of them by frame +{found['median_horizon']}; what gave way first: {why}."


def _notes(m: dict[str, Any], short: list[str]) -> list[str]:
    reach = m["collapse"]["reach"]
    far = ", ".join(f"{name} {np.exp(reach[name]):.2f}x" for name in collapse.RATIOS)
    notes = [
        f"{m['episodes']} episodes, open loop from {m['past']} given frames to {m['past'] + m['steps']} in all, {m['times']:g} times the "
        f"{m['trained']} that the world was trained on; one seed an episode. Curves are means over windows of {m['collapse']['window']} "
        "frames; intervals: 95 % over episodes.",
        f"An episode has collapsed in the first window in which fewer than half of the objects are there, or its look is {collapse.FAR:g} "
        "times as far from its beginning as the truth of any episode ever gets. The truth's own reach, by a factor either way: "
        f"{far}; mean colour {reach['colour']:.1f} grey levels. The beginning: the given frames, for a dream as the tokenizer shows them.",
        "An object is lost when less than 30 % of its area in the truth is found at that frame, and made up where a second thing of its "
        "colour is at least half as large as it; what has no known colour is not seen. "
        "The line of the truth says how often that is said in error.",
    ]
    if short:
        notes.append(
            f"{len(short)} episodes were too short and are left out: {', '.join(short[:5])}{' ...' * (len(short) > 5)}."
        )
    if "objects" not in m:
        notes.append("The episodes hold no truth about objects, so that none were tracked, and only looks can collapse.")
    return notes
