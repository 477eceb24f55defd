"""Shots of files of any length: the detector sees windows with something around them, and what neighbours both saw is put together.

A belief about a frame depends on frames at most `REACH` away, so a window seen with that much around it says of its own frames what the
whole file would; only where the stretch begins and ends can differ. Each transition belongs to the window in which it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from armillary.curate.shots.detect import ShotConfig, detect
from armillary.curate.shots.types import SmallFrames, Transition
from armillary.media import Reader

AROUND = 192  # frames a window is seen with on either side: a long gradual transition, and as far again as a belief reaches
WINDOW = 1800  # frames of a window's own: a minute at 30 frames a second, 5 MB


@dataclass(frozen=True)
class Found:
    """Transitions of a whole file, with the time of every frame (seconds on the stream's own clock, the first frame at `times[0]`)."""

    times: np.ndarray
    fps: float
    transitions: tuple[Transition, ...]
    lost: int = 0


def windows(
    planes: Iterable[tuple[np.ndarray, ...]], window: int = WINDOW, around: int = AROUND
) -> Iterator[tuple[int, int, int, SmallFrames]]:
    """Overlapping windows of a stream of thumbnails.

    Yields:
        `(first, begin, end, small)`: `small` starts at frame `first` of the stream; the window's own frames are `[begin, end)`.
    """
    held: list[tuple[np.ndarray, ...]] = []
    first = begin = total = 0
    for row in planes:
        held.append(row)
        total += 1
        if total == begin + window + around:
            yield first, begin, begin + window, _stacked(held)
            begin += window
            keep = max(0, begin - around)
            del held[: keep - first]
            first = keep
    if total > begin:
        yield first, begin, total, _stacked(held)


def merge(parts: Iterable[tuple[int, int, list[Transition]]]) -> list[Transition]:
    """Transitions of neighbouring windows as those of the whole.

    Args:
        parts: in order, `(begin, end, transitions)`: the window's own frames, and what was seen in it and around it, in frames of the
            whole.
    """
    out: list[Transition] = []
    for begin, end, found in parts:
        for t in found:
            if not begin <= t.start < end:
                continue
            if out and t.start <= out[-1].end + 2:  # the neighbour saw it begin a little earlier
                last = out[-1]
                surer = max(last, t, key=lambda x: x.score)
                cut = surer.kind == "cut"
                out[-1] = surer if cut else Transition(surer.kind, min(last.start, t.start), max(last.end, t.end), surer.score)
            else:
                out.append(t)
    return out


def find(reader: Reader, config: ShotConfig | None = None, window: int = WINDOW, around: int = AROUND) -> Found:
    """Every transition of an open file. Memory does not grow with its length, but for eight bytes a frame."""
    times: list[float] = []

    def planes() -> Iterator[tuple[np.ndarray, ...]]:
        from armillary.curate.analyse import small_planes

        for seconds, frame in reader.frames():
            times.append(seconds)
            yield small_planes(frame)

    rate = reader.info.fps or 25.0
    parts = []
    for first, begin, end, small in windows(planes(), window, around):
        found = detect(small, rate, config)
        parts.append((begin, end, [Transition(t.kind, t.start + first, t.end + first, t.score) for t in found]))
    return Found(np.asarray(times, np.float64), rate, tuple(merge(parts)), reader.lost)


def _stacked(held: list[tuple[np.ndarray, ...]]) -> SmallFrames:
    y, u, v = (np.stack(p) for p in zip(*held))
    return SmallFrames(y, u, v)
