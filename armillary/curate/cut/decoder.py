"""Frames of chosen packets, in order. Where a span begins in the group of pictures in which another ended, nothing is decoded twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.codec.context import CodecContext
from av.video.frame import VideoFrame

from armillary.curate.cut.track import Unfit


@dataclass
class Coded:
    """One packet of the source.

    Args:
        pts: in ticks. units: its NAL units. key: the container calls it one, and it is intra coded throughout.
        idr: a decoder can begin here and nothing reaches back.
        needed: other pictures may refer to it.
    """

    packet: Any
    pts: int
    units: list[bytes]
    key: bool
    idr: bool
    needed: bool


@dataclass
class _Stand:
    """Where a decoder was left: begun at the key frame `begin`, fed up to decode time `fed`, everything up to `shown` handed out.

    `spare` came out beyond `shown`.
    """

    begin: int
    fed: int
    shown: int
    spare: list[VideoFrame]


class Decoder:
    """Decodes packets of one stream, with a context of its own: seeking in a container empties that of the stream."""

    def __init__(self, stream: Any) -> None:
        self.context: Any = CodecContext.create(stream.codec_context.name, "r")
        self.context.extradata = stream.codec_context.extradata
        self.context.thread_count = 1
        self.stand: _Stand | None = None
        self._fed: int | None = None

    def frames(self, coded: Sequence[Coded], wanted: np.ndarray, beyond: Iterator[Any] | None = None) -> Iterator[VideoFrame]:
        """Exactly the frames `wanted`, in order. Pictures no other one refers to are not decoded when they are not wanted.

        Args:
            coded: in decode order from a key frame. When the last call began at the same one, decoding goes on where it stopped.
            wanted: times of frames in ticks, ascending.
            beyond: the packets after `coded`. With it the decoder is not emptied at the end but left standing for the next call;
                that takes as many further pictures as the stream sends ahead of their time.

        Raises:
            Unfit: when one of them does not decode whole.
        """
        names, stop, last = set(wanted.tolist()), int(wanted[-1]), None
        stand, self.stand = self.stand, None
        if stand is None or stand.begin != coded[0].pts or stand.shown >= wanted[0]:
            self.context.flush_buffers()
            stand = None
        spare: list[VideoFrame] = []
        begin, self._fed = coded[0].pts, stand.fed if stand else None
        for frame in self._outputs(coded, names, stop, beyond, stand.spare if stand else []):
            if frame.pts is not None and frame.pts in names:
                if frame.is_corrupt or (last is not None and frame.pts <= last):
                    raise Unfit("a frame at an edge does not decode whole")
                names.remove(frame.pts)
                last = frame.pts
                yield frame
            elif beyond is not None and frame.pts is not None and frame.pts > stop:
                spare.append(frame)
        if names:
            raise Unfit("a frame at an edge does not decode")
        if beyond is not None and self._fed is not None:
            self.stand = _Stand(begin, self._fed, stop, spare)

    def _outputs(
        self, coded: Sequence[Coded], names: set[int], stop: int, beyond: Iterator[Any] | None, spare: list[VideoFrame]
    ) -> Iterator[VideoFrame]:
        """What comes out of the decoder; `_fed` follows, and is None once it was emptied."""
        yield from spare
        for c in coded:
            # A picture shown after these may be wanted by who goes on from here.
            if c.needed or c.pts in names or (beyond is not None and c.pts > stop):
                yield from self._feed(c.packet)
        for packet in beyond or ():
            if not names:
                return
            if packet.size and packet.pts is not None:
                yield from self._feed(packet)
        if names or beyond is None:
            self._fed = None
            yield from self.context.decode(None)

    def _feed(self, packet: Any) -> list[VideoFrame]:
        if self._fed is not None and packet.dts is not None and packet.dts <= self._fed:
            return []
        self._fed = packet.dts
        return self.context.decode(packet)
