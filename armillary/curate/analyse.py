"""One pass over a file: every frame once, very small; a few frames larger; nothing kept that a later stage could not use.

Three clocks run over the same decode: every frame at 48x28 for shots and freezing, four grey pictures a second for flow, two colour
pictures a second for quality, text, type, hashes and captions. A long file comes as segments of a few minutes, so that memory does not
grow with it; a segment's end is a boundary between clips like any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from armillary.curate.flow import Flow, FlowRow
from armillary.curate.measure import measure
from armillary.curate.shots import SMALL, ShotConfig, SmallFrames, Transition, detect
from armillary.errors import Failed, require
from armillary.media import Reader, VideoInfo
from armillary.media.decode import upright


@dataclass(frozen=True)
class AnalyseConfig:
    """Clocks and sizes.

    Args:
        flow_rate: grey pictures a second, side: their longer side in pixels.
        look_rate: colour pictures a second, look_side: theirs; large enough to read what is written in them.
        segment: seconds held in memory at once.
        fast: decode without the deblocking filter: a quarter less time, blockier looks.
    """

    flow_rate: float = 4.0
    look_rate: float = 2.0
    side: int = 320
    look_side: int = 480
    segment: float = 180.0
    fast: bool = False


@dataclass(frozen=True)
class Look:
    """One colour picture: uint8 `h w 3`, its time, and what was measured at full size (`measure.measure`)."""

    time: float
    rgb: np.ndarray
    measures: dict[str, float]


@dataclass(frozen=True)
class Segment:
    """What one stretch of a file showed.

    Args:
        times: of every frame, float64 `n`.
        change: mean absolute luma difference to the frame before, 8-bit steps, float32 `n`; change_peak: of the cell that changed most.
        luma, contrast: mean and standard deviation of luma, float32 `n`.
        transitions: in indices of `times`. gaps: indices of frames before which some are missing.
        keys: which frames are key frames, bool `n`.
        end: when the last frame stops being shown.
    """

    info: VideoInfo
    times: np.ndarray
    end: float
    change: np.ndarray
    change_peak: np.ndarray
    luma: np.ndarray
    contrast: np.ndarray
    keys: np.ndarray
    transitions: tuple[Transition, ...]
    flow: tuple[FlowRow, ...]
    looks: tuple[Look, ...]
    lost: int = 0
    gaps: tuple[int, ...] = ()

    def within(self, start: float, end: float) -> slice:
        """Indices of the frames with `start <= time < end`."""
        tiny = 1e-6
        return slice(int(np.searchsorted(self.times, start - tiny)), int(np.searchsorted(self.times, end - tiny)))

    def looks_within(self, start: float, end: float) -> list[Look]:
        return [k for k in self.looks if start - 1e-6 <= k.time < end - 1e-6]

    def flow_within(self, start: float, end: float) -> list[FlowRow]:
        """Pairs that lie wholly inside: the first pair after `start` may reach back over a cut and is left out."""
        inside = [r for r in self.flow if start - 1e-6 <= r.time < end - 1e-6]
        return inside[1:] if len(inside) > 1 else inside


@dataclass
class _Growing:
    """A segment while it is filled."""

    times: list[float] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    planes: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], [], []))
    flow: list[FlowRow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


def analyse(
    reader: Reader, config: AnalyseConfig | None = None, shots: ShotConfig | None = None, deadline: float | None = None
) -> Iterator[Segment]:
    """Segments of an open file, in order.

    Args:
        deadline: `time.monotonic()` after which to give up.

    Raises:
        Failed: when the deadline passes.
    """
    c = config or AnalyseConfig()
    info, flow, grow = reader.info, Flow(), _Growing()
    long_side = max(info.width, info.height)
    ratio = min(1.0, c.look_side / long_side)
    size = (max(2, round(info.height * ratio)), max(2, round(info.width * ratio)))
    next_flow = next_look = -np.inf
    for seconds, frame in reader.frames():
        if deadline is not None and len(grow.times) % 32 == 0 and time.monotonic() > deadline:
            raise Failed(f"{info.path} took longer than allowed; {seconds:.0f} s of it were seen.")
        if grow.times and seconds - grow.times[0] >= c.segment:
            yield _close(reader, grow, seconds, shots)
            grow = _Growing()
            flow.forget()
        grow.times.append(seconds)
        grow.keys.append(bool(frame.key_frame))
        for kept, plane in zip(grow.planes, small_planes(frame)):
            kept.append(plane)
        if seconds >= next_flow - 1e-6:
            next_flow = seconds + 1.0 / c.flow_rate
            row = flow.feed(seconds, grey_of(reader, frame, c.side))
            if row is not None:
                grow.flow.append(row)
        if seconds >= next_look - 1e-6:
            next_look = seconds + 1.0 / c.look_rate
            grow.looks.append(Look(seconds, reader.pixels(frame, size), measure(luma(frame))))
    if grow.times:
        fps = info.fps or 25.0
        yield _close(reader, grow, grow.times[-1] + 1.0 / fps, shots)


def small_planes(frame: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luma and the two chroma planes at `SMALL` and half of it.

    Planes of eight bits are thinned to every n-th pixel and then averaged, a fifth of the time of averaging them whole; each of the few
    pixels that come out still stands for dozens. Other formats go through swscale.
    """
    if frame.format.name in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"):
        half = (SMALL[0] // 2, SMALL[1] // 2)
        y, u, v = (_thinned(_plane(p), size) for p, size in zip(frame.planes[:3], (SMALL, half, half)))
        return y, u, v
    out = frame.reformat(width=SMALL[1], height=SMALL[0], format="yuv420p", interpolation="AREA")
    y, u, v = (_plane(p).copy() for p in out.planes[:3])
    return y, u, v


def _thinned(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    cv2 = require("cv2", "curation")
    down, across = (max(1, full // (5 * wanted)) for full, wanted in zip(plane.shape, size))
    some = np.ascontiguousarray(plane[down // 2 :: down, across // 2 :: across])
    return cv2.resize(some, size[::-1], interpolation=cv2.INTER_AREA)


def grey_of(reader: Reader, frame: Any, side: int) -> np.ndarray:
    """uint8 luma, upright, its longer side about `side`: exact means over whole boxes where the decoder's plane allows."""
    info = reader.info
    full = luma(frame)
    k = max(1, round(max(full.shape) / side))
    h, w = full.shape[0] // k, full.shape[1] // k
    if min(h, w) < 2:
        h, w, k = *full.shape, 1
    cv2 = require("cv2", "curation")
    small = cv2.resize(full[: h * k, : w * k], (w, h), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(upright(small, info.rotation, info.mirrored))


def _plane(plane: Any) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def luma(frame: Any) -> np.ndarray:
    """uint8 `h w` luma at full size as stored (not turned): the decoder's own plane where it has one of 8 bits."""
    if frame.format.name in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray", "nv12"):
        return _plane(frame.planes[0])
    return frame.reformat(format="gray").to_ndarray()


def _close(reader: Reader, grow: _Growing, end: float, shots: ShotConfig | None) -> Segment:
    times = np.asarray(grow.times, np.float64)
    y, u, v = (np.stack(p) for p in grow.planes)
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 1.0 / (reader.info.fps or 25.0)
    declared = 1.0 / reader.info.fps if reader.info.fps else usual
    hole = (
        3.5 * min(usual, declared) if reader.lost else max(1.0, 8 * usual)
    )  # in a damaged file a small hole is missing frames
    gaps = tuple(int(i) + 1 for i in np.flatnonzero(steps > hole))
    change, peak = _changes(y)
    wide = y.astype(np.float32)
    return Segment(
        info=reader.info,
        times=times,
        end=end,
        change=change,
        change_peak=peak,
        luma=wide.mean((1, 2)),
        contrast=wide.std((1, 2)),
        keys=np.asarray(grow.keys, bool),
        transitions=tuple(detect(SmallFrames(y, u, v), 1.0 / max(usual, 1e-3), shots)),
        flow=tuple(grow.flow),
        looks=tuple(grow.looks),
        lost=reader.lost,
        gaps=gaps,
    )


def _changes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute difference to the frame before, of the whole picture and of the 4x4 cell that differs most."""
    d = np.abs(np.diff(y.astype(np.int16), axis=0)).astype(np.float32)
    n, h, w = d.shape
    cells = d.reshape(n, h // 4, 4, w // 4, 4).mean((2, 4)).reshape(n, (h // 4) * (w // 4))
    return np.r_[np.float32(0), d.mean((1, 2))].astype(np.float32), np.r_[np.float32(0), cells.max(1)].astype(np.float32)
