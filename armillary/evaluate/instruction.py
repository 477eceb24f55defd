"""Does a world do what its sentence says?

* *Moves.* With a simulator's truth: the thing that the sentence names first is found in the dream by its colour (`objects.py`). It has
  moved when it is more than 2 px (of 64) from where it was in the last given frame and nothing else moved further; a thing that dissolved
  has not moved. Beside it the same thing in a dream under another sentence, one that names another thing: that decides, for a world that
  does the same whatever it is told moves it as often. And the same world without its text: what it does unasked, which for an able hand
  is to move something, and every third time the thing that was meant.
* *Own truth.* Is the dream under an episode's own sentence nearer to what really happened than the dream under another's? Chance is one
  half. This needs no simulator, and on real data decides alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from armillary import sims
from armillary.errors import BadInput
from armillary.evaluate import objects, pixels
from armillary.evaluate.control import CHANCE_SHARE, FEWEST, OPEN
from armillary.evaluate.rollouts import Dream, Setup
from armillary.evaluate.stats import Estimate, estimate, share
from armillary.progress import Progress
from armillary.types import Episode, Report

BLIND, FOLLOWS = "TEXT-BLIND", "FOLLOWS TEXT"
# Colours of an episode's objects in the order of its truth, None where they are not known.
Names = Callable[[Episode], Sequence[str] | None]


def sim_names(episode: Episode) -> Sequence[str] | None:
    """The `Names` of an episode whose id names its simulator and seed (`tabletop-000012`)."""
    name, _, seed = episode.id.rpartition("-")
    if name not in sims.SIMS or not seed.isdecimal() or "object_px" not in episode.truth:
        return None
    sim = sims.make(name)
    sim.reset(int(seed))
    return [o.colour for o in sim.objects]


def named(sentence: str, colours: Sequence[str]) -> int:
    """Which of the coloured things a sentence names first; -1 for none."""
    found = [(m.start(), k) for k, c in enumerate(colours) if (m := re.search(rf"\b{re.escape(c)}\b", sentence.lower()))]
    return min(found)[1] if found else -1


def moves(tracker: objects.ColourTracker, given: np.ndarray, made: np.ndarray, scale: float) -> np.ndarray:
    """How far each object is, at the end of a dream, from where the last given frame has it: px of a 64-pixel image, 0 where lost.

    The end is the median over the last quarter of the frames in which it is found.
    """
    tail = max(1, len(made) // 4)
    found = tracker.track(np.concatenate([given[-1:], made[-tail:]]))
    k = len(tracker.colours) - ("tip" in tracker.names)
    start, size = found.position[0, :k], found.area[0, :k]
    out = np.zeros(k)
    for j in range(k):
        kept = np.isfinite(found.position[1:, j, 0]) & (found.area[1:, j] >= objects.LOST * max(size[j], 1.0))
        if kept.any() and np.isfinite(start[j]).all():
            out[j] = float(np.linalg.norm(np.median(found.position[1:, j][kept], axis=0) - start[j])) / scale
    return out


def evaluate_instruction(
    dream: Dream,
    episodes: Iterable[Episode],
    *,
    steps: int = 28,
    past: int = 4,
    size: int = 64,
    camera: str = "front",
    names: Names = sim_names,
    baseline: Dream | None = None,
    seed: int = 0,
    truth_size: int = objects.TRUTH_SIZE,
    watch: Callable[[Episode, np.ndarray, dict[str, np.ndarray]], None] | None = None,
    title: str = "Instruction: does the world do what it is told?",
) -> Report:
    """Dream each episode under its own sentence, another episode's, and none.

    Args:
        dream: see `rollouts.Dream`; actions are None.
        episodes: held-out ones, at least two, each with an instruction.
        baseline: a world to be asked without text in place of the same one (a base that reads none).

    Returns:
        Report whose `metrics` hold `verdict`, `why`; for each arm of `told`, `swapped`, `silent`, `truth` `moves` (a share, None without
        truth) and `psnr`; over the same episodes `heard`: told less swapped (those where that names another thing), and `gain`: told less
        silent; `own_truth` (a share); `unnamed`: episodes whose sentence names none.

    Raises:
        BadInput: fewer than two episodes that are long enough, or one without a sentence.
    """
    setup = Setup(past, steps, size, camera, truth_size)
    kept, short = setup.long_enough(episodes)
    if len(kept) < 2:
        raise BadInput("Swapping sentences takes two episodes at least; one was long enough.")
    if mute := [e.id for e in kept if not said(e)]:
        raise BadInput(f"{len(mute)} episodes have no instruction or caption (first: {mute[0]}); every one wants a sentence.")
    rows = []
    with Progress("instruction", total=len(kept)) as bar:
        for i, episode in enumerate(kept):
            rows.append(_row(dream, baseline, setup, episode, kept[(i + 1) % len(kept)], names, seed + 2 * i, watch))
            bar.advance()
    metrics = _summary(rows)
    verdict, why = judge(metrics)
    notes = [f"{len(kept)} held-out episodes, {steps} dreamed frames from {past} given ones, actions never given."]
    if any(r["moves"] is None for r in rows):
        notes.append(
            "Of episodes without a simulator's truth, or whose sentence names no thing of theirs, moves are not judged."
        )
    if short:
        notes.append(f"{len(short)} episodes were too short and are left out.")
    base = {"verdict": verdict, "why": why, "episodes": len(kept), "steps": steps, "past": past, "seed": seed}
    return Report(title, {**base, **metrics}, tuple(notes))


def said(episode: Episode) -> str:
    return episode.instruction or episode.caption


def _row(
    dream: Dream,
    baseline: Dream | None,
    setup: Setup,
    episode: Episode,
    other: Episode,
    names: Names,
    seed: int,
    watch: Callable[..., None] | None,
) -> dict[str, Any]:
    truth = setup.frames(episode)
    given, future = truth[: setup.past], truth[setup.past :]
    made = {
        "told": setup.dream(dream, given, None, said(episode), seed),
        "swapped": setup.dream(dream, given, None, said(other), seed),
        "silent": setup.dream(baseline or dream, given, None, "", seed),
    }
    if watch is not None:
        watch(episode, truth, made)
    error = {name: float(np.abs(future.astype(float) - frames).mean()) for name, frames in made.items()}
    row: dict[str, Any] = {
        "psnr": {name: float(pixels.psnr(future, frames).mean()) for name, frames in made.items()},
        "nearer": float(np.sign(error["swapped"] - error["told"]) / 2 + 0.5),
        "different": said(other) != said(episode),
        "elsewhere": False,
        "moves": None,
    }
    colours = names(episode)
    scene = objects.Scene.read(episode.truth, setup.size, setup.truth_size)
    which = named(said(episode), colours or ())
    if scene is None or which < 0:
        return row
    tracker = scene.learn(truth)
    row["moves"], row["elsewhere"] = {}, named(said(other), colours or ()) != which
    for name, frames in {**made, "truth": future}.items():
        far = moves(tracker, given, frames, scene.scale)
        row["moves"][name] = bool(far[which] > objects.MOVED_PX and far[which] >= far.max())
    return row


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [r["moves"] for r in rows if r["moves"] is not None]
    done = [m for m in judged if m["truth"]]  # where the recorded hand itself had not got so far, nothing can be asked
    elsewhere = [r["moves"] for r in rows if r["elsewhere"] and r["moves"]["truth"]]
    out: dict[str, Any] = {"unnamed": len(rows) - len(judged), "not_done_in_truth": len(judged) - len(done)}
    for arm, of in {"told": done, "swapped": elsewhere, "silent": done, "truth": judged}.items():
        out[arm] = {
            "moves": share([m[arm] for m in of], [1] * len(of)) if of else None,
            "psnr": estimate([r["psnr"][arm] for r in rows]) if arm != "truth" else None,
        }
    out["gain"] = estimate([float(m["told"]) - float(m["silent"]) for m in done]) if done else None
    out["heard"] = estimate([float(m["told"]) - float(m["swapped"]) for m in elsewhere]) if elsewhere else None
    tested = [r["different"] for r in rows]
    out["own_truth"] = share([r["nearer"] * r["different"] for r in rows], tested)
    return out


def judge(metrics: dict[str, Any]) -> tuple[str, str]:
    """The verdict on what `evaluate_instruction` measured, and why in one sentence."""
    told, swapped, silent = (metrics[arm]["moves"] for arm in ("told", "swapped", "silent"))
    heard = metrics["heard"]
    if swapped is not None and swapped["n"] >= FEWEST:
        words = (
            f"the named thing moves in {100 * told['mean']:.0f} % of {told['n']} dreams, in {100 * swapped['mean']:.0f} % of "
            f"{swapped['n']} where another thing is named (95 % of the difference: {100 * heard['low']:+.0f} to "
            f"{100 * heard['high']:+.0f} points), in {100 * silent['mean']:.0f} % without the text."
        )
        return (FOLLOWS if heard["low"] > 0 else BLIND), words
    own: Estimate = metrics["own_truth"]
    if own["mean"] is None or own["low"] is None or own["n"] < FEWEST:
        return OPEN, f"only {own['n']} judgements, {FEWEST} at least are wanted."
    part = f"in {100 * own['mean']:.0f} % of {own['n']} (95 %: {100 * own['low']:.0f} % or more)."
    words = f"nearer to its own truth than under another sentence {part}"
    return (FOLLOWS if own["low"] > CHANCE_SHARE else BLIND), words
