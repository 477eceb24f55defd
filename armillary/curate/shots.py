"""Where one shot ends and another begins: hard cuts, dissolves and fades, from very small pictures.

Four questions are asked of each place, and a cut has to pass them together:

* *does the picture jump?* the mean absolute difference to the frame before, at the best of a few whole-picture shifts (so that a shaken
  camera does not count), must stand out of its neighbours (so that a whip pan, where every frame jumps, does not count);
* *does it stay changed?* frames a little before and a little after must still be unlike each other, in structure (correlation, blind to
  brightness) or in colour. A flash, a flicker and something passing close by end where they began;
* *is a slow change a blend?* in a dissolve every frame lies on the straight line between the picture before and the picture after,
  `(1-a)A + aB` with `a` growing; moving things leave that line. This is tested over windows of several lengths;
* *did it go through one flat colour?* a fade leaves a nearly uniform picture between two that are not.

A wipe is not looked for. Times are never used here: everything is in frames, and the caller knows each frame's time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALL = (28, 48)  # luma height and width the detector works on; chroma is half of it


@dataclass(frozen=True)
class ShotConfig:
    """Thresholds. Luma differences are in 8-bit steps, `distinct` and `blend` are ratios.

    Args:
        jump: least shift-compensated difference of a hard cut; contrast: the same as a share of the pictures' own contrast.
        standout: how many times the neighbours' difference; a change to a wholly other view needs `standout_sure` times only.
        unlike, unlike_soft: how much less alike than `alike` the views around a cut, and around a blend, must be.
        alike: correlation above which two pictures count as the same view; colour: mean chroma difference that outweighs it.
        blend: most residual off the straight line, as a share of the distance between its ends.
        ramps: half lengths, in seconds, of the blends looked for.
        flat: contrast (standard deviation of luma) under which a picture is one colour.
        settle: seconds over which a change must last.
    """

    jump: float = 9.0
    contrast: float = 0.28
    standout: float = 2.0
    standout_sure: float = 1.5
    unlike: float = 1.2
    unlike_soft: float = 1.4
    alike: float = 0.82
    colour: float = 9.0
    blend: float = 0.33
    ramps: tuple[float, ...] = (0.17, 0.27, 0.4, 0.57, 0.8)
    flat: float = 6.0
    settle: float = 0.2


@dataclass(frozen=True)
class Transition:
    """Frames `start..end` (both included) belong to neither shot; a hard cut is `start == end`, the first frame of the new shot."""

    kind: str
    start: int
    end: int
    score: float = 1.0


@dataclass(frozen=True)
class SmallFrames:
    """What the detector sees: uint8 luma `n 28 48` and chroma `n 14 24` twice."""

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


def detect(small: SmallFrames, fps: float, config: ShotConfig | None = None) -> list[Transition]:
    """Every transition of one stretch of video, in order and not overlapping.

    Args:
        small: one row a frame.
        fps: frames a second, for the lengths in seconds.
    """
    c = config or ShotConfig()
    if len(small) < 3:
        return []
    view = _View(small, fps, c)
    fades = _fades(view)
    hard = [h for h in _hard(view) if not any(f.start <= h.start <= f.end + 1 for f in fades)]
    soft = [
        s
        for s in _blends(view)
        if not any(o.start <= s.end + 1 and o.end >= s.start - 1 for o in fades)
        and not any(s.start - 2 <= h.start <= s.end + 2 for h in hard)
    ]
    return sorted([*fades, *hard, *soft], key=lambda t: t.start)


class _View:
    """The pictures as the tests need them, computed once."""

    def __init__(self, small: SmallFrames, fps: float, config: ShotConfig) -> None:
        self.c, self.fps, self.n = config, max(1.0, fps), len(small)
        self.y = small.y.astype(np.float32)
        chroma = np.concatenate([small.u.reshape(self.n, -1), small.v.reshape(self.n, -1)], 1)
        self.chroma = chroma.astype(np.float32)
        self.std = self.y.std((1, 2))
        self.mean = self.y.mean((1, 2))
        self.jumps = np.zeros(self.n, np.float32)
        self.jumps[1:] = self.shifted(np.arange(self.n - 1), np.arange(1, self.n))

    def shifted(self, a: np.ndarray, b: np.ndarray, reach: int = 3) -> np.ndarray:
        """Mean absolute luma difference of frames `a` and `b` at the best shift of up to `reach` pixels, float32 `len(a)`."""
        h, w = self.y.shape[1:]
        inner = self.y[a][:, reach : h - reach, reach : w - reach]
        other, best = self.y[b], np.full(len(a), np.inf, np.float32)
        for dy in range(2 * reach + 1):
            for dx in range(2 * reach + 1):
                moved = other[:, dy : dy + h - 2 * reach, dx : dx + w - 2 * reach]
                best = np.minimum(best, np.abs(moved - inner).mean((1, 2)))
        return best

    def correlation(self, a: int, b: int, reach: int = 3) -> float:
        """The highest correlation of two pictures over shifts: 1 for the same view at any brightness."""
        h, w = self.y.shape[1:]
        inner = self.y[a][reach : h - reach, reach : w - reach].ravel()
        inner = inner - inner.mean()
        moved = np.lib.stride_tricks.sliding_window_view(self.y[b], (h - 2 * reach, w - 2 * reach)).reshape(-1, inner.size)
        moved = moved - moved.mean(1, keepdims=True)
        norms = np.sqrt((moved * moved).sum(1)) + 1e-3
        return float(((moved @ inner) / norms).max()) / (float(np.sqrt(inner @ inner)) + 1e-3)

    def unlike(self, before: list[int], after: list[int]) -> float:
        """How unlike the most alike pair is: over 1 means another view. Frames outside the stretch are left out."""
        least = np.inf
        for a in before:
            for b in after:
                if not (0 <= a < self.n and 0 <= b < self.n):
                    continue
                structure = (1.0 - self.correlation(a, b)) / (1.0 - self.c.alike)
                colour = float(np.abs(self.chroma[a] - self.chroma[b]).mean()) / self.c.colour
                least = min(least, max(structure, colour))
        return float(least) if np.isfinite(least) else 0.0


def _hard(v: _View) -> list[Transition]:
    c = v.c
    around = np.stack([np.roll(v.jumps, k) for k in (-3, -2, -1, 1, 2, 3)])
    usual = np.sort(around, axis=0)[3]  # the third largest of six: one flash beside a cut does not hide it
    contrast = np.r_[v.std[:1], (v.std[1:] + v.std[:-1]) / 2]
    floor = np.minimum(c.jump * 2, np.maximum(c.jump / 3, c.contrast * contrast))
    floor = np.maximum(floor, np.minimum(c.jump, contrast))
    peak = (
        (v.jumps >= np.maximum(np.roll(v.jumps, 1), np.roll(v.jumps, -1)))
        & (v.jumps > floor)
        & (v.jumps > c.standout_sure * usual)
    )
    settle = max(2, round(c.settle * v.fps))
    out: list[Transition] = []
    for t in np.flatnonzero(peak):
        t = int(t)
        if out and t - out[-1].end < 3:
            continue
        steps = sorted({0, 1, settle // 2, settle})
        score = v.unlike([t - 1 - s for s in steps], [t + s for s in steps])
        sure = v.jumps[t] > c.standout * usual[t] or score > 2.0 * c.unlike
        if score > c.unlike and sure:
            out.append(Transition("cut", t, t, score))
    return out


def _blends(v: _View) -> list[Transition]:
    c = v.c
    flat = np.concatenate([v.y.reshape(v.n, -1), 2 * v.chroma], 1)
    found: list[tuple[float, int, int, int]] = []
    for half in sorted({max(4, round(r * v.fps)) for r in c.ramps}):
        if v.n < 2 * half + 3:
            continue
        middle = np.arange(half, v.n - half)
        a, d = flat[middle - half], flat[middle + half] - flat[middle - half]
        length = (d * d).sum(1) + 1e-3
        weights, residuals = [], []
        for offset in (-(half // 2), 0, (half + 1) // 2):
            m = flat[middle + offset] - a
            w = (m * d).sum(1) / length
            weights.append(w)
            residuals.append(np.sqrt(((m - w[:, None] * d) ** 2).sum(1) / length))
        w1, w2, w3 = weights
        worst = np.max(residuals, axis=0)
        contrast = (v.std[middle - half] + v.std[middle + half]) / 2
        ramp = (w1 > -0.05) & (w1 < 0.42) & (w2 > 0.3) & (w2 < 0.7) & (w3 > 0.58) & (w3 < 1.05) & (w1 + 0.2 < w3)
        rows = np.flatnonzero(ramp & (worst < c.blend))
        if not len(rows):
            continue
        apart = v.shifted(middle[rows] - half, middle[rows] + half)
        keep = apart > np.maximum(c.jump, 1.3 * c.contrast * contrast[rows])
        found += [(float(worst[r]), int(middle[r]), half, r) for r in rows[keep]]
    out: list[Transition] = []
    for residual, t, half, _ in sorted(found):
        if any(o.start - half <= t <= o.end + half for o in out):
            continue
        span = _extent(flat, t, half)
        if span is None:
            continue
        start, end = span
        edge = max(2, half // 4)
        score = v.unlike([start - 1, start - edge], [end + 1, end + edge]) * (1 - residual)
        if score > c.unlike_soft:
            out.append(Transition("dissolve", start, end, score))
    return _merged(sorted(out, key=lambda o: o.start))


def _merged(found: list[Transition]) -> list[Transition]:
    """Overlapping or touching findings are pieces of one transition."""
    out: list[Transition] = []
    for t in found:
        if out and t.start <= out[-1].end + 2:
            last = out[-1]
            out[-1] = Transition(last.kind, last.start, max(last.end, t.end), max(last.score, t.score))
        else:
            out.append(t)
    return out


def _extent(flat: np.ndarray, t: int, half: int) -> tuple[int, int] | None:
    """First and last frame of the blend whose middle is near `t`: where the weight of the second picture leaves 0 and reaches 1."""
    low, high = max(0, t - 2 * half), min(len(flat) - 1, t + 2 * half)
    a, d = flat[low], flat[high] - flat[low]
    w = (flat[low : high + 1] - a) @ d / (float(d @ d) + 1e-3)
    inside = np.flatnonzero((w > 0.06) & (w < 0.94))
    if not len(inside):
        return None
    near = inside[np.argmin(np.abs(inside - (t - low)))]
    start = end = int(near)
    while start > 0 and 0.06 < w[start - 1] < 0.94:
        start -= 1
    while end < len(w) - 1 and 0.06 < w[end + 1] < 0.94:
        end += 1
    return low + start, low + end


def _fades(v: _View) -> list[Transition]:
    """Runs of one-coloured frames with a ramp of contrast on at least one side. A long run is a shot of its own: then each ramp is one."""
    flat = v.std < v.c.flat
    out: list[Transition] = []
    t, long = 0, round(1.0 * v.fps)
    while t < v.n:
        if not flat[t]:
            t += 1
            continue
        end = t
        while end + 1 < v.n and flat[end + 1]:
            end += 1
        start_ramp, end_ramp = _ramp(v, t, -1), _ramp(v, end, 1)
        if end - t + 1 >= long:
            if start_ramp < t - 1:
                out.append(Transition("fade", start_ramp, t))
            if end_ramp > end + 1:
                out.append(Transition("fade", end, end_ramp))
        elif start_ramp < t - 2 or end_ramp > end + 2:
            out.append(Transition("fade", start_ramp, end_ramp))
        t = end + 1
    return out


def _ramp(v: _View, t: int, step: int) -> int:
    """How far the picture keeps leaving the flat frame `t`, in contrast and brightness, without a jump; at most two seconds."""
    last, limit = t, round(2.0 * v.fps)
    away = np.hypot(v.std, v.mean - v.mean[t])
    while 0 <= last + step < v.n and abs(last + step - t) <= limit:
        ahead = min(max(last + 3 * step, 0), v.n - 1)  # over three frames: one may waver
        grown = (away[ahead] - away[last]) / abs(ahead - last)
        even = away[last] / max(1, abs(last - t))  # growth a frame so far: a ramp is even, a picture that merely changes is not
        if grown < max(0.15, 0.3 * even if abs(last - t) > 4 else 0.0):
            break
        leap = away[last + step] - away[last]
        if v.jumps[max(last, last + step)] > 3 * v.c.jump and leap > 0.5 * away[last + step]:
            break
        last += step
    return last
