"""Drawn worlds for tests: coloured squares and a magenta tip on a textured table, with the truth a simulator would give."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from armillary.types import ActionSpec, Episode

SPEC = ActionSpec(("vx", "vy"), ("px", "px"), "world", 10.0, "delta", (-3.0, -3.0), (3.0, 3.0))
COLOURS = ((200, 40, 40), (40, 60, 200), (220, 190, 40))
MAGENTA = (200, 30, 170)


@functools.cache
def table(size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    grey = 150 + 8 * ((x // 8 + y // 8) % 2) + 0.2 * y
    return np.stack([grey, grey, grey * 0.97], -1)


def paint(frame: np.ndarray, centre, half: float, colour, opacity: float = 1.0) -> None:
    """A square with a shaded lower half; `centre` in continuous pixels."""
    ys, xs = (np.arange(n) + 0.5 for n in frame.shape[:2])
    rows, columns = np.flatnonzero(np.abs(ys - centre[1]) <= half), np.flatnonzero(np.abs(xs - centre[0]) <= half)
    if len(rows) and len(columns):
        part = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shade = np.where(ys[rows] > centre[1], 0.75, 1.0)[:, None, None]
        part[:] = (1 - opacity) * part + opacity * np.array(colour) * shade


def picture(places, tip, opacity=(1.0, 1.0, 1.0), size: int = 64, noise=None) -> np.ndarray:
    frame = table(size).copy()
    for centre, colour, o in zip(places, COLOURS, opacity):
        paint(frame, np.asarray(centre) * size / 64, 4.5 * size / 64, colour, o)
    if tip is not None:
        paint(frame, np.asarray(tip) * size / 64, 1.6 * size / 64, MAGENTA)
    if noise is not None:
        frame = frame + noise.normal(0, 2.0, frame.shape)
    return np.clip(frame, 0, 255).round().astype(np.uint8)


def walk(start, actions: np.ndarray) -> np.ndarray:
    """Where the tip is before each action: the last action leads out of sight."""
    path = np.concatenate([[start], start + np.cumsum(actions[:-1], axis=0)])
    return np.clip(path, 3, 61)


def places_for(tip: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Object 0 rides along with the tip once it is touched (within 8 px); the others stay. `t k 2`."""
    out = np.repeat(start[None], len(tip), axis=0).astype(float)
    held = None
    for i in range(len(tip)):
        if held is None and np.abs(tip[i] - start[0]).max() < 8:
            held = start[0] - tip[i]
        if held is not None:
            out[i, 0] = np.clip(tip[i] + held, 5, 59)
    return out


def truth_of(actions: np.ndarray, tip_start, objects_start) -> dict[str, np.ndarray]:
    tip = walk(np.asarray(tip_start, float), actions)
    places = places_for(tip, np.asarray(objects_start, float))
    t, k = places.shape[:2]
    return {"object_px": places, "object_area": np.full((t, k), 81), "object_hidden": np.zeros((t, k), bool), "tip_px": tip}


STARTS = ((46.0, 32.0), (14.0, 50.0), (50.0, 54.0))


def episode(seed: int, frames: int = 33, size: int = 64) -> Episode:
    rng = np.random.default_rng(seed)
    # Every other one heads for the red square at its right.
    heading = np.array([1.3, rng.uniform(-0.3, 0.3)]) if seed % 2 == 0 else rng.uniform(-1.5, 1.5, size=2)
    actions = np.clip(heading + 0.6 * rng.normal(size=(frames, 2)), -3, 3).astype(np.float32)
    truth = truth_of(actions, (32.0, 32.0), STARTS)
    pictures = np.stack([picture(p, c, size=size) for p, c in zip(truth["object_px"], truth["tip_px"])])
    blank = np.zeros((frames, 0), np.float32)
    made = Episode(f"drawn-{seed:06d}", 10.0, {"front": pictures}, actions, blank, SPEC, caption="squares", truth=truth)
    return replace(made, instruction="push the red square")


def perfect(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int, noise: float = 0.0) -> np.ndarray:
    """A dream that knows the drawn world's rules and reads its start from the given frames' magenta pixels."""
    assert actions is not None
    magenta = (np.abs(given[-1].astype(int) - MAGENTA).sum(-1) < 60) | (
        np.abs(given[-1].astype(int) - 0.75 * np.array(MAGENTA)).sum(-1) < 60
    )
    y, x = np.nonzero(magenta)
    tip = np.array([x.mean() + 0.5, y.mean() + 0.5])
    path = np.clip(tip + np.cumsum(actions, axis=0), 3, 61)
    whole = np.concatenate([[tip], path])
    red = (given[-1][..., 0].astype(int) - given[-1][..., 2] > 80) & (given[-1][..., 1] < 60)
    ry, rx = np.nonzero(red)
    start = np.array(STARTS)
    start[0] = (rx.min() + rx.max()) / 2 + 0.5, (ry.min() + ry.max()) / 2 + 0.5
    places = places_for(whole, start)[1:]
    rng = np.random.default_rng(seed)
    return np.stack([picture(p, c, noise=rng if noise else None) for p, c in zip(places, path)])


def noisy(given: np.ndarray, actions: np.ndarray | None, text: str, seed: int) -> np.ndarray:
    return perfect(given, actions, text, seed, noise=1.0)
