"""Does a dreamed view go where its camera was sent?

What the camera did in a dream is read off the dreamed frames by a probe (`probe.py`), which learned from true video with exact poses; the
same reading of the true frames stands beside it as what the probe itself misses, and a dream that was not told the path as the baseline.

* *Pose.* Rotation error: the angle between the rotation read and the rotation commanded, from the last given frame on, mean over frames.
  Translation error: the distance between the two places, over the length of the path; mean over frames.
* *Turns.* Of paths that turn by more than 10 degrees in all: the share whose dream turns the same way.
* *Swap.* Sent along another clip's path, is the motion read in each step nearer to that path's than to the clip's own, wherever the two
  differ by more than half a deviation? Chance is one half. On this the verdict rests, and on the difference being more than seed noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate import pixels
from armillary.evaluate.control import CHANCE_RATIO, CHANCE_SHARE, FEWEST, NOISE_FLOOR, OPEN, UNLIKE
from armillary.evaluate.probe import Probe, reading
from armillary.evaluate.stats import estimate, estimate_ratio, share
from armillary.progress import Progress
from armillary.types import Camera, Report

# (given frames uint8 `past h w 3`, camera of the last given and the further frames or None, text, seed) -> uint8 `steps h w 3`.
CameraDream = Callable[[np.ndarray, Camera | None, str, int], np.ndarray]

BLIND, FOLLOWS = "CAMERA-BLIND", "FOLLOWS CAMERA"
TURNS = np.deg2rad(10.0)  # a path that turns by less turns no way
NAMES = ("turn x", "turn y", "turn z", "right", "down", "ahead")


@dataclass(frozen=True)
class Posed:
    """A clip with its camera. Args: frames uint8 `t h w 3`; camera: pose `t 4 4`, intrinsics in pixels of the frames."""

    key: str
    frames: np.ndarray
    camera: Camera
    text: str = ""


def logarithm(rotations: np.ndarray) -> np.ndarray:
    """`n 3 3` -> rotation vectors `n 3`, radians; of angles below half a turn."""
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    r = rotations
    axis = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1)
    return axis * (0.5 / np.sinc(angle / np.pi))[:, None]


def exponential(vectors: np.ndarray) -> np.ndarray:
    """The inverse of `logarithm` (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    cross = np.zeros((len(vectors), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 0], cross[:, 1, 2], cross[:, 2, 0], cross[:, 2, 1] = -z, y, z, -x, -y, x
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)


def steps_of(pose: np.ndarray) -> np.ndarray:
    """Camera-to-world `t 4 4` -> what the camera does from frame to frame, in its own axes: `t-1 6`, see `NAMES`."""
    back = pose[:-1, :3, :3].transpose(0, 2, 1)
    shift = np.einsum("tij,tj->ti", back, pose[1:, :3, 3] - pose[:-1, :3, 3])
    return np.concatenate([logarithm(back @ pose[1:, :3, :3]), shift], axis=1)


def path_of(steps: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """The poses that `steps_of` would read so: `t 6` -> `t+1 4 4`, from `start` (the identity) on."""
    pose = [np.eye(4) if start is None else start]
    for turn, shift in zip(exponential(steps[:, :3]), steps[:, 3:]):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = turn, shift
        pose.append(pose[-1] @ step)
    return np.stack(pose)


def pose_error(read: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    """(degrees, share of the path's length) between two paths of steps `t 6`, mean over frames."""
    a, b = path_of(read)[1:], path_of(asked)[1:]
    between = np.einsum("tji,tjk->tik", a[:, :3, :3], b[:, :3, :3])
    angle = np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1))
    length = np.linalg.norm(asked[:, 3:], axis=1).sum()
    apart = np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1).mean()
    return float(np.rad2deg(angle.mean())), float(apart / length) if length > 1e-6 else float("nan")


def evaluate_camera(
    dream: CameraDream,
    clips: Sequence[Posed],
    probe: Probe,
    *,
    past: int = 4,
    steps: int = 16,
    baseline: CameraDream | None = None,
    seed: int = 0,
    watch: Callable[[Posed, np.ndarray, dict[str, np.ndarray]], None] | None = None,
    title: str = "Camera: does the view go where it is sent?",
) -> Report:
    """Dream each clip along its own path and along another clip's.

    Args:
        clips: held-out ones, at least two. probe: reads `steps_of`; steps: frames to dream.
        baseline: a world that is told no path (the base); its camera argument is None.
        watch: told (clip, truth, {arm: dreamed frames}).

    Returns:
        Report whose `metrics` hold `verdict`, `why`; for each arm of `dream`, `baseline` and `truth` `rotation_deg`, `translation`
        (Estimates), `turns` (a share) and, of the dreams, `psnr` against the true frames; `swap`: {`ratio`, `follows`}; `probe`: its skill.

    Raises:
        BadInput: fewer than two clips long enough, or a probe without skill in turning.
    """
    kept = [c for c in clips if len(c.frames) >= past + steps]
    if len(kept) < 2:
        raise BadInput(
            f"Two clips of {past + steps} frames at least are wanted; {len(kept)} of {len(clips)} are so long "
            f"(the longest has {max((len(c.frames) for c in clips), default=0)})."
        )
    rows = []
    with Progress("camera", total=len(kept)) as bar:
        for i, clip in enumerate(kept):
            rows.append(_row(dream, baseline, clip, kept[(i + 1) % len(kept)], probe, past, steps, seed + 2 * i, watch))
            bar.advance()
    metrics = _summary(rows)
    metrics |= {"probe": reading(probe, NAMES), "clips": len(kept), "steps": steps, "past": past, "seed": seed}
    verdict, why = judge(metrics)
    notes = [
        f"{len(kept)} held-out clips, {steps} dreamed frames each. What the camera did is read by a probe trained on true video; the row "
        "`truth` is its reading of the true frames, which no dream can be expected to beat.",
    ]
    return Report(title, {"verdict": verdict, "why": why, **metrics}, tuple(notes))


