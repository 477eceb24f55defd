"""Footage with known transitions: single shots (`footage`), joined.

A detector is trained and measured on it. A codec's habits (dead zone, key frames that pulse) are imitated rather than run; frames are shown
twice or left out. Near-identical neighbours, whose border nobody could tell, are marked as not sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary.curate.shots.footage import CANVAS, Planes, Source, shot
from armillary.curate.shots.types import SMALL, SmallFrames
from armillary.errors import require


@dataclass(frozen=True)
class Truth:
    """A transition as it was made. `end - start + 1` frames belong to neither shot; a hard cut is `start == end`."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Join:
    """What the detector sees, what is true, and which frames count (`sure` is False where nobody could tell).

    `canvas`, when it was to be kept: uint8 luma `n 56 96` and chroma at half of it.
    """

    small: SmallFrames
    truth: tuple[Truth, ...]
    sure: np.ndarray
    fps: float
    canvas: tuple[np.ndarray, ...] = ()


def _order(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """When each pixel changes in a wipe, 0 to 1, float `h w`."""
    yy, xx = np.mgrid[0:h, 0:w] / np.array([h - 1, w - 1]).reshape(2, 1, 1)
    kind = rng.integers(0, 7)
    if kind <= 1:
        field = xx
    elif kind == 2:
        field = yy
    elif kind == 3:
        angle = rng.uniform(0, 2 * np.pi)
        field = np.cos(angle) * xx + np.sin(angle) * yy
    elif kind == 4:
        field = np.hypot((xx - 0.5) * w / h, yy - 0.5)
    elif kind == 5:
        field = np.abs(xx - 0.5) if rng.random() < 0.5 else np.abs(yy - 0.5)
    else:
        field = np.arctan2(yy - 0.5, xx - 0.5)
    field = (field - field.min()) / (np.ptp(field) + 1e-9)
    return 1 - field if rng.random() < 0.5 else field


def transit(a: Planes, b: Planes, kind: str, rng: np.random.Generator) -> Planes:
    """`L` frames from `a` to `b`, both `L` frames long: the frames that belong to neither shot.

    Args:
        kind: dissolve, fade, wipe or push.
    """
    length = len(a[0])
    share = (np.arange(length) + 1.0) / (length + 1)
    if kind == "dissolve":
        bend = rng.choice([1.0, 1.0, 1.0, 0.7, 1.4])
        w = (share**bend if rng.random() < 0.6 else share * share * (3 - 2 * share))[:, None, None]
        return [(1 - w) * p + w * q for p, q in zip(a, b)]
    if kind == "fade":
        pick = rng.random()
        colour = (
            (rng.uniform(0, 18), 128, 128)
            if pick < 0.6
            else (rng.uniform(230, 255), 128, 128)
            if pick < 0.8
            else (rng.uniform(20, 230), *(rng.normal(size=2) * 30 + 128))
        )
        hold, lean = (rng.uniform(0.05, 0.6) if rng.random() < 0.6 else 0.0), rng.uniform(0.35, 0.65)
        side = rng.random()  # now and then only one side is a ramp
        low, high = lean * (1 - hold), lean * (1 - hold) + hold
        down = np.clip(1 - share / max(low, 1e-3), 0, 1) if side > 0.1 else (share < low) * 1.0
        up = np.clip((share - high) / max(1 - high, 1e-3), 0, 1) if side < 0.9 else (share > high) * 1.0
        d, e = down[:, None, None], up[:, None, None]
        return [p * d + q * e + c * (1 - d - e) for p, q, c in zip(a, b, colour)]
    h, w = a[0].shape[1:]
    if kind == "wipe":
        order, soft = _order(rng, h, w), rng.choice([0.02, 0.02, 0.1, 0.3])
        edge = np.clip((share[:, None, None] * (1 + soft) - order) / soft, 0, 1)
        return [(1 - m) * p + m * q for p, q, m in zip(a, b, (edge, edge[:, ::2, ::2], edge[:, ::2, ::2]))]
    out = [np.empty_like(p) for p in a]  # push: one moves in, the other moves out, or stays
    along, back, stays = rng.integers(1, 3), rng.random() < 0.5, rng.random() < 0.3
    ease = share if rng.random() < 0.6 else share * share * (3 - 2 * share)
    for made, p, q in zip(out, a, b):
        size = made.shape[along]
        for t in range(length):
            k = round(float(ease[t]) * size)
            one, two = (np.moveaxis(x[t], along - 1, 0) for x in (p, q))
            if back:
                one, two = one[::-1], two[::-1]
            joined = np.concatenate([one[: size - k] if stays else one[k:], two[:k]])
            made[t] = np.moveaxis(joined[::-1] if back else joined, 0, along - 1)
    return out


def _coded(planes: Planes, rng: np.random.Generator) -> Planes:
    """What a codec at a low rate leaves: small changes are late, every key frame is a small pulse; and a sensor's noise before it."""
    noise = rng.uniform(0, 6) if rng.random() < 0.5 else 0.0
    dead, every = (rng.uniform(1, 10), int(rng.integers(8, 120))) if rng.random() < 0.5 else (0.0, 1 << 30)
    out = []
    for p in planes:
        p = p + rng.normal(size=p.shape).astype(np.float32) * noise if noise else p
        if dead:
            made, last = np.empty_like(p), None
            for t, frame in enumerate(p):
                if last is None or t % every == 0:
                    last = np.round(frame / dead) * dead
                else:
                    r = frame - last
                    last = last + np.sign(r) * np.maximum(np.abs(r) - dead / 2, 0)
                made[t] = last
            p = made
        out.append(p)
    return out


def _retimed(n: int, rng: np.random.Generator) -> np.ndarray:
    """Which frame is shown when: now and then one is shown twice or left out."""
    pick = rng.random()
    if pick < 0.75:
        return np.arange(n)
    if pick < 0.85:  # every so many frames one twice
        every = int(rng.integers(2, 6))
        return np.sort(np.r_[np.arange(n), np.arange(0, n, every)])[:n]
    share = rng.uniform(0.02, 0.3)
    steps = rng.choice([0, 1, 2], size=n, p=[share, 1 - 2 * share, share])
    at = np.cumsum(steps)
    return at[at < n]


def _halved(p: np.ndarray) -> np.ndarray:
    n, h, w = p.shape
    return np.clip(p.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4)) + 0.5, 0, 255).astype(np.uint8)


