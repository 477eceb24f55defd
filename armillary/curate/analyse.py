"""One pass over a file: every frame once, very small; a few frames larger; nothing kept that a later stage could not use.

Three clocks run over the same decode: every frame at 48x28 for shots and freezing, four grey pictures a second for flow, two colour
pictures a second for quality, text, type, hashes and captions. The result comes in windows of a minute on a fixed grid, so that memory does
not grow with the file. A window is seen together with a few seconds before and after it, and the clocks tick on the file's own time: put
together again (`join`), windows say the same wherever decoding began. A window's end is no boundary between clips.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.embed import describe
from armillary.curate.flow import Flow, FlowRow
from armillary.curate.measure import measure
from armillary.curate.shots import SMALL, ShotConfig, SmallFrames, Transition, detect
from armillary.curate.shots.windows import merge
from armillary.errors import Failed, require
from armillary.media import Reader, VideoInfo
from armillary.media.decode import upright

AROUND, REACH = (
    3.0,
    96,
)  # seconds, and frames at least, that a window is seen with on either side: how far the shot detector looks
QUALITY = 92  # of the pictures kept as JPEG


@dataclass(frozen=True)
class AnalyseConfig:
    """Clocks and sizes.

    Args:
        flow_rate: grey pictures a second, side: their longer side in pixels.
        look_rate: colour pictures a second, look_side: theirs; large enough to read what is written in them.
        window: seconds held in memory at once. segment: seconds decoded in one task; a whole number of windows.
        fast: decode without the deblocking filter: a quarter less time, blockier looks.
    """

    flow_rate: float = 4.0
    look_rate: float = 2.0
    side: int = 320
    look_side: int = 480
    window: float = 60.0
    segment: float = 240.0
    fast: bool = False


@dataclass(frozen=True)
class Stored:
    """Bytes in a file, read when they are wanted: `size` of them from `offset` on."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Look:
    """One colour picture.

    Args:
        picture: uint8 `h w 3`, or a JPEG of it, at hand or on disk.
        measures: what was measured at full size (`measure.measure`).
        vector: of the picture before it became a JPEG (`embed.picture_vector`), float32. hash: `embed.phash`.
    """

    time: float
    picture: np.ndarray | bytes | Stored
    measures: dict[str, float]
    vector: np.ndarray | None = None
    hash: int = 0

    @property
    def rgb(self) -> np.ndarray:
        """uint8 `h w 3`. A JPEG is decoded each time it is asked for."""
        if isinstance(self.picture, np.ndarray):
            return self.picture
        cv2 = require("cv2", "curation")
        packed = self.picture if isinstance(self.picture, bytes) else self.picture.read()
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    @staticmethod
    def of(time: float, rgb: np.ndarray, measures: dict[str, float]) -> Look:
        """A look as it is kept: measured, hashed, then packed."""
        cv2 = require("cv2", "curation")
        _, packed = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        vector, bits = describe(rgb)
        return Look(time, packed.tobytes(), measures, vector.astype(np.float32), bits)


