"""Does another action give another future, and the one that was commanded?

Three questions, each with its own chance level:

* *Difference.* How far apart are two dreams of the same beginning under different actions, against two dreams under the same actions and
  different seeds? The two dreams that differ in actions also differ in seed, so that a world deaf to actions has a ratio of exactly 1.
* *Own truth.* Is the dream under an episode's own actions nearer to what really happened than the dream under another episode's? Chance
  is one half.
* *Path.* With a simulator at hand: is the dreamed tip nearer to the path that the other actions command than to the path of the
  episode's own, wherever the two are more than 4 px apart? Chance is one half. On real data a probe (`probe.py`) stands in: is what it
  reads in the dream nearer to the actions that were commanded than to the episode's own, wherever these differ?

The other actions are another episode's (`swapped`), none (`null`), the own ones backwards (`reversed`) and half as large (`scaled`). The
verdict rests on the swapped ones; of the others a world may not do the opposite: where clearly less than half follows, it is deaf to that.

Differences are mean absolute grey levels (0..255) over all pixels and dreamed frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from armillary import sims
from armillary.errors import BadInput
from armillary.evaluate import objects
from armillary.evaluate.probe import Probe, reading
from armillary.evaluate.rollouts import Dream, Setup
from armillary.evaluate.stats import Estimate, estimate, estimate_ratio, median, share
from armillary.progress import Progress
from armillary.types import ActionSpec, Episode, Report

# (episode, actions `t a`) -> truth arrays of the episode's world acted on by those, at least `tip_px` t 2; row i is before action i.
Twin = Callable[[Episode, np.ndarray], Mapping[str, np.ndarray]]

BLIND, FOLLOWS, OPEN = "ACTION-BLIND", "FOLLOWS ACTIONS", "INCONCLUSIVE"
NOISE_FLOOR = 0.1  # grey levels: a deterministic world has no seed noise, and a difference below this is none
CHANCE_RATIO = 1.1  # a ratio whose interval reaches down to this is seed noise
CHANCE_SHARE = 0.5
FEWEST = 6  # judgements: fewer cannot beat chance at 95 %
APART_PX = 4.0  # of a 64-pixel image
ALIKE = 0.02  # of the action range: nearer action sequences than this are no test
VARIANTS = ("swapped", "null", "reversed", "scaled")
SCALE = 0.5
UNLIKE = 0.5  # of a deviation, root mean square over what a probe can tell: nearer actions than this are no test of it


def null_actions(spec: ActionSpec, actions: np.ndarray) -> np.ndarray:
    """Doing nothing: zeros for a delta spec; for an absolute one, holding the first command."""
    return np.zeros_like(actions) if spec.mode == "delta" else np.repeat(actions[:1], len(actions), axis=0)


def scaled_actions(spec: ActionSpec, actions: np.ndarray, by: float = SCALE) -> np.ndarray:
    """Half of every command of a delta spec; of an absolute one, half of the way from the first command."""
    return actions * by if spec.mode == "delta" else actions[:1] + by * (actions - actions[:1])


def sim_twin(episode: Episode, actions: np.ndarray, size: int = 64) -> dict[str, np.ndarray]:
    """The `Twin` of an episode of `sims.record_episode`, whose id names its simulator and seed (`tabletop-000012`).

    Args:
        size: of the picture that areas are counted in; places stay those of a 64-pixel one. Where places alone are asked for, few pixels
            are as good and quicker.

    Raises:
        BadInput: the id names none.
    """
    name, _, seed = episode.id.rpartition("-")
    if name not in sims.SIMS or not seed.isdecimal():
        raise BadInput(f"Episode {episode.id!r} names no simulator and seed; its id would be like 'tabletop-000012'.")
    sim = sims.make(name)
    sim.reset(int(seed))
    truth: dict[str, list[np.ndarray]] = {}
    for action in actions:
        for key, value in sim.truth(sim.cameras[0], size).items():
            truth.setdefault(key, []).append(value * (64 / size) if key.endswith("_px") and size != 64 else value)
        sim.step(np.clip(action, sim.spec.low, sim.spec.high).astype(np.float32))
    return {key: np.stack(values) for key, values in truth.items()}


def _differ(spec: ActionSpec, a: np.ndarray, b: np.ndarray) -> bool:
    span = np.maximum(np.asarray(spec.high, float) - np.asarray(spec.low, float), 1e-9)
    return float((np.abs(a - b) / span).mean()) > ALIKE


def evaluate_control(
    dream: Dream,
    episodes: Iterable[Episode],
    *,
    steps: int = 16,
    past: int = 4,
    size: int = 64,
    camera: str = "front",
    twin: Twin | None = None,
    probe: Probe | None = None,
    seed: int = 0,
    truth_size: int = objects.TRUTH_SIZE,
    watch: Callable[[Episode, np.ndarray, dict[str, np.ndarray]], None] | None = None,
    title: str = "Control: does the world follow its actions?",
) -> Report:
    """Dream each episode under its own actions (two seeds), another episode's, none, and its own reversed and halved.

    Args:
        dream: see `rollouts.Dream`.
        episodes: at least two, of one action spec.
        steps: frames to dream; a multiple of the tokenizer's `temporal`.
        twin: the simulator replayed with other actions (see `Twin`); probe: reads actions in frames. Without either the path question is
            not asked.
        watch: told (episode, truth, {variant: dreamed frames}) for showing.

    Returns:
        Report whose `metrics` hold `verdict` and `why`; `floor` (grey levels between seeds); `variants`: {swapped, null, reversed, scaled:
        {`difference`, `ratio`, `louder`: share of episodes above their own floor, `n`, `follows`: share of frames nearer to what was
        commanded, or None}}; `own_truth` (a share); `path` (of the swapped: share of frames nearer the commanded path, error to it and
        separation by step) or None; `judge`: who said so, `simulator`, `probe` or empty; `probe`: its skill by component;
        `null_drift_px`: {step: median} of the tip.

    Raises:
        BadInput: fewer than two usable episodes, or a world without actions.
    """
    setup = Setup(past, steps, size, camera, truth_size)
    kept, short = setup.long_enough(episodes)
    if len(kept) < 2:
        raise BadInput("Swapping actions takes two episodes at least; one was long enough.")
    spec = kept[0].spec
    if not spec.dim:
        raise BadInput("These episodes have no actions; there is nothing to control.")
    if different := [e.id for e in kept if e.spec.differences(spec)]:
        raise BadInput(f"The episodes differ in their action specs: {different[0]} is not like {kept[0].id}.")
    rows = []
    with Progress("control", total=len(kept)) as bar:
        for i, episode in enumerate(kept):
            other = kept[(i + 1) % len(kept)]
            rows.append(_row(dream, setup, episode, other, seed + 2 * i, twin, probe, watch))
            bar.advance()
    metrics = _summary(rows, steps, APART_PX if twin is not None else UNLIKE)
    metrics |= {"judge": "simulator" if twin else "probe" if probe else "", "probe": reading(probe, spec.names)}
    verdict, why = judge(metrics)
    metrics = {"verdict": verdict, "why": why, "episodes": len(kept), "steps": steps, "past": past, "seed": seed, **metrics}
    notes = [
        f"{len(kept)} episodes, {steps} dreamed frames, swapped with the next episode's actions. {BLIND} when the swapped ratio's "
        f"95 % interval reaches {CHANCE_RATIO} (1 is seed noise; the noise counts as at least {NOISE_FLOOR} grey levels), or when the "
        f"share that follows is not above one half at 95 %.",
    ]
    if probe is not None and twin is None:
        notes.append(
            f"A probe that tells {int(probe.trusted.sum())} of {spec.dim} components of an action on held-out truth judges what was done."
        )
    elif twin is None:
        notes.append("No simulator twin was given: whether the tip takes the commanded path was not asked.")
    if short:
        notes.append(f"{len(short)} episodes were too short and are left out.")
    return Report(title, metrics, tuple(notes))


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).mean())


def _row(
    dream: Dream,
    setup: Setup,
    episode: Episode,
    other: Episode,
    seed: int,
    twin: Twin | None,
    probe: Probe | None,
    watch: Callable[..., None] | None,
) -> dict[str, Any]:
    truth, text = setup.frames(episode), setup.text(episode)
    given, own = truth[: setup.past], setup.actions(episode)
    theirs = setup.actions(other)
    assert own is not None and theirs is not None  # the spec has a width
    variants = {
        "swapped": theirs,
        "null": null_actions(episode.spec, own),
        "reversed": own[::-1].copy(),
        "scaled": scaled_actions(episode.spec, own),
    }
    made = {
        "own": setup.dream(dream, given, own, text, seed),
        "own, other seed": setup.dream(dream, given, own, text, seed + 1),
    }
    for name, actions in variants.items():
        made[name] = setup.dream(dream, given, actions, text, seed + 1)
    if watch is not None:
        watch(episode, truth, made)
    future = truth[setup.past :]
    row: dict[str, Any] = {
        "id": episode.id,
        "floor": _apart(made["own"], made["own, other seed"]),
        "difference": {
            n: _apart(made["own"], made[n]) if _differ(episode.spec, own, a) else np.nan for n, a in variants.items()
        },
        "error_own": _apart(future, made["own, other seed"]),
        "error_swapped": _apart(future, made["swapped"]),
    }
    scene = objects.Scene.read(episode.truth, setup.size, setup.truth_size)
    told = [n for n in variants if np.isfinite(row["difference"][n])]
    if scene is not None and scene.tip is not None:
        tracker = scene.learn(truth)
        row["null_drift"] = _drift(tracker, given, made["null"], scene.scale)
        if twin is not None:
            row["path"] = {
                n: _path(tracker, made[n], scene, _commanded(episode, setup, variants[n], scene, twin), setup.past)
                for n in told
            }
    if twin is None and probe is not None and probe.trusted.any():
        row["path"] = {n: _read(probe, given, made[n], own, variants[n]) for n in told}
    return row


def _commanded(episode: Episode, setup: Setup, actions: np.ndarray, scene: objects.Scene, twin: Twin) -> np.ndarray:
    """Where the simulator's tip goes under other actions, px `past + steps 2`."""
    # One action a frame, the last only so that a twin which looks before it acts sees as many frames.
    whole = np.concatenate([episode.actions[: setup.past - 1], actions, actions[-1:]])
    path = np.asarray(twin(episode, whole)["tip_px"], np.float64)[: setup.length] * scene.scale
    assert scene.tip is not None
    if len(path) < setup.length or np.abs(path[: setup.past] - scene.tip[: setup.past]).max() > 0.5 * scene.scale:
        raise BadInput(f"The twin of episode {episode.id} does not begin as the episode did, so that it shows another world.")
    return path


