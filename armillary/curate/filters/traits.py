"""What a clip's pictures and its motion are like, as some fifty numbers: how flat, how outlined, how colourful, how still.

No content is known to them, only how a picture is made: a camera leaves grain and soft edges everywhere, a brush and a screen leave flat
areas, exact colours, dark outlines and upright edges. `curate.kinds` weighs them.
"""

from __future__ import annotations

import numpy as np

from armillary.curate.analyse import Segment
from armillary.errors import require
from armillary.types import Clip

LOOKS = 4  # pictures are read of a clip
WIDE = 320
MEASURES = ("blur", "blocks", "neighbours", "noise", "contrast", "dark", "bright", "plain", "few")
PICTURE = (
    *("saturation", "saturation_spread", "vivid", "colourful", "grey"),
    *("colours", "top_colour", "top_colours"),
    *("bare", "faint", "middling", "strong", "faint_to_strong", "axis", "level"),
    *("fine", "coarse", "coarser", "outline", "outline_most", "glint", "grain", "flat_cells", "flat_runs", "sky"),
)
TIME = ("overlay", "change", "burst", "idle", "repeats")
MOTION = (
    "motion",
    "active",
    "objects",
    "camera_speed",
    "pan",
    "tilt",
    "zoom",
    "roll",
    "straight",
    "parallax",
    "shake",
    "explained",
    "still",
)
NAMES = (*MEASURES, *PICTURE, *TIME, *MOTION)


def traits(clip: Clip, segment: Segment) -> np.ndarray | None:
    """float64 `len(NAMES)` of a clip that the motion and black filters have seen; None for a clip without any picture."""
    looks = segment.looks_within(clip.start, clip.end)
    if not looks:
        return None
    picks = np.unique(np.linspace(0, len(looks) - 1, min(LOOKS, len(looks))).round().astype(int))
    pictures = [_sized(looks[i].rgb) for i in picks]
    measured = [float(np.median([k.measures.get(m, 0.0) for k in looks])) for m in MEASURES]
    seen = np.median([picture_traits(p) for p in pictures], axis=0)
    inside = segment.within(clip.start, clip.end)
    rows, s = segment.flow_within(clip.start, clip.end), clip.scores
    change = segment.change[inside][1:]
    moved = [
        *(s.get(k, 0.0) for k in ("motion", "active", "objects", "camera_speed")),
        *(abs(s.get(k, 0.0)) for k in ("camera_pan", "camera_tilt", "camera_zoom", "camera_roll")),
        *(s.get(k, 0.0) for k in ("camera_straight", "camera_parallax", "shake")),
        *(float(np.mean([getattr(r, k) for r in rows])) if rows else 0.0 for k in ("explained", "still")),
    ]
    timed = [overlay(pictures), *_changes(change), s.get("repeats", 0.0)]
    out = np.array([*measured, *seen, *timed, *moved], np.float64)
    return np.nan_to_num(out, nan=0.0, posinf=50.0, neginf=-50.0)


def _sized(rgb: np.ndarray) -> np.ndarray:
    cv2 = require("cv2", "picture types")
    h, w = rgb.shape[:2]
    ratio = WIDE / max(h, w)
    return cv2.resize(rgb, (max(16, round(w * ratio)), max(16, round(h * ratio))), interpolation=cv2.INTER_AREA)


def _changes(change: np.ndarray) -> tuple[float, float, float]:
    """Median change of a frame, how far the largest lie above it, and the share of frames that hardly change."""
    if not len(change):
        return 0.0, 0.0, 1.0
    usual, most = np.percentile(change, [50, 95])
    return float(np.log1p(usual)), float(np.log((most + 0.3) / (usual + 0.3))), float((change < 0.3).mean())


