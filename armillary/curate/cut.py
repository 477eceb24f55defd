"""Writing a clip: by copying packets where that is exact, by encoding where it is not.

A copy is a hundred times cheaper than an encode, and can only begin at a key frame. It is taken when the source is plain H.264 (8 bit
4:2:0, upright, square pixels), a key frame lies at the clip's start or within `slack` after it, no later picture reaches back over that
frame (closed GOP), and the packets can be cut off cleanly at the end. The first frame of what was written is then decoded and compared
with the source's; if they differ, or the number of frames does, the clip is encoded after all. Audio is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from armillary.curate.analyse import Segment, luma
from armillary.curate.split import clip_of
from armillary.curate.stage import Context
from armillary.media import MediaError, Reader, write_video
from armillary.store import atomic_path
from armillary.types import Clip


@dataclass(frozen=True)
class CutConfig:
    """Args:
    copy: whether packets may be copied at all.
    slack: seconds (and at most a tenth of the clip) that may be given up at each end so that a copy is possible.
    short_side: scale down to so many pixels on the shorter side (this encodes); 0 keeps the size.
    codec, crf, preset: of the encoder.
    """

    copy: bool = True
    slack: float = 1.0
    short_side: int = 0
    codec: str = "libx264"
    crf: int = 18
    preset: str = "ultrafast"


@dataclass(frozen=True)
class _Run:
    """Packets of one stream from a key frame on, in decode order, and the span they show."""

    packets: list[Any]
    start: float
    end: float
    base: int


class Cut:
    """A stage: writes every clip that is not rejected into the context's folder and sets `path`, span, size and `tags["cut"]`."""

    name = "cut"

    def __init__(self, config: CutConfig | None = None) -> None:
        self.config = config or CutConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [clip if clip.rejected else self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        if self.config.copy and copyable(context.segment) and not self.config.short_side:
            copied = self._copied(clip, context)
            if copied is not None:
                return copied
        return self._encoded(clip, context)

    def _copied(self, clip: Clip, context: Context) -> Clip | None:
        segment, slack = context.segment, min(self.config.slack, 0.1 * (clip.end - clip.start))
        inside = segment.within(clip.start, clip.end)
        keys = inside.start + np.flatnonzero(segment.keys[inside])
        if not len(keys) or segment.times[keys[0]] - clip.start > slack + 1e-6:
            return None
        start = float(segment.times[keys[0]])
        try:
            with av.open(f"file:{context.path}", options={"protocol_whitelist": "file"}) as container:
                stream = container.streams.video[0]
                run = _packets(container, stream, start, clip.end)
                if run is None or clip.end - run.end > slack + 1e-6:
                    return None
                new = clip_of(segment, start, run.end, context.content, clip.source)
                if new.num_frames != len(run.packets):
                    return None
                target = context.folder / f"{new.id}.mp4"
                with atomic_path(target) as temporary:
                    _mux(temporary, stream, run)
                    good = _same_first_frame(context.path, start, temporary)
                if not good:
                    target.unlink()
                    return None
        except FFmpegError:
            return None  # a container that cannot be sought or copied from is decoded instead
        return _described(clip, new, target, "copy")

    def _encoded(self, clip: Clip, context: Context) -> Clip:
        c = self.config
        short = min(clip.width, clip.height)
        ratio = min(1.0, c.short_side / short) if c.short_side else 1.0
        size = (_even(clip.height * ratio), _even(clip.width * ratio))
        times = context.segment.times[context.segment.within(clip.start, clip.end)]
        target = context.folder / f"{clip.id}.mp4"
        with Reader(context.path) as reader:
            frames = (reader.pixels(frame, size) for _, frame in reader.frames(clip.start, clip.end))
            write_video(target, frames, max(1.0, clip.fps), c.codec, c.crf, times=[float(t) for t in times], preset=c.preset)
        return _described(clip, clip.replace(width=size[1], height=size[0]), target, "encode")


def _described(old: Clip, new: Clip, target: Path, how: str) -> Clip:
    return old.replace(
        id=new.id, start=new.start, end=new.end, fps=new.fps, num_frames=new.num_frames, width=new.width, height=new.height,
        path=str(target), tags={**old.tags, "cut": how},
    )  # fmt: skip


def _even(side: float) -> int:
    return max(2, math.floor(side / 2 + 0.5) * 2)


def copyable(segment: Segment) -> bool:
    """Whether a source's packets may go into a clip as they are."""
    i = segment.info
    plain = i.codec == "h264" and i.pix_fmt in ("yuv420p", "yuvj420p") and i.bit_depth == 8 and not i.interlaced
    return plain and i.rotation == 0 and not i.mirrored and segment.lost == 0 and i.width % 2 == 0 and i.height % 2 == 0


def _packets(container: Any, stream: Any, start: float, end: float) -> _Run | None:
    """The longest clean run of packets from the key frame at `start` on that shows nothing at or after `end`."""
    base = float(stream.time_base)
    if stream.sample_aspect_ratio not in (None, 0, 1):
        return None
    first = round(start / base)
    container.seek(first, stream=stream, backward=True)
    packets: list[Any] = []
    ahead = 0
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.pts is None:
            return None
        if not packets and not (packet.is_keyframe and abs(packet.pts - first) <= 1):
            if packet.pts > first + 1 and packet.is_keyframe:
                return None
            continue
        if packets and packet.pts < packets[0].pts:
            return None  # an open GOP: this picture needs one from before
        packets.append(packet)
        ahead = ahead + 1 if packet.pts * base >= end - 1e-6 else 0
        if ahead > 32:
            break
    if not packets or not _decode_times(packets):
        return None
    stamps = np.array([p.pts for p in packets], np.int64)
    highest = np.maximum.accumulate(stamps)
    lowest_after = np.append(np.minimum.accumulate(stamps[::-1])[::-1][1:], np.iinfo(np.int64).max)
    clean = np.flatnonzero((highest < lowest_after) & (highest * base < end - 1e-6))
    if not len(clean):
        return None
    m = int(clean[-1]) + 1
    stop = float(stamps[m:].min() * base) if m < len(stamps) else end
    return _Run(packets[:m], start, min(end, stop), int(stamps[0]))


def _decode_times(packets: list[Any]) -> bool:
    """Matroska leaves out the first decode times: count them back from the first that is there. False when there is none."""
    known = [i for i, p in enumerate(packets) if p.dts is not None]
    if not known or any(p.dts is None for p in packets[known[0] :]):
        return False
    step = max(1, (packets[known[-1]].dts - packets[known[0]].dts) // max(1, known[-1] - known[0]))
    for i in range(known[0] - 1, -1, -1):
        packets[i].dts = packets[i + 1].dts - step
    return True


def _mux(path: Path, stream: Any, run: _Run) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        target = out.add_stream_from_template(stream)
        for packet in run.packets:
            packet.pts -= run.base
            packet.dts -= run.base
            packet.stream = target
            out.mux(packet)


def _same_first_frame(source: Path, start: float, copy: Path) -> bool:
    """Whether the copy decodes and its first frame is the source's at `start`."""
    try:
        with Reader(source) as a, Reader(copy) as b:
            (_, left), (_, right) = next(a.frames(start)), next(b.frames())
            return bool(np.array_equal(luma(left), luma(right)))
    except (MediaError, StopIteration):
        return False