def _read(probe: Probe, given: np.ndarray, dreamed: np.ndarray, own: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    """As `_path`, of what the probe reads in each step; in deviations, root mean square over the components it can tell."""
    trusted = probe.trusted
    seen = probe.read(np.concatenate([given[-1:], dreamed]))

    def off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(((a - b) / probe.std)[:, trusted]).mean(1))

    return {"to_commanded": off(seen, asked), "to_own": off(seen, own), "apart": off(own, asked)}


def _drift(tracker: objects.ColourTracker, given: np.ndarray, dreamed: np.ndarray, scale: float) -> np.ndarray:
    """How far the tip has moved from the last given frame at each step, px at 64; NaN where it is not seen."""
    found = tracker.track(np.concatenate([given[-1:], dreamed])).position[:, -1]
    return np.linalg.norm(found[1:] - found[0], axis=-1) / scale


def _path(
    tracker: objects.ColourTracker, dreamed: np.ndarray, scene: objects.Scene, commanded: np.ndarray, past: int
) -> dict[str, np.ndarray]:
    """Per step, in px at 64: distance of the dreamed tip to the commanded path, to the episode's own, and between the two paths."""
    found = tracker.track(dreamed).position[:, -1]
    assert scene.tip is not None
    own, theirs = scene.tip[past : past + len(dreamed)], commanded[past:]
    return {
        "to_commanded": np.linalg.norm(found - theirs, axis=-1) / scene.scale,
        "to_own": np.linalg.norm(found - own, axis=-1) / scene.scale,
        "apart": np.linalg.norm(own - theirs, axis=-1) / scene.scale,
    }