@dataclass(frozen=True)
class Segment:
    """What a stretch of a file showed: one window, several joined, or all of it.

    Args:
        times: of every frame, float64 `n`.
        change: mean absolute luma difference to the frame before, 8-bit steps, float32 `n`; change_peak: of the cell that changed most.
        luma, contrast: mean and standard deviation of luma, float32 `n`.
        transitions: in indices of `times`. gaps: indices of frames before which some are missing.
        keys: which frames are key frames, bool `n`.
        end: when the last frame stops being shown.
        lost: frames that did not decode, at least; errors: what the decoder said of them.
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
    errors: tuple[str, ...] = ()

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
class _Held:
    """The frames of a window and of what is seen around it, while they come in."""

    times: list[float] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    planes: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], [], []))
    flow: list[FlowRow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    def drop(self, before: float) -> None:
        """Let go of everything earlier than `before`."""
        n = int(np.searchsorted(self.times, before - 1e-6))
        for row in (self.times, self.keys, *self.planes):
            del row[:n]
        self.flow = [r for r in self.flow if r.time >= before]
        self.looks = [k for k in self.looks if k.time >= before]


def windows(info: VideoInfo, config: AnalyseConfig) -> int:
    """How many windows a file of the declared length has; 1 when it declares none."""
    return max(1, math.ceil(info.duration / config.window - 1e-6))


def analyse(
    reader: Reader,
    config: AnalyseConfig | None = None,
    shots: ShotConfig | None = None,
    deadline: float | None = None,
    first: int = 0,
    count: int | None = None,
) -> Iterator[Segment]:
    """Windows of an open file, in order; one after the last that holds a frame there is none.

    Args:
        deadline: `time.monotonic()` after which to give up.
        first: number of the window to begin with; the file is sought when it is not 0.
        count: how many windows; None: to the end of the file.

    Raises:
        Failed: when the deadline passes.
    """
    c, info = config or AnalyseConfig(), reader.info
    origin, flow, held = info.start, Flow(), _Held()
    ratio = min(1.0, c.look_side / max(info.width, info.height))
    size = (max(2, round(info.height * ratio)), max(2, round(info.width * ratio)))
    begin = origin + first * c.window
    stop = math.inf if count is None else begin + count * c.window
    flow_tick = look_tick = -math.inf
    around = max(AROUND, REACH / (info.fps or 25.0))
    lost = 0
    source = reader.frames(None if first == 0 else begin - around, None if count is None else stop + around)
    for number, (seconds, frame) in enumerate(source):
        if deadline is not None and number % 32 == 0 and time.monotonic() > deadline:
            raise Failed(f"{info.path} took longer than allowed; {seconds:.0f} s of it were seen.")
        while seconds >= begin + c.window + around and begin < stop:
            if (done := _close(reader, held, begin, begin + c.window, shots, reader.lost - lost)) is not None:
                yield done
            lost, begin = reader.lost, begin + c.window
            held.drop(begin - around)
        held.times.append(seconds)
        held.keys.append(bool(frame.key_frame))
        for kept, plane in zip(held.planes, small_planes(frame)):
            kept.append(plane)
        if (tick := math.floor((seconds - origin) * c.flow_rate + 1e-6)) > flow_tick:
            flow_tick = tick
            row = flow.feed(seconds, grey_of(reader, frame, c.side))
            if row is not None:
                held.flow.append(row)
        if (tick := math.floor((seconds - origin) * c.look_rate + 1e-6)) > look_tick:
            look_tick = tick
            if seconds >= begin - 1e-6:  # what lies before belongs to another window
                held.looks.append(Look.of(seconds, reader.pixels(frame, size), measure(luma(frame))))
    while held.times and begin < stop and held.times[-1] >= begin - 1e-6:
        last = held.times[-1] < begin + c.window
        if (done := _close(reader, held, begin, begin + c.window, shots, reader.lost - lost)) is not None:
            yield done
        lost, begin = reader.lost, begin + c.window
        held.drop(begin - around)
        if last:
            return


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
    fine = tuple(min(full, 5 * wanted) for full, wanted in zip(plane.shape, size))
    some = cv2.resize(plane, fine[::-1], interpolation=cv2.INTER_NEAREST) if fine != plane.shape else plane
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


def _close(reader: Reader, held: _Held, begin: float, stop: float, shots: ShotConfig | None, lost: int) -> Segment | None:
    """The window `[begin, stop)` out of what is held; None when no frame lies in it. A transition belongs to the window it begins in."""
    times = np.asarray(held.times, np.float64)
    a, b = (int(i) for i in np.searchsorted(times, [begin - 1e-6, stop - 1e-6]))
    if a == b:
        return None
    y, u, v = (np.stack(p) for p in held.planes)
    change, peak = _changes(y)
    wide = y.astype(np.float32)
    found = detect(SmallFrames(y, u, v), 1.0 / max(usual_step(times, reader.info), 1e-3), shots)
    mine = [t for t in found if a <= t.start < b]
    end = float(times[b]) if b < len(times) else float(times[-1]) + 1.0 / (reader.info.fps or 25.0)
    own = slice(a, b)
    return Segment(
        info=reader.info,
        times=times[own],
        end=end,
        change=change[own],
        change_peak=peak[own],
        luma=wide.mean((1, 2))[own],
        contrast=wide.std((1, 2))[own],
        keys=np.asarray(held.keys, bool)[own],
        transitions=tuple(Transition(t.kind, t.start - a, t.end - a, t.score) for t in mine),
        flow=tuple(r for r in held.flow if begin - 1e-6 <= r.time < stop - 1e-6),
        looks=tuple(k for k in held.looks if begin - 1e-6 <= k.time < stop - 1e-6),
        lost=lost,
        gaps=find_gaps(times[own], reader.info, lost),
        errors=tuple(reader.errors[:3]) if lost else (),
    )


def usual_step(times: np.ndarray, info: VideoInfo) -> float:
    steps = np.diff(times)
    return float(np.median(steps)) if len(steps) else 1.0 / (info.fps or 25.0)


def find_gaps(times: np.ndarray, info: VideoInfo, lost: int) -> tuple[int, ...]:
    """Where frames are missing. In a damaged file a small hole is missing frames; in a whole one it is a low frame rate."""
    usual = usual_step(times, info)
    hole = 3.5 * min(usual, 1.0 / info.fps if info.fps else usual) if lost else max(1.0, 8 * usual)
    return tuple(int(i) + 1 for i in np.flatnonzero(np.diff(times) > hole))


def join(parts: Sequence[Segment]) -> Segment:
    """Consecutive windows as one stretch. What the end of one and the beginning of the next call a transition is one."""
    starts = np.cumsum([0, *(len(p.times) for p in parts)])
    times = np.concatenate([p.times for p in parts])
    lost = sum(p.lost for p in parts)
    shifted = [
        [Transition(t.kind, t.start + int(s), t.end + int(s), t.score) for t in p.transitions] for p, s in zip(parts, starts)
    ]
    found = merge((int(s), int(s) + len(p.times), t) for p, s, t in zip(parts, starts, shifted))
    info = parts[0].info
    return Segment(
        info=info,
        times=times,
        end=parts[-1].end,
        change=np.concatenate([p.change for p in parts]),
        change_peak=np.concatenate([p.change_peak for p in parts]),
        luma=np.concatenate([p.luma for p in parts]),
        contrast=np.concatenate([p.contrast for p in parts]),
        keys=np.concatenate([p.keys for p in parts]),
        transitions=tuple(found),
        flow=tuple(r for p in parts for r in p.flow),
        looks=tuple(k for p in parts for k in p.looks),
        lost=lost,
        gaps=find_gaps(times, info, lost),
        errors=tuple(e for p in parts for e in p.errors)[:3],
    )


def _changes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute difference to the frame before, of the whole picture and of the 4x4 cell that differs most."""
    d = np.abs(np.diff(y.astype(np.int16), axis=0)).astype(np.float32)
    n, h, w = d.shape
    cells = d.reshape(n, h // 4, 4, w // 4, 4).mean((2, 4)).reshape(n, (h // 4) * (w // 4))
    return np.r_[np.float32(0), d.mean((1, 2))].astype(np.float32), np.r_[np.float32(0), cells.max(1)].astype(np.float32)