def picture_traits(rgb: np.ndarray) -> np.ndarray:
    """`PICTURE` of uint8 `h w 3`, about `WIDE` pixels long."""
    cv2 = require("cv2", "picture types")
    wide = rgb.astype(np.float32)
    r, g, b = wide[..., 0], wide[..., 1], wide[..., 2]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    most, least = (_folded(f, rgb).astype(np.float32) for f in (np.maximum, np.minimum))
    chroma = most - least
    saturation = chroma / np.maximum(most, 16)
    a, y = r - g, 0.5 * (r + g) - b
    colourful = np.hypot(a.std(), y.std()) + 0.3 * np.hypot(a.mean(), y.mean())
    cube = np.bincount(
        (((rgb[..., 0] >> 5).astype(int) * 8 + (rgb[..., 1] >> 5)) * 8 + (rgb[..., 2] >> 5)).ravel(), minlength=512
    )
    share = np.sort(cube / cube.sum())[::-1]
    entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *d, ksize=3, scale=0.25) for d in ((1, 0), (0, 1)))
    slope = _length(dx, dy)
    bare, faint, strong = (float(x.mean()) for x in (slope < 1.0, (slope >= 1.0) & (slope < 6.0), slope > 30.0))
    edge = slope > 20.0
    count = max(1, int(edge.sum()))
    upright, level = np.abs(dx) > 8 * np.abs(dy), np.abs(dy) > 8 * np.abs(dx)
    bands = _bands(grey.astype(np.float32))
    square = np.ones((5, 5), np.uint8)
    dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, square).astype(np.float32)
    light = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, square).astype(np.float32)
    flat = _cells(rgb)
    third = grey.shape[0] // 3
    return np.array(
        [
            *(saturation.mean(), saturation.std(), (saturation > 0.6).mean(), colourful / 100, (chroma < 10).mean()),
            *(entropy, share[0], share[:6].sum()),
            *(bare, faint, float(((slope >= 6) & (slope <= 30)).mean()), strong, np.log((faint + 0.01) / (strong + 0.01))),
            *(float((edge & (upright | level)).sum()) / count if count > 40 else 0.3, float((edge & level).sum()) / count),
            *(bands[0] - bands[1], bands[1] - bands[2], bands[2] - bands[3]),
            *(dark.mean() / 10, (dark > 40).mean(), light.mean() / 10),
            *(_grain(grey), flat, _runs(rgb), float((slope[:third] < 2).mean())),
        ],
        np.float64,
    )


def _folded(f: np.ufunc, a: np.ndarray) -> np.ndarray:
    """`f` over the three channels of `h w 3`; NumPy's own reduction of so short an axis takes ten times as long."""
    return f(f(a[..., 0], a[..., 1]), a[..., 2])


def _cornered(f: np.ufunc, a: np.ndarray) -> np.ndarray:
    """`f` over cells of 4x4 pixels."""
    for _ in range(2):
        a = f(a[::2], a[1::2])
        a = f(a[:, ::2], a[:, 1::2])
    return a


def _length(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Of vectors; not OpenCV's `magnitude`, whose last bit hangs on where in memory a number lies."""
    return np.sqrt(dx * dx + dy * dy)


def _bands(g: np.ndarray) -> list[float]:
    """Logarithm of the strength of detail at four scales, finest first."""
    cv2 = require("cv2", "picture types")
    out = []
    for _ in range(4):
        soft = cv2.GaussianBlur(g, (5, 5), 1.0)
        out.append(float(np.log(np.abs(g - soft).mean() + 0.05)))
        g = soft[::2, ::2]
    return out


def _grain(grey: np.ndarray) -> float:
    """Spread within the calmest tenth of 8x8 cells that are not pure black or white: what a sensor leaves and a brush does not."""
    h, w = (s // 8 * 8 for s in grey.shape)
    cells = grey[:h, :w].reshape(h // 8, 8, w // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 64).astype(np.float32)
    mean = cells.mean(1)
    inner = cells[(mean > 24) & (mean < 232)]
    return float(np.log(np.percentile(inner.std(1), 10) + 0.1)) if len(inner) >= 10 else -2.3


def _cells(rgb: np.ndarray) -> float:
    """Share of 4x4 cells of one colour."""
    h, w = (s // 4 * 4 for s in rgb.shape[:2])
    most, least = (_cornered(f, rgb[:h, :w]) for f in (np.maximum, np.minimum))
    return float((_folded(np.maximum, most - least) <= 3).mean())


def _runs(rgb: np.ndarray) -> float:
    """Mean length of runs of one colour along rows, as a logarithm: long for flat paint, about one pixel for a camera."""
    cv2 = require("cv2", "picture types")
    step = _folded(np.maximum, cv2.absdiff(rgb[:, 1:], rgb[:, :-1])) > 4
    return float(np.log(rgb.shape[1] / (1.0 + step.sum(1))).mean())


def overlay(pictures: list[np.ndarray]) -> float:
    """Share of the strong edges that stay where they are, over how much of the picture changes: a game's or a studio's overlay."""
    if len(pictures) < 3 or len({p.shape for p in pictures}) > 1:
        return 0.0
    cv2 = require("cv2", "picture types")
    grey = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures]).astype(np.float32)
    spread = grey.std(0)
    slopes = np.stack(
        [_length(cv2.Sobel(g, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(g, cv2.CV_32F, 0, 1, scale=0.25)) for g in grey]
    )
    edges = (slopes > 15).any(0)
    stay = (slopes > 15).all(0) & (slopes.std(0) < 0.25 * slopes.mean(0) + 2)
    return float(stay.sum() / max(1, edges.sum())) * float((spread > 6).mean())
