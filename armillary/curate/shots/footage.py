"""Single shots to make joins of: read from files or drawn, moved and spoilt the way real footage is.

What is made here is small from the start (`CANVAS`): whole pictures are moved and blended, which says the same at any size. Inside a shot
happens what only looks like a transition: flashes, flicker, exposure ramps, whip pans, shakes, zooms, something passing close by, bars and
titles that come and go.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import require

CANVAS = (56, 96)  # luma height and width things are composed at; chroma is half of it, the detector sees half of it
STORED = (112, 192)  # of a source: room for crops

MOVES = ("still", "drift", "pan", "zoom", "shake", "whip", "punch", "wild")
SHARES = (0.36, 0.15, 0.1, 0.08, 0.1, 0.1, 0.05, 0.06)

Planes = list[np.ndarray]  # luma `n h w`, chroma twice at half the size, float32


@dataclass(frozen=True)
class Source:
    """One shot: uint8 luma `n 112 192` and chroma at half of it."""

    name: str
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray


def read_source(path: str | Path, frames: int = 450) -> Source:
    """The first `frames` frames of a file that is one shot."""
    from armillary.media import Reader

    h, w = STORED
    planes: tuple[list[np.ndarray], ...] = ([], [], [])
    with Reader(path) as reader:
        for _, frame in reader.frames():
            out = frame.reformat(width=w, height=h, format="yuv420p", interpolation="AREA")
            for kept, p in zip(planes, out.planes[:3]):
                kept.append(_plane(p))
            if len(planes[0]) >= frames:
                break
    return Source(Path(path).stem, *(np.stack(p) for p in planes))


def _plane(p: Any) -> np.ndarray:
    return np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width].copy()


def texture(seed: int, frames: int = 120) -> Source:
    """A made-up shot: blobs and edges of several sizes, drifting. For tests, and for looks that no camera gives."""
    cv2, rng = require("cv2", "curation"), np.random.default_rng(seed)
    h, w = STORED
    planes = []
    for k, (hh, ww, spread) in enumerate(((h, w, 55.0), (h // 2, w // 2, 18.0), (h // 2, w // 2, 18.0))):
        big = np.zeros((hh, 2 * ww), np.float32)
        for cells in (3, 7, 20):
            coarse = rng.normal(size=(cells, 2 * cells)).astype(np.float32)
            how = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_CUBIC
            big += cv2.resize(coarse, (2 * ww, hh), interpolation=how) * spread / (1 + k) ** 0.3
        big += rng.uniform(70, 180) if k == 0 else rng.uniform(108, 148)
        speed = float(rng.uniform(0, 0.8)) * ww / frames
        starts = (np.arange(frames) * speed).astype(int)
        planes.append(np.clip(np.stack([big[:, s : s + ww] for s in starts]), 0, 255).astype(np.uint8))
    return Source(f"texture-{seed}", *planes)


def slide(seed: int) -> Source:
    """A page of text-like lines on a plain ground. Pages of neighbouring seeds share their looks."""
    look, rng = np.random.default_rng(seed // 4), np.random.default_rng(seed)
    h, w = STORED
    ground = float(look.choice([20.0, 40.0, 225.0, 240.0])) + rng.uniform(-4, 4)
    ink, tint = 255 - ground + rng.uniform(-20, 20), look.normal(size=2) * 6 + rng.normal(size=2) * 2 + 128
    y = np.full((h, w), ground, np.float32)
    indent, pitch = int(look.integers(8, 30)), int(look.integers(9, 16))
    if look.random() < 0.6:
        y[6 : 6 + pitch, indent : indent + int(rng.integers(40, 150))] = ink
    for top in range(12 + pitch, h - 8, pitch):
        if rng.random() < 0.8:
            length = int(rng.integers(30, w - indent))
            y[top : top + pitch // 2, indent : indent + length] = (
                ground + (ink - ground) * rng.uniform(0, 1, length)[: w - indent]
            )
    if rng.random() < 0.4:
        top, left = rng.integers(10, h // 2), rng.integers(10, w // 2)
        y[top : top + rng.integers(15, 50), left : left + rng.integers(20, 90)] = rng.uniform(0, 255)
    u, v = (np.full((1, h // 2, w // 2), t, np.float32) for t in tint)
    return Source(f"slide-{seed // 4}", *(np.clip(p, 0, 255).astype(np.uint8) for p in (y[None], u, v)))


def _walk(rng: np.random.Generator, n: int, step: float) -> np.ndarray:
    """A smooth random path from 0, float `n`."""
    path = np.cumsum(np.convolve(rng.normal(size=n + 8), np.ones(9) / 9, "valid")) * step
    return path - path[0]


def _pulse(n: int, middle: float, length: float) -> np.ndarray:
    """0 to 1 around `middle` within `length` frames, then stays."""
    t = np.clip((np.arange(n) - middle) / max(1.0, length) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def shot(source: Source, rng: np.random.Generator, n: int, calm: bool = False) -> Planes:
    """`n` frames of a source: cropped, flipped, coloured, moved. `calm` leaves camera moves and events out."""
    cv2 = require("cv2", "curation")
    length = len(source.y)
    step = float(rng.choice([0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0], p=[0.06, 0.09, 0.2, 0.15, 0.2, 0.1, 0.12, 0.08]))
    at = np.abs((rng.integers(0, length) + np.floor(np.arange(n) * step).astype(int)) % max(1, 2 * length - 2))
    index = np.where(at >= length, 2 * length - 2 - at, at) if length > 1 else np.zeros(n, int)
    zoom = np.full(n, rng.uniform(0.5, 1.0))  # share of the source's width that is seen
    x, y = np.full(n, rng.uniform(-0.2, 0.2)), np.full(n, rng.uniform(-0.2, 0.2))
    move = "still" if calm else str(rng.choice(MOVES, p=SHARES))
    if move == "drift":
        x, y = x + _walk(rng, n, 0.004), y + _walk(rng, n, 0.004)
    elif move == "wild":
        x, y = x + _walk(rng, n, 0.06), y + _walk(rng, n, 0.04)
    elif move == "pan":
        x = x + np.arange(n) * rng.uniform(-0.03, 0.03)
    elif move == "zoom":
        zoom = zoom * np.exp(np.arange(n) * rng.uniform(-0.012, 0.012))
    elif move == "shake":
        size = rng.uniform(0.005, 0.05)
        x, y = x + rng.normal(size=n) * size, y + rng.normal(size=n) * size
    elif move == "whip":
        far = rng.uniform(0.4, 1.6) * rng.choice([-1, 1])
        path = _pulse(n, rng.uniform(0.1, 0.9) * n, rng.uniform(4, 24))
        x = x + far * (path if rng.random() < 0.5 else path * (1 - _pulse(n, rng.uniform(0.3, 1.0) * n, rng.uniform(4, 24))))
    elif move == "punch":
        zoom = zoom * (1 + rng.uniform(-0.6, 0.8) * _pulse(n, rng.uniform(0.2, 0.8) * n, rng.uniform(3, 20)))
    zoom = np.clip(zoom, 0.25, 1.2)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    out = []
    for plane, size in (
        (source.y, CANVAS),
        (source.u, (CANVAS[0] // 2, CANVAS[1] // 2)),
        (source.v, (CANVAS[0] // 2, CANVAS[1] // 2)),
    ):
        h, w = plane.shape[1:]
        made = np.empty((n, *size), np.float32)
        for t in range(n):
            s = float(zoom[t])
            sx, sy = flip * s * w / size[1], s * h / size[0]
            to = [[sx, 0, w / 2 + x[t] * w - sx * size[1] / 2], [0, sy, h / 2 + y[t] * h - sy * size[0] / 2]]
            m = np.asarray(to, np.float32)
            made[t] = cv2.warpAffine(
                plane[index[t]], m, size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101
            )
        out.append(made)
    luma, chroma = out[0], out[1:]
    if move in ("whip", "wild"):  # a fast camera blurs along its way
        speed = np.abs(np.gradient(x)) / zoom * CANVAS[1]
        for t in np.flatnonzero(speed > 3):
            luma[t] = cv2.blur(luma[t], (min(31, int(speed[t]) | 1), 1))
    gain, lift = rng.uniform(0.6, 1.3), rng.uniform(-25, 25)
    luma = (luma - 128) * gain + 128 + lift
    tint, depth = rng.normal(size=2) * 8, rng.uniform(0.2, 1.4) if rng.random() < 0.9 else 0.0
    chroma = [(c - 128) * depth + 128 + k for c, k in zip(chroma, tint)]
    planes = [np.clip(p, 0, 255) for p in (luma, *chroma)]
    return planes if calm else _events(planes, rng)


def _events(planes: Planes, rng: np.random.Generator) -> Planes:
    """What happens inside a shot and is no transition."""
    y, u, v = planes
    n = len(y)
    if rng.random() < 0.12:  # flashes
        for _ in range(rng.integers(1, 4)):
            t, k, power = rng.integers(0, n), rng.integers(1, 5), rng.uniform(40, 220)
            fall = np.linspace(1, rng.uniform(0.2, 1), k)[:, None, None]
            y[t : t + k] += power * fall[: n - t]
            for c in (u, v):
                c[t : t + k] += (128 - c[t : t + k]) * min(0.8, power / 250)
    if rng.random() < 0.08:  # flicker
        y *= 1 - rng.uniform(0.1, 0.45) * (
            rng.random(n)[:, None, None]
            if rng.random() < 0.5
            else (0.5 + 0.5 * np.sin(np.arange(n) * rng.uniform(0.5, 3)))[:, None, None]
        )
    if rng.random() < 0.1:  # exposure
        ramp = _pulse(n, rng.uniform(0, 1) * n, rng.uniform(3, 40))[:, None, None]
        y *= 1 + rng.uniform(-0.6, 0.6) * ramp
    if rng.random() < 0.24:
        _passing(y, u, v, rng)
    if rng.random() < 0.08:  # bars or a title come or go
        first, last = sorted(rng.integers(0, n + 1, 2))
        h, w = y.shape[1:]
        if rng.random() < 0.4:
            b = int(rng.integers(2, 12)) * 2
            y[first:last, :b], y[first:last, h - b :] = 16, 16
            for c in (u, v):
                c[first:last, : b // 2], c[first:last, h // 2 - b // 2 :] = 128, 128
        else:
            top, left = 2 * int(rng.integers(0, h // 2 - 4)), 2 * int(rng.integers(0, w // 4))
            tall, wide = 2 * int(rng.integers(3, 10)), 2 * int(rng.integers(8, 24))
            y[first:last, top : top + tall, left : left + wide] = rng.uniform(0, 255)
    return [np.clip(p, 0, 255) for p in (y, u, v)]


def _passing(y: np.ndarray, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> None:
    """Something close by crosses the picture, up to all of it."""
    n, h, w = y.shape
    begin, length = rng.integers(0, n), rng.integers(4, 28)
    wide, tall = rng.uniform(0.2, 1.2) * w, rng.uniform(0.4, 2.2) * h
    middle, shade = rng.uniform(0.2, 0.8) * h, rng.uniform(10, 245)
    colour = rng.normal(size=2) * 15 + 128
    grain = rng.normal(size=(h, 2 * w)) * rng.uniform(0, 25)
    round_, back = rng.random() < 0.6, rng.random() < 0.5
    yy, xx = np.mgrid[0:h, 0:w]
    for k in range(length):
        t = begin + k
        if t >= n:
            return
        share = (k + 0.5) / length
        cx = -wide / 2 + share * (w + wide)
        cx = w - cx if back else cx
        dx, dy = (xx - cx) / (wide / 2), (yy - middle) / (tall / 2)
        mask = np.clip(((1 - np.hypot(dx, dy)) if round_ else np.minimum(1 - np.abs(dx), 1 - np.abs(dy))) * 6, 0, 1)
        shift = int(np.clip(cx, 0, w - 1))
        y[t] += mask * (shade + grain[:, w - shift : 2 * w - shift] - y[t])
        for c, value in zip((u, v), colour):
            c[t] += mask[::2, ::2] * (value - c[t])
