"""Writing a clip: its packets copied where that is exact, frames encoded where it is not. The span of a clip never changes.

Copying costs a hundredth of encoding, so as much of a clip as possible is copied. Of plain H.264 (8 bit 4:2:0, progressive, upright,
square pixels, undamaged) only the frames before the first IDR picture and a few at the end are encoded (`source`), and what was
written is read back: first picture, every time, the joins. Where that fails, and for every other source, the clip is encoded whole.
`tags["cut"]` says which it was: `copy`, `smart` or `encode`. Audio is left out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.curate.analyse import Segment
from armillary.curate.cut.edge import Encoder
from armillary.curate.cut.source import Source
from armillary.curate.cut.track import Unfit
from armillary.curate.stage import Context
from armillary.media import Reader, write_video
from armillary.media.encode import rate
from armillary.store import atomic_path
from armillary.types import Clip


@dataclass(frozen=True)
class CutConfig:
    """Args:
    copy: whether packets may be copied at all.
    short_side: scale down to so many pixels on the shorter side (this encodes); 0 keeps the size.
    codec, crf, preset: of clips that are encoded whole or for the most part.
    edge_crf, edge_preset: of a few frames encoded beside copied ones (libx264); a slower preset makes them smaller.
    """

    copy: bool = True
    short_side: int = 0
    codec: str = "libx264"
    crf: int = 18
    preset: str = "ultrafast"
    edge_crf: int = 18
    edge_preset: str = "ultrafast"


class Cut:
    """A stage: writes every clip that is not rejected into the context's folder and sets `path`, size and `tags["cut"]`."""

    name = "cut"

    def __init__(self, config: CutConfig | None = None) -> None:
        self.config = config or CutConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        with _Opened(context, self.config.copy and not self.config.short_side) as opened:
            return [clip if clip.rejected else self._one(clip, context, opened) for clip in clips]

    def _one(self, clip: Clip, context: Context, opened: _Opened) -> Clip:
        target = context.folder / f"{clip.id}.mp4"
        source = opened.source()
        if source is not None:
            c, times = self.config, context.segment.times[context.segment.within(clip.start, clip.end)]
            fps = rate(min(1000.0, max(1.0, clip.fps)))
            whole = Encoder(c.crf, c.preset, fps) if c.codec == "libx264" else None
            with contextlib.suppress(Unfit), atomic_path(target) as temporary:
                how = source.cut(temporary, times, clip.end, Encoder(c.edge_crf, c.edge_preset, fps), whole)
                return _described(clip.replace(num_frames=len(times)), target, how)
        return self._encoded(clip, target, opened.reader())

    def _encoded(self, clip: Clip, target: Path, reader: Reader) -> Clip:
        c = self.config
        short = min(clip.width, clip.height)
        ratio = min(1.0, c.short_side / short) if c.short_side else 1.0
        size = (_even(clip.height * ratio), _even(clip.width * ratio))
        times: list[float] = []  # grows ahead of the encoder: of a damaged file, another seek may lose other frames

        def frames() -> Iterator[Any]:
            for seconds, frame in reader.frames(clip.start, clip.end):
                times.append(seconds)
                yield reader.pixels(frame, size)

        write_video(target, frames(), max(1.0, clip.fps), c.codec, c.crf, times=times, preset=c.preset)
        return _described(clip.replace(width=size[1], height=size[0], num_frames=len(times)), target, "encode")


class _Opened:
    """The file of a context, opened once in each of the two ways a clip may need, and only then."""

    def __init__(self, context: Context, copy: bool) -> None:
        self.path, self.stack = context.path, contextlib.ExitStack()
        self._source: Source | None = None
        self._reader: Reader | None = None
        self._copy = copy and copyable(context.segment)

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stack.close()

    def source(self) -> Source | None:
        """To copy from; None where that cannot be."""
        if self._copy and self._source is None:
            try:
                self._source = self.stack.enter_context(Source(self.path))
            except Unfit:
                self._copy = False
        return self._source

    def reader(self) -> Reader:
        if self._reader is None:
            self._reader = self.stack.enter_context(Reader(self.path))
        return self._reader


def _described(clip: Clip, target: Path, how: str) -> Clip:
    """The clip with its file; id and span stay as they are."""
    return clip.replace(path=str(target), tags={**clip.tags, "cut": how})


def _even(side: float) -> int:
    return max(2, math.floor(side / 2 + 0.5) * 2)


def copyable(segment: Segment) -> bool:
    """Whether a source's packets may go into a clip as they are."""
    i = segment.info
    plain = i.codec == "h264" and i.pix_fmt in ("yuv420p", "yuvj420p") and i.bit_depth == 8 and not i.interlaced
    return plain and i.rotation == 0 and not i.mirrored and segment.lost == 0 and i.width % 2 == 0 and i.height % 2 == 0
