"""From a stretch of video to clips: one per shot, without the transitions, neither too short nor too long.

Paper section 3 (splitting): shots under two seconds are dropped, long ones divided at sixty. Here a dropped shot stays in the record
with its reason, and a long one is divided into equal parts, so that no short rest is left over.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass

import numpy as np

from armillary.curate.analyse import Segment
from armillary.types import Clip, Rejection


@dataclass(frozen=True)
class SplitConfig:
    """Args:
    min_seconds, max_seconds: bounds of a clip.
    margin: frames left out on both sides of a dissolve or fade, beside the transition itself.
    freeze: a picture that stands still for so many seconds is cut off from what moves before and after it; 0 leaves it in.
    still: largest change of a cell, in 8-bit steps, of a frame that counts as a repeat.
    stride: when over 0, ignore shots and cut every so many seconds.
    """

    min_seconds: float = 2.0
    max_seconds: float = 60.0
    margin: int = 1
    freeze: float = 2.0
    still: float = 1.0
    stride: float = 0.0


def spans(segment: Segment, config: SplitConfig) -> list[tuple[int, int]]:
    """Frame ranges `[first, last)` of the shots, transitions cropped off; nothing is dropped yet."""
    n = len(segment.times)
    if config.stride > 0:
        edges = np.arange(segment.times[0], segment.times[-1], config.stride)
        marks = [int(i) for i in np.searchsorted(segment.times, edges - 1e-6)] + [n]
        return [(a, b) for a, b in itertools.pairwise(marks) if b > a]
    holes = [(g, g) for g in segment.gaps]
    for t in segment.transitions:
        soft = t.start != t.end
        holes.append((t.start - config.margin, t.end + 1 + config.margin) if soft else (t.start, t.start))
    out, begin = [], 0
    for a, b in sorted(holes):
        if a > begin:
            out.append((begin, min(a, n)))
        begin = max(begin, min(max(b, 0), n))
    if begin < n:
        out.append((begin, n))
    if config.freeze <= 0:
        return out
    frozen = still_runs(segment.change_peak, segment.times, segment.end, config)
    return [part for first, last in out for part in _around(first, last, frozen)]


def still_runs(change: np.ndarray, times: np.ndarray, end: float, config: SplitConfig) -> list[tuple[int, int]]:
    """Frame ranges `[first, last)` of at least `freeze` seconds that show one and the same picture."""
    moves = np.flatnonzero(np.r_[True, change[1:] >= config.still, True])
    clock = np.r_[times, end]
    return [(int(a), int(b)) for a, b in itertools.pairwise(moves) if b - a > 1 and clock[b] - clock[a] >= config.freeze]


def _around(first: int, last: int, frozen: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`[first, last)` divided at the frozen stretches inside it, which stay as parts of their own."""
    out = []
    for a, b in frozen:
        a, b = max(a, first), min(b, last)
        if a >= b:
            continue
        out += [(first, a)] * (a > first) + [(a, b)]
        first = b
    return out + [(first, last)] * (last > first)


def split(segment: Segment, config: SplitConfig, content: str, source: str) -> list[Clip]:
    """Clips of one segment, in order; too short ones are there, rejected by `length`.

    Args:
        content: hash of the file's bytes; with the span it makes the clip's id.
    """
    clips = []
    for first, last in spans(segment, config):
        start = float(segment.times[first])
        end = segment.end if last >= len(segment.times) else float(segment.times[last])
        if last in segment.gaps:  # the last frame before a hole is not shown until the hole ends
            end = min(end, float(segment.times[last - 1]) + 1.0 / (segment.info.fps or 25.0))
        parts = max(1, math.ceil((end - start) / config.max_seconds - 1e-6))
        for k in range(parts):
            a = _snap(segment, start + (end - start) * k / parts)
            b = _snap(segment, start + (end - start) * (k + 1) / parts) if k + 1 < parts else end
            clips.append(clip_of(segment, a, b, content, source, config.min_seconds))
    return clips


def _snap(segment: Segment, seconds: float) -> float:
    """The time of the first frame at or after `seconds`."""
    i = min(int(np.searchsorted(segment.times, seconds - 1e-6)), len(segment.times) - 1)
    return float(segment.times[i])


def clip_of(segment: Segment, start: float, end: float, content: str, source: str, least: float = 0.0) -> Clip:
    """One clip of a span on the source's clock."""
    inside = segment.within(start, end)
    frames = inside.stop - inside.start
    short = end - start < least - 1e-6
    why = (
        (Rejection("length", f"{end - start:.2f} s is shorter than {least:g} s", round(end - start, 6), least),)
        if short
        else ()
    )
    return Clip(
        id=clip_id(content, start, end),
        tags={"damaged": "yes"} if segment.lost else {},
        source=source,
        start=round(start, 6),
        end=round(end, 6),
        width=segment.info.width,
        height=segment.info.height,
        fps=round(frames / (end - start), 6) if end > start else segment.info.fps,
        start_frame=inside.start,
        num_frames=frames,
        rejected=why,
    )


def clip_id(content: str, start: float, end: float) -> str:
    """Sixteen hex digits from the source's content and the span in microseconds: no file name, no run, no order."""
    text = f"{content}:{round(start * 1e6)}:{round(end * 1e6)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
