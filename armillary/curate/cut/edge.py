"""Encoding the frames of a clip that cannot be copied, so that they join on to packets that were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from armillary.curate.cut import avc
from armillary.curate.cut.track import Part, Sample, Unfit, planes


@dataclass(frozen=True)
class Encoder:
    """Settings of libx264.

    Args:
        fps: what its rate control reckons with; times are kept as they are.
    """

    crf: int
    preset: str
    fps: Fraction


class Edge:
    """Encodes frames as packets of the stream they came from would be: same size, colours and clock, parameter sets of another id.

    Args:
        stream: the source's.
        beside: parameter sets in force in the packets these frames join on to; empty when they stand alone.

    Attributes:
        sets: the encoder's own parameter sets, once something was encoded.
    """

    def __init__(self, stream: Any, encoder: Encoder, beside: avc.Sets) -> None:
        self.stream, self.config = stream, encoder
        taken = {name for _, name in beside}
        self.name = next((n for n in range(32) if n not in taken), None)
        self.beside = [avc.parse(unit) for (kind, _), unit in sorted(beside.items()) if kind == avc.SPS]
        self.alone = not beside
        self.sets: dict[tuple[int, int], bytes] = {}

    def encode(self, frames: Iterator[Any], count: int, zero: int, neighbour: bytes | None = None) -> Part:
        """The next `count` frames, of which there is at least one.

        Args:
            zero: the encoder counts time from here, in ticks; samples have the source's own times again.
            neighbour: a slice of the IDR picture right before or after the first of these, when there is one.
        """
        if self.name is None or (len(self.beside) != 1 and not self.alone):
            raise Unfit("its parameter sets leave no id free, or are several")
        # IDR pictures side by side must differ in idr_pic_id (7.4.3); libx264 counts 0, 1, 0, ...: a frame too many in front makes it 1.
        spare = neighbour is not None and avc.picture_id(neighbour, self.beside[0]) == 0
        first = next(frames)
        context, picture, out = self._open(first), planes(first), []
        for k in range(-spare, count):
            frame = first if k <= 0 else next(frames)
            stamp = frame.pts
            frame.pict_type = PictureType.I if k <= 0 else PictureType.NONE  # the source's choice is not ours
            frame.pts = stamp - zero - (k < 0)
            out += context.encode(frame)
            frame.pts = stamp
        out += context.encode(None)
        self._accept(*avc.read_sets(context.extradata or b""))
        samples: list[Sample] = []
        for packet in out[spare:]:
            units = [unit for unit in avc.units(memoryview(packet), 0) if unit[0] & 31 in (avc.SLICE, avc.IDR)]
            samples.append((packet.pts + zero, avc.sample(units), packet.is_keyframe))
        return Part(samples, picture)

    def _open(self, frame: Any) -> Any:
        c, source = self.config, self.stream.codec_context
        context: Any = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
        context.time_base, context.framerate = Fraction(self.stream.time_base), c.fps
        context.thread_count = 1  # the same bytes every time
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(context, name, getattr(source, name))
        if self.stream.sample_aspect_ratio == 1:
            context.sample_aspect_ratio = Fraction(1)
        context.flags = Flags.global_header | Flags.bitexact
        options = {"crf": str(c.crf), "preset": c.preset, "forced-idr": "1", "a53cc": "0"}
        options["x264-params"] = f"sps-id={self.name}:open-gop=0"
        if not self.alone:  # no pictures out of order beside a copy, and nothing its profile does not know
            options |= {"bf": "0", "profile": {66: "baseline", 77: "main"}.get(self.beside[0].profile, "high")}
        context.options = options
        return context

    def _accept(self, sets: dict[tuple[int, int], bytes], length: int) -> None:
        """Take over the encoder's parameter sets when they are what was asked for."""
        if length or set(sets) != {(avc.SPS, self.name), (avc.PPS, self.name)} or (self.sets and sets != self.sets):
            raise Unfit("the encoder's parameter sets are not as asked for")
        ours = next(avc.parse(unit) for (kind, _), unit in sets.items() if kind == avc.SPS)
        if any((ours.size, ours.crop) != (theirs.size, theirs.crop) for theirs in self.beside):
            raise Unfit("its pictures are stored in another shape than the encoder's")
        self.sets = sets
