"""A dreamed rollout against what really happened: pixels at several horizons, and whether the objects are still there.

Copying the last given frame is a strong guess for a still scene, and a PSNR alone hides an object that vanished. Both therefore stand
beside the dream: copy as the floor, the tokenizer's reconstruction of the truth as the ceiling, and a table of the objects kept, lost and
misplaced (the paper's physics alignment, section 5.3.2, asks the same of tracked objects by their overlap).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary import media
from armillary.errors import BadInput, Failed
from armillary.evaluate import objects, pixels, versus
from armillary.evaluate.stats import estimate, median, share
from armillary.progress import Progress
from armillary.types import Episode, Report

# (first frames uint8 `past h w 3`, actions `t a` or None, text, seed) -> the `t` further frames, uint8 `t h w 3`.
Dream = Callable[[np.ndarray, np.ndarray | None, str, int], np.ndarray]
Reconstruct = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Setup:
    """How episodes are cut and shown to a dream.

    Args:
        past: frames given; `steps`: frames asked for; `size`: of the square frames in pixels; `camera`: which view.
        truth_size: the image width in pixels that the truth arrays were computed for.
    """

    past: int
    steps: int
    size: int
    camera: str
    truth_size: int = objects.TRUTH_SIZE

    @property
    def length(self) -> int:
        return self.past + self.steps

    def frames(self, episode: Episode) -> np.ndarray:
        """The episode's view at `size`, uint8 `past + steps h w 3`."""
        if self.camera not in episode.frames:
            raise BadInput(f"Episode {episode.id} has no camera {self.camera!r}; it has {', '.join(episode.frames)}.")
        return media.fit(episode.frames[self.camera][: self.length], (self.size, self.size))

    def actions(self, episode: Episode) -> np.ndarray | None:
        """The actions that lead to the dreamed frames; action `i` leads from frame `i` to `i + 1`, so the last given frame's is first."""
        if not episode.spec.dim:
            return None
        return episode.actions[self.past - 1 : self.past - 1 + self.steps]

    def text(self, episode: Episode) -> str:
        return episode.caption or episode.instruction

    def long_enough(self, episodes: Iterable[Episode]) -> tuple[list[Episode], list[str]]:
        """Episodes with enough frames and actions, and the ids of those without.

        Raises:
            BadInput: none is long enough.
        """
        kept, short, longest = [], [], 0
        for episode in episodes:
            length = min(len(episode.frames.get(self.camera, ())) or self.length, len(episode.actions) + 1)
            longest = max(longest, length)
            (kept if length >= self.length else short).append(episode)
        if not kept:
            raise BadInput(
                f"No episode has {self.length} frames ({self.past} given and {self.steps} to dream); "
                f"{f'the longest has {longest}' if short else 'none was given'}."
            )
        return kept, [e.id for e in short]

    def dream(self, dream: Dream, given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
        """Ask for `steps` frames and check what comes."""
        made = np.asarray(dream(given, actions, text, seed))
        wanted = (self.steps, self.size, self.size, 3)
        if made.dtype != np.uint8 or made.shape != wanted:
            raise Failed(f"The dream was asked for uint8 {wanted} and gave {made.dtype} {made.shape}.")
        return made


def evaluate_world(
    dream: Dream,
    episodes: Iterable[Episode],
    horizons: Sequence[int] = (1, 8, 16, 28),
    *,
    past: int = 4,
    size: int = 64,
    camera: str = "front",
    reconstruct: Reconstruct | None = None,
    seed: int = 0,
    multiple: int = 1,
    truth_size: int = objects.TRUTH_SIZE,
    watch: Callable[[Episode, np.ndarray, np.ndarray], None] | None = None,
    title: str = "Rollouts against the truth",
) -> Report:
    """Dream each episode open loop from its first `past` frames and its true actions, and compare.

    Args:
        dream: see `Dream`; its action `i` leads to its frame `i`.
        episodes: held out ones; those too short are left out and named in the notes.
        horizons: steps after the last given frame at which values are read (1 is the first dreamed frame).
        reconstruct: uint8 `t h w 3` -> the same through the world's tokenizer, the best the world could do.
        seed: episode `i` is dreamed with `seed + i`.
        multiple: dreamed frames come in lots of this many (a tokenizer's `temporal`).
        truth_size: the image width that `truth['object_px']` was computed for.
        watch: told (episode, truth, dream) with the given frames in both, for showing.

    Returns:
        Report whose `metrics` hold, for each arm `dream`, `copy`, `reconstruction`:
        `psnr`, `ssim`, `psnr_changed`, `sharpness`: {arm: {horizon: Estimate}}; `over_copy`: {horizon: Estimate} of the PSNR gained;
        `versus`: what `versus.against_copy` says of every horizon up to 16;
        `curves`: {measure: {arm: [mean of each step]}}; `objects`: {arm: {class: {horizon: ...}}} with `n`, `lost` (a share),
        `error_px` (median of those found), `in_place` (a share); `tip`: {arm: {horizon: ...}}; `tracker`: the tracker against the
        exact truth; `frames_per_second`; `per_episode`. Horizons are strings, so that JSON keeps them. Pixels are of a 64-pixel image.

    Raises:
        BadInput: no episode long enough, horizons below 1.
        Failed: the dream gave something else than what it was asked for.
    """
    horizons = sorted(set(horizons))
    if not horizons or horizons[0] < 1 or past < 1:
        raise BadInput(f"Horizons and the number of given frames start at 1; got {horizons} and {past}.")
    setup = Setup(past, -(-horizons[-1] // multiple) * multiple, size, camera, truth_size)
    near = range(1, min(versus.UP_TO, setup.steps) + 1)
    kept, short = setup.long_enough(episodes)
    runs, seconds = [], []
    with Progress("dream", total=len(kept)) as bar:
        for i, episode in enumerate(kept):
            truth = setup.frames(episode)
            began = time.perf_counter()
            made = setup.dream(dream, truth[:past], setup.actions(episode), setup.text(episode), seed + i)
            seconds.append(time.perf_counter() - began)
            arms = {"dream": made, "copy": np.repeat(truth[past - 1 : past], setup.steps, axis=0)}
            if reconstruct is not None:
                arms["reconstruction"] = np.asarray(reconstruct(truth))[past:]
            runs.append(_run(episode, setup, truth, arms, sorted({*horizons, *near})))
            if watch is not None:
                watch(episode, truth, np.concatenate([truth[:past], made]))
            bar.advance(psnr=f"{runs[-1]['steps']['psnr']['dream'][horizons[-1] - 1]:.1f} dB at +{horizons[-1]}")
    metrics = _pixel_metrics(runs, horizons)
    metrics.update(_object_metrics(runs, horizons))
    metrics["versus"] = versus.against_copy(runs, near)
    warm = seconds[1:] or seconds  # the first call also warms caches
    metrics["frames_per_second"] = setup.steps * len(warm) / max(sum(warm), 1e-9)
    metrics.update({"episodes": len(kept), "past": past, "horizons": horizons, "size": size, "seed": seed})
    metrics["per_episode"] = [_row(r, horizons) for r in runs]
    return Report(title, metrics, tuple(_notes(metrics, short)))


def _run(episode: Episode, setup: Setup, truth: np.ndarray, arms: dict[str, np.ndarray], horizons: list[int]) -> dict[str, Any]:
    future, last = truth[setup.past :], truth[setup.past - 1]
    steps: dict[str, dict[str, np.ndarray]] = {"psnr": {}, "ssim": {}, "psnr_changed": {}, "sharpness": {}}
    for arm, frames in arms.items():
        steps["psnr"][arm] = pixels.psnr(future, frames)
        steps["ssim"][arm] = pixels.ssim(future, frames)
        steps["psnr_changed"][arm] = pixels.psnr_changed(future, frames, last)
        steps["sharpness"][arm] = pixels.sharpness(future, frames)
    run: dict[str, Any] = {"id": episode.id, "steps": steps, "objects": {}, "tip": {}, "tracker": None}
    scene = objects.Scene.read(episode.truth, setup.size, setup.truth_size)
    if scene is None:
        return run
    tracker = scene.learn(truth)
    seen = tracker.track(truth)
    run["tracker"] = _tracker_error(scene, seen, setup.length)
    start = setup.past - 1
    for arm, frames in arms.items():
        found = tracker.track(np.concatenate([truth[: setup.past], frames]))
        run["objects"][arm] = {h: objects.compare(scene, seen, found, start, start + h) for h in horizons}
        run["tip"][arm] = {h: objects.tip_error(scene, seen, found, start + h) for h in horizons}
    return run


def _tracker_error(scene: objects.Scene, seen: objects.Tracks, length: int) -> tuple[list[float], int, int]:
    """Distances (px at 64) of the tracker from the exact truth, how many visible objects it missed, and of how many."""
    visible = scene.visible()[:length]
    # Half covered, an object's visible middle is not its projected centre: only well visible ones tell about the tracker.
    whole = visible & ~(scene.area[:length] < 0.9 * scene.full[:length])
    k = scene.num
    error = np.linalg.norm(seen.position[:length, :k] - scene.position[:length], axis=-1) / scene.scale
    missed = seen.area[:length, :k] < np.maximum(objects.LOST * np.nan_to_num(scene.area[:length]), 1)
    return error[whole & ~missed].tolist(), int((visible & missed).sum()), int(visible.sum())


def _pixel_metrics(runs: list[dict[str, Any]], horizons: list[int]) -> dict[str, Any]:
    arms = list(runs[0]["steps"]["psnr"])
    out: dict[str, Any] = {"curves": {}}
    for name in runs[0]["steps"]:
        table = {arm: np.stack([r["steps"][name][arm] for r in runs]) for arm in arms}
        out[name] = {arm: {str(h): estimate(t[:, h - 1]) for h in horizons} for arm, t in table.items()}
        out["curves"][name] = {arm: [estimate(column)["mean"] for column in t.T] for arm, t in table.items()}
        if name == "psnr":
            gain = table["dream"] - table["copy"]
            out["over_copy"] = {str(h): estimate(gain[:, h - 1]) for h in horizons}
    return out


def _object_metrics(runs: list[dict[str, Any]], horizons: list[int]) -> dict[str, Any]:
    runs = [r for r in runs if r["objects"]]
    if not runs:
        return {}
    arms = list(runs[0]["objects"])
    kept: dict[str, Any] = {arm: {} for arm in arms}
    tips: dict[str, Any] = {arm: {} for arm in arms}
    for arm in arms:
        for kind in (*objects.CLASSES, "all"):
            kept[arm][kind] = {str(h): _kept([_of(r["objects"][arm][h], kind) for r in runs]) for h in horizons}
        for h in horizons:
            found = [r["tip"][arm][h] for r in runs]
            judged = [f for f in found if f is not None]
            tips[arm][str(h)] = {
                "n": len(judged),
                "lost": share([f is not None and f[0] for f in found], [f is not None for f in found]),
                "error_px": median([e for _, e in judged]),
            }
    tracker = {
        "median_error_px": median([e for r in runs for e in r["tracker"][0]]),
        "missed": sum(r["tracker"][1] for r in runs),
        "visible": sum(r["tracker"][2] for r in runs),
    }
    return {"objects": kept, "tip": tips, "tracker": tracker}


def _of(sightings: list[objects.Sighting], kind: str) -> list[objects.Sighting]:
    return [s for s in sightings if kind in ("all", s.kind)]


def _kept(groups: list[list[objects.Sighting]]) -> dict[str, Any]:
    counts = [len(g) for g in groups]
    return {
        "n": sum(counts),
        "lost": share([sum(s.lost for s in g) for g in groups], counts),
        "error_px": median([s.error for g in groups for s in g]),
        "in_place": share([sum(s.in_place for s in g) for g in groups], counts),
        "moved_px": median([s.moved for g in groups for s in g]),
    }


def _row(run: dict[str, Any], horizons: list[int]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": run["id"]}
    for name, arms in run["steps"].items():
        row[name] = {arm: {str(h): _finite(v[h - 1]) for h in horizons} for arm, v in arms.items()}
    if run["objects"]:
        last = run["objects"]["dream"]
        row["lost"] = {str(h): [sum(s.lost for s in last[h]), len(last[h])] for h in horizons}
    return row


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _notes(metrics: dict[str, Any], short: list[str]) -> list[str]:
    notes = [
        f"{metrics['episodes']} episodes, open loop from {metrics['past']} given frames at {metrics['size']} px, one seed an episode. "
        "Intervals: 95 % bootstrap over episodes.",
        "Copy repeats the last given frame; reconstruction passes the truth through the tokenizer. Changed pixels: those that differ "
        "by more than 16 grey levels from the last given frame.",
    ]
    if short:
        named = ", ".join(short[:5]) + (" ..." if len(short) > 5 else "")
        notes.append(f"{len(short)} episodes were too short and are left out: {named}.")
    if "objects" in metrics:
        t = metrics["tracker"]
        notes.append(
            "An object is lost when less than 30 % of its area in the truth is found at that frame. Pushed objects moved more than 2 px "
            "of a 64-pixel image; occluded ones did not, and were more than half covered in between. An object is in place within 2 px "
            f"or a third of its way. On the truth itself the tracker is {t['median_error_px'] or 0:.2f} px from the exact centre (median) "
            f"and misses {t['missed']} of {t['visible']} visible objects."
        )
    else:
        notes.append("The episodes hold no truth about objects, so that none were tracked: read the PSNR with care.")
    return notes
