"""Footage for cutting: every picture carries its number, so that a clip can be read back frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from armillary.curate.cut import Cut, CutConfig
from armillary.curate.split import clip_id
from armillary.curate.stage import Context
from armillary.media import Reader, VideoInfo
from armillary.types import Clip

WIDTH, HEIGHT, BLOCK, FRAMES = 160, 96, 16, 150


def picture(number: int) -> np.ndarray:
    """uint8 `h w`: waves that move, and in the top row the number in ten black or white blocks."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    out = (128 + 60 * np.sin((x + 3 * number) / 9) * np.cos((y - 2 * number) / 7)).astype(np.uint8)
    for bit in range(10):
        out[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 230 if number >> bit & 1 else 25
    return out


def number(frame: Any) -> int:
    row = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)[:BLOCK, :WIDTH]
    return sum(int(row[:, b * BLOCK : (b + 1) * BLOCK].mean() > 128) << b for b in range(10))


def film(
    path: Path,
    options: str = "",
    codec: str = "libx264",
    stamps: list[int] | None = None,
    base: Fraction = Fraction(1, 12800),
    **stream: Any,
) -> Path:
    """A source whose frame k shows k. `options` as `g=48:bf=3`; `stamps` in ticks of `base`, 25 frames a second unless given."""
    stamps = stamps or [512 * k for k in range(FRAMES)]
    rotation = stream.pop("rotation", 0)
    pixels = stream.pop("pix_fmt", "yuv420p")
    settings = dict(pair.split("=", 1) for pair in options.split(",") if pair)
    settings |= {"preset": "ultrafast", "threads": "1"} if "preset" not in settings else {"threads": "1"}
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream(codec, rate=25, options=settings)
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, pixels
        track.codec_context.time_base = base
        for name, value in stream.items():
            setattr(track.codec_context, name, value)
        if rotation:
            track.set_display_rotation(rotation)
        for k, stamp in enumerate(stamps):
            grey = av.VideoFrame.from_ndarray(picture(k), format="gray").reformat(format=pixels)
            grey.pts, grey.time_base = stamp, base
            container.mux(track.encode(grey))
        container.mux(track.encode(None))
    return path


@dataclass
class Seen:
    """As much of a segment as a cut looks at."""

    info: VideoInfo
    times: np.ndarray
    end: float
    keys: np.ndarray
    lost: int

    def within(self, start: float, end: float) -> slice:
        return slice(int(np.searchsorted(self.times, start - 1e-6)), int(np.searchsorted(self.times, end - 1e-6)))


def seen(path: Path) -> Seen:
    with Reader(path) as reader:
        rows = [(seconds, bool(frame.key_frame)) for seconds, frame in reader.frames()]
        times = np.array([r[0] for r in rows])
        return Seen(reader.info, times, float(times[-1] + 0.04), np.array([r[1] for r in rows]), reader.lost)


def clips_of(path: Path, spans: list[tuple[int, int]], folder: Path, config: CutConfig | None = None) -> list[Clip]:
    whole: Any = seen(path)
    clock = np.r_[whole.times, whole.end]
    clips = []
    for a, b in spans:
        start, end = round(float(clock[a]), 6), round(float(clock[b]), 6)
        size = {"width": whole.info.width, "height": whole.info.height, "num_frames": b - a, "fps": (b - a) / (end - start)}
        clips.append(Clip(id=clip_id("c", start, end), source="s", start=start, end=end, start_frame=a, **size))
    folder.mkdir(exist_ok=True)
    done = Cut(config).process(clips, Context(whole, path, path.name, "c", folder))
    assert [(c.id, c.start, c.end, c.num_frames) for c in done] == [(c.id, c.start, c.end, c.num_frames) for c in clips]
    return done


def read(path: str | Path, begin: float | None = None) -> tuple[list[int], list[Fraction]]:
    """(numbers, times) of every frame that comes out of a plain decoder, from the start or after a seek."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        if begin is None:
            stream.codec_context.options = {"err_detect": "explode"}
        else:  # in an open group the pictures that reach back are left out, as in the source
            container.seek(int(begin / stream.time_base), stream=stream, backward=True)
        frames = [(number(f), f.pts * stream.time_base) for f in container.decode(stream)]
    return [n for n, _ in frames], [t for _, t in frames]


def exact(source: Path, spans: list[tuple[int, int]], done: list[Clip], ticks: bool = True) -> None:
    """Numbers and times of every clip, from the start and from a seek into the middle."""
    _, clock = read(source)
    for (a, b), clip in zip(spans, done):
        numbers, times = read(clip.path)
        assert numbers == list(range(a, b))
        wanted = [t - clock[a] for t in clock[a:b]]
        assert (
            [t - times[0] for t in times] == wanted
            if ticks
            else np.allclose([float(t - times[0]) for t in times], [float(w) for w in wanted], atol=1e-4)
        )
        late, _ = read(clip.path, float(times[len(times) // 2]))
        assert late == list(range(late[0], b)) and a <= late[0] <= a + (b - a) // 2
