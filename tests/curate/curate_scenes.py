"""Made-up footage: textured scenes that pan, shake or stand, and cuts between them, with exact truth."""

from __future__ import annotations

import numpy as np

from armillary.curate.shots import SMALL, SmallFrames


def texture(seed: int, h: int = 400, w: int = 700) -> np.ndarray:
    """uint8 `h w 3`: blobs of several sizes in the colours of a seed."""
    rng = np.random.default_rng(seed)
    out = np.zeros((h, w, 3))
    for cell, weight in ((8, 20), (24, 40), (90, 70)):
        coarse = rng.normal(size=(h // cell + 2, w // cell + 2, 3))
        y, x = np.linspace(0, coarse.shape[0] - 1.001, h), np.linspace(0, coarse.shape[1] - 1.001, w)
        yi, xi = y.astype(int), x.astype(int)
        fy, fx = (y - yi)[:, None, None], (x - xi)[None, :, None]
        a, b = coarse[yi][:, xi], coarse[yi][:, xi + 1]
        c, d = coarse[yi + 1][:, xi], coarse[yi + 1][:, xi + 1]
        out += weight * ((a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + d * fx) * fy) * rng.uniform(0.4, 1, 3)
    return np.clip(out + rng.uniform(70, 180, 3), 0, 255).astype(np.uint8)


def scene(seed: int, frames: int, h: int = 112, w: int = 160, pan: float = 2.0, shake: float = 0.0) -> np.ndarray:
    """uint8 `t h w 3`: a window moving over a texture, `pan` pixels a frame to the right."""
    big, rng = texture(seed), np.random.default_rng(seed + 1)
    out = np.empty((frames, h, w, 3), np.uint8)
    for t in range(frames):
        dy, dx = rng.normal(size=2) * shake
        y, x = round(40 + dy), round(270 + pan * (t - frames / 2) + dx)
        y, x = int(np.clip(y, 0, big.shape[0] - h)), int(x) % (big.shape[1] - w)
        out[t] = big[y : y + h, x : x + w]
    return out


def dissolve(a: np.ndarray, b: np.ndarray, length: int) -> tuple[np.ndarray, tuple[int, int]]:
    """`a` blending into `b` over `length` frames, and the first and last blended frame."""
    w = ((np.arange(length) + 1) / (length + 1))[:, None, None, None]
    middle = (1 - w) * a[-length:] + w * b[:length]
    joined = np.concatenate([a[:-length], middle.round().astype(np.uint8), b[length:]])
    return joined, (len(a) - length, len(a) - 1)


def fade(a: np.ndarray, b: np.ndarray, length: int) -> tuple[np.ndarray, tuple[int, int]]:
    """`a` to black and from black to `b`, `length` frames each."""
    w = np.linspace(1, 0, length)[:, None, None, None]
    down, up = (a[-length:] * w).astype(np.uint8), (b[:length] * w[::-1]).astype(np.uint8)
    return np.concatenate([a[:-length], down, up, b[length:]]), (len(a) - length, len(a) + length - 1)


def small(frames: np.ndarray) -> SmallFrames:
    """What the analyser would hand to the detector, by PyAV's own scaler."""
    import av

    planes = ([], [], [])
    for picture in frames:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        out = frame.reformat(width=SMALL[1], height=SMALL[0], format="yuv420p", interpolation="AREA")
        for kept, plane in zip(planes, out.planes):
            kept.append(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy())
    return SmallFrames(*(np.stack(p) for p in planes))