def _row(
    dream: CameraDream,
    baseline: CameraDream | None,
    clip: Posed,
    other: Posed,
    probe: Probe,
    past: int,
    steps: int,
    seed: int,
    watch: Callable[..., None] | None,
) -> dict[str, Any]:
    given, truth = clip.frames[:past], clip.frames[past : past + steps]
    own, theirs = (steps_of(np.asarray(c.camera.pose, np.float64)[past - 1 : past + steps]) for c in (clip, other))
    start = np.asarray(clip.camera.pose, np.float64)[past - 1]

    def along(path: np.ndarray) -> Camera:
        k = np.asarray(clip.camera.intrinsics)
        k = k[past - 1 : past + steps] if k.ndim == 3 else k
        return Camera(clip.camera.name, clip.camera.width, clip.camera.height, k, path_of(path, start))

    made = {
        "dream": dream(given, along(own), clip.text, seed),
        "seed": dream(given, along(own), clip.text, seed + 1),
        "swapped": dream(given, along(theirs), clip.text, seed + 1),
    }
    if baseline is not None:
        made["baseline"] = baseline(given, None, clip.text, seed)
    if watch is not None:
        watch(clip, truth, made)
    read = {name: probe.read(np.concatenate([given[-1:], frames])) for name, frames in {**made, "truth": truth}.items()}
    row: dict[str, Any] = {"arms": {}}
    turned = own[:, 1].sum()
    for name in ("dream", "baseline", "truth"):
        if name in read:
            rotation, translation = pose_error(read[name], own)
            row["arms"][name] = {
                "rotation": rotation,
                "translation": translation,
                "psnr": float(pixels.psnr(truth, made[name]).mean()) if name in made else np.nan,
                "turns": abs(turned) > TURNS,
                "right": abs(turned) > TURNS and np.sign(read[name][:, 1].sum()) == np.sign(turned),
            }
    trusted = probe.trusted

    def off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(((a - b) / probe.std)[:, trusted]).mean(1)) if trusted.any() else np.zeros(len(a))

    apart = off(own, theirs) > UNLIKE
    row["follows"] = (int(((off(read["swapped"], theirs) < off(read["swapped"], own)) & apart).sum()), int(apart.sum()))
    row["difference"] = float(np.abs(made["seed"].astype(float) - made["swapped"]).mean()) if apart.any() else np.nan
    row["floor"] = float(np.abs(made["seed"].astype(float) - made["dream"]).mean())
    return row


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for arm in rows[0]["arms"]:
        of = [r["arms"][arm] for r in rows]
        out[arm] = {
            "rotation_deg": estimate([r["rotation"] for r in of]),
            "translation": estimate([r["translation"] for r in of]),
            "turns": share([r["right"] for r in of], [r["turns"] for r in of]),
            "psnr": estimate([r["psnr"] for r in of]),
        }
    out["swap"] = {
        "ratio": estimate_ratio([r["difference"] for r in rows], [r["floor"] for r in rows], NOISE_FLOOR),
        "follows": share([r["follows"][0] for r in rows], [r["follows"][1] for r in rows]),
    }
    return out


def judge(metrics: dict[str, Any]) -> tuple[str, str]:
    """The verdict on what `evaluate_camera` measured, and why in one sentence."""
    ratio, following = metrics["swap"]["ratio"], metrics["swap"]["follows"]
    if ratio["low"] is None:
        return OPEN, "no two paths were different enough."
    said = (
        f"another path changes the dream {ratio['mean']:.1f} times as much as another seed (95 %: {ratio['low']:.1f} or more)"
    )
    if ratio["low"] <= CHANCE_RATIO:
        return BLIND, f"{said}; up to {CHANCE_RATIO} is noise."
    if following["low"] is None or following["n"] < FEWEST:
        return OPEN, f"{said}; only {following['n']} steps could be judged, {FEWEST} at least are wanted."
    said += (
        f"; its motion is nearer to that path in {100 * following['mean']:.0f} % of {following['n']} steps "
        f"(95 %: {100 * following['low']:.0f} % or more)."
    )
    return (FOLLOWS if following["low"] > CHANCE_SHARE else BLIND), said