def _summary(rows: list[dict[str, Any]], steps: int, limit: float) -> dict[str, Any]:
    floor = np.array([r["floor"] for r in rows])
    shown = [h for h in (1, 8, 16, 28) if h <= steps]
    paths = {name: [r["path"][name] for r in rows if name in r.get("path", {})] for name in VARIANTS}
    variants = {}
    for name in VARIANTS:
        difference = np.array([r["difference"][name] for r in rows])
        tested = np.isfinite(difference)
        variants[name] = {
            "difference": estimate(difference),
            "ratio": estimate_ratio(difference, floor, NOISE_FLOOR),
            "louder": share((difference > np.maximum(floor, NOISE_FLOOR)) & tested, tested),
            "n": int(tested.sum()),
            "follows": (_path_summary(paths[name], shown, limit) or {}).get("follows"),
        }
    tested = np.array([np.isfinite(r["difference"]["swapped"]) for r in rows])
    nearer = np.array([np.sign(r["error_swapped"] - r["error_own"]) / 2 + 0.5 for r in rows])  # a tie is half
    drifts = [r["null_drift"] for r in rows if "null_drift" in r]
    return {
        "floor": estimate(floor),
        "variants": variants,
        "own_truth": share(nearer * tested, tested),
        "path": _path_summary(paths["swapped"], shown, limit),
        "null_drift_px": {str(h): median([d[h - 1] for d in drifts]) for h in shown} if drifts else None,
        "per_episode": [
            {k: r[k] for k in ("id", "floor", "error_own", "error_swapped")}
            | {"difference": {n: float(d) if np.isfinite(d) else None for n, d in r["difference"].items()}}
            for r in rows
        ],
    }