KINDS = ("cut", "dissolve", "fade", "wipe", "push")


MIX = (0.4, 0.22, 0.16, 0.16, 0.06)


def join(sources: list[Source], rng: np.random.Generator, frames: int = 400, keep: bool = False) -> Join:
    """About `frames` frames of shots joined by transitions, each with a known place.

    Args:
        keep: keep the canvas too.
    """
    fps = float(rng.choice([10, 15, 24, 25, 30, 30, 50, 60]))
    pace = fps / 30.0 if fps > 40 else 1.0
    parts: list[Planes] = []
    truth: list[Truth] = []
    unsure: list[tuple[int, int]] = []
    source = sources[rng.integers(len(sources))]
    seed = int(rng.integers(1 << 30))
    burst = False
    held, total = shot(source, np.random.default_rng(seed), int(rng.integers(20, 90) * pace)), 0
    while total + len(held[0]) < frames:
        kind = str(rng.choice(KINDS, p=MIX))
        length = (
            0 if kind == "cut" else int((rng.integers(5, 46) if kind in ("dissolve", "fade") else rng.integers(6, 40)) * pace)
        )
        burst = (burst or rng.random() < 0.06) and rng.random() < 0.75  # a run of very short shots
        short = rng.random() < 0.25
        if burst:
            kind, length = "cut", 0
        n = (
            int(rng.integers(5, 16))
            if burst
            else int((rng.integers(12, 30) if short else rng.integers(30, 110)) * pace) + length
        )
        near = rng.random() < 0.12  # the next shot may be of the same place
        pages = [s for s in sources if s.name == source.name and s is not source] if near else []
        if pages:  # another page of the same looks, seen the same way
            source = pages[rng.integers(len(pages))]
        elif not near:
            source, seed = sources[rng.integers(len(sources))], int(rng.integers(1 << 30))
        after = shot(source, np.random.default_rng(seed + 1 if near and not pages else seed), n + length)
        if len(held[0]) < length + 4:
            kind, length = "cut", 0
        alone = len(held[0]) - length
        parts.append([p[:alone] for p in held])
        total += alone
        least = 2.5 if pages else 10.0
        alike = np.abs(held[0][-1] - after[0][0]).mean() < least and np.abs(held[1][-1] - after[1][0]).mean() < least / 2
        if near and alike:
            unsure.append((total - 3, total + length + 3))
        else:
            truth.append(Truth({"push": "wipe"}.get(kind, kind), total, total + max(0, length - 1)))
        if length:
            parts.append(transit([p[alone:] for p in held], [p[:length] for p in after], kind, rng))
            total += length
            after = [p[length:] for p in after]
        held = after
    parts.append(held)
    planes = [np.concatenate([part[k] for part in parts]).astype(np.float32) for k in range(3)]
    if rng.random() < 0.25:  # soft
        cv2, width = require("cv2", "curation"), float(rng.uniform(0.5, 2.5))
        planes = [np.stack([cv2.GaussianBlur(f, (0, 0), width / (1 + (k > 0))) for f in p]) for k, p in enumerate(planes)]
    if rng.random() < 0.15:  # bars throughout
        b = 2 * int(rng.integers(2, 7))
        planes[0][:, :b], planes[0][:, -b:] = 16, 16
        for c in planes[1:]:
            c[:, : b // 2], c[:, -(b // 2) :] = 128, 128
    sure = np.ones(len(planes[0]), bool)
    for a, b in unsure:
        sure[max(0, a) : b] = False
    shown = _retimed(len(sure), rng)
    planes = _coded([p[shown] for p in planes], rng)
    small = SmallFrames(*(_halved(p) for p in planes))
    moved = []
    for t in truth:
        start = int(np.searchsorted(shown, t.start))
        end = start if t.kind == "cut" else int(np.searchsorted(shown, t.end, side="right")) - 1
        if end < len(shown):
            moved.append(Truth(t.kind, start, max(start, end)))
    assert small.y.shape[1:] == SMALL
    canvas = tuple(np.clip(p + 0.5, 0, 255).astype(np.uint8) for p in planes) if keep else ()
    return Join(small, tuple(moved), sure[shown], fps, canvas)


def written(film: Join, path: str | Path, scale: int = 2) -> Path:
    """The canvas of a join as H.264, `scale` times as large."""
    from armillary.media import write_video

    cv2 = require("cv2", "curation")
    size = (CANVAS[1] * scale, CANVAS[0] * scale)
    frames = []
    for planes in zip(*film.canvas):
        y, u, v = (cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for p in planes)
        frames.append(cv2.cvtColor(np.stack([y, v, u], -1), cv2.COLOR_YCrCb2RGB))
    return write_video(path, np.stack(frames), film.fps)