def _path_summary(paths: list[dict[str, np.ndarray]], shown: list[int], limit: float) -> dict[str, Any] | None:
    if not paths:
        return None
    # A lost tip follows nothing, so it is not judged, and it is counted.
    apart = [p["apart"] > limit for p in paths]
    judged = [a & np.isfinite(p["to_commanded"]) for a, p in zip(apart, paths)]
    follows = [(p["to_commanded"] < p["to_own"]) & j for j, p in zip(judged, paths)]
    return {
        "follows": share([f.sum() for f in follows], [j.sum() for j in judged]),
        "lost": int(sum(a.sum() - j.sum() for a, j in zip(apart, judged))),
        "error_px": {str(h): median([p["to_commanded"][h - 1] for p in paths]) for h in shown},
        "apart_px": {str(h): median([p["apart"][h - 1] for p in paths]) for h in shown},
    }


def judge(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict on what `evaluate_control` measured, and the figures it rests on in one sentence."""
    ratio: Estimate = metrics["variants"]["swapped"]["ratio"]
    if ratio["mean"] is None or ratio["low"] is None:
        return OPEN, "No two episodes had different enough actions."
    said = (
        f"swapped actions change the dream {ratio['mean']:.1f} times as much as another seed (95 %: {ratio['low']:.1f} or more)"
    )
    if ratio["low"] <= CHANCE_RATIO:
        return BLIND, f"{said}; up to {CHANCE_RATIO} is noise."
    path = metrics["path"]
    name, following = ("the commanded path", path["follows"]) if path else ("its own truth", metrics["own_truth"])
    if following["mean"] is None or following["n"] < FEWEST:
        return OPEN, f"{said}; only {following['n']} judgements on {name}, {FEWEST} at least are wanted."
    said += f"; nearer to {name} in {100 * following['mean']:.0f} % of {following['n']} (95 %: {100 * following['low']:.0f} % or more)"
    if following["low"] <= CHANCE_SHARE:
        return BLIND, said + "."
    for variant, found in metrics["variants"].items():
        heard = found.get("follows")
        if heard and heard["n"] >= FEWEST and heard["high"] < CHANCE_SHARE:
            return (
                BLIND,
                f"{said}; but deaf to {variant} actions: nearer to them in {100 * heard['mean']:.0f} % of {heard['n']}.",
            )
    return FOLLOWS, said + "."
