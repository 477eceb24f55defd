"""Clips out of H.264 without encoding them whole: packets are copied, only the frames at the edges that no key frame serves are encoded.

A copy can begin only where a decoder can: at an IDR picture. And it can end only where the packets sent so far show every frame up to
one instant and none after it, which pictures sent out of order do not allow everywhere. So a clip is up to three parts,

    head    from the first frame to the first IDR picture inside, decoded and encoded again,
    middle  the source's own packets, as they are,
    tail    the few frames that packets sent ahead of their time leave over at the end, encoded again,

in one track with one sample description. The encoded parts use parameter sets of another id than any of the source's, so that one
configuration record carries both and nothing is sent in the band; every part begins with an IDR picture, so none leans on another.
Recovery points (open groups of pictures) do not do: a picture that is no IDR picture cannot switch parameter sets. A span without an
IDR picture is encoded from end to end, still from the decoder's own planes and with the source's colours and clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from armillary.curate.cut import avc
from armillary.curate.cut.decoder import Coded, Decoder
from armillary.curate.cut.edge import Edge, Encoder
from armillary.curate.cut.track import Part, Unfit, check, planes, write

HELD = 256 << 20  # bytes of packets of one clip held at once (twice: as they came and as NAL units); more is left to the caller
BEYOND = 64  # packets that may follow before a frame of the span is given up for lost: four times what H.264 allows


class Source:
    """An open file whose packets may be copied. Use as a context manager.

    Raises:
        Unfit: when it is no plain progressive 8-bit 4:2:0 H.264 with square pixels.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
        except (FFmpegError, OSError, ValueError) as error:
            raise Unfit(f"it does not open: {error}") from error
        try:
            self._inspect()
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: Any) -> None:
        self.container.close()

    def _inspect(self) -> None:
        real = [s for s in self.container.streams.video if not s.disposition & type(s.disposition).attached_pic]
        if not real or real[0].codec_context.name != "h264" or not real[0].time_base:
            raise Unfit("it holds no H.264 stream with a clock")
        self.stream: Any = real[0]
        self.decoder = Decoder(self.stream)
        self.base = Fraction(self.stream.time_base)
        if self.stream.sample_aspect_ratio not in (None, 0, 1):
            raise Unfit("its pixels are not square")
        try:
            self.sets, self.length = avc.read_sets(self.stream.codec_context.extradata or b"")
            known = [avc.parse(unit) for (kind, _), unit in self.sets.items() if kind == avc.SPS]
        except (ValueError, IndexError) as error:
            raise Unfit(f"its parameter sets do not read: {error}") from error
        if not all(s.progressive and s.chroma == 1 and s.depth == (8, 8) for s in known):
            raise Unfit("it is not progressive 8-bit 4:2:0")

    def cut(self, target: Path, times: np.ndarray, end: float, edges: Encoder, whole: Encoder | None = None) -> str:
        """Write the frames shown at `times` (seconds on the stream's clock, the last until `end`) as an mp4.

        Args:
            edges: for the frames beside copied ones. whole: for a span of which more than half must be encoded (None: `edges` does that
                too, and a span without an IDR picture is unfit).

        Returns:
            `copy` when every packet is the source's, `smart` when some frames were encoded, `encode` when all were.

        Raises:
            Unfit: when this is not possible, or what was written does not pass its check. The file may then be half written.
        """
        stamps = np.rint(times / float(self.base)).astype(np.int64)
        if not len(stamps) or (np.abs(stamps * float(self.base) - times) > 1e-6).any() or (np.diff(stamps) <= 0).any():
            raise Unfit("its frames do not lie on the stream's clock")
        try:
            sent = self._sent(stamps)
            found = entry(sent, stamps)
            if found is not None:
                few = 2 * (len(stamps) - found[1]) <= len(stamps)
                parts, sets = self._joined(sent, stamps, found, edges if few or whole is None else whole)
            elif whole is not None:
                parts, sets = self._encoded(sent, stamps, whole)
            else:
                raise Unfit("no IDR picture lies inside")
            write(target, self.stream, parts, max(1, round(end / self.base) - int(stamps[-1])), sets)
            check(target, self.base, stamps, parts)
        except (FFmpegError, ValueError, IndexError, OverflowError) as error:
            raise Unfit(f"{error}") from error
        return "encode" if found is None else "copy" if len(parts) == 1 else "smart"

    def _sent(self, stamps: np.ndarray) -> list[Coded]:
        """Packets in decode order, from a key frame shown at or before the first stamp until all of the span have come."""
        second = max(1, round(1 / self.base))
        back = 0
        while back < 100 * second:  # where seeking goes by decode times, or by guesses, it may end too late
            self.container.seek(int(stamps[0]) - back, stream=self.stream, backward=True)
            found = self._until(stamps)
            if found is not None:
                return found
            back = max(second, 4 * back)
        raise Unfit("no key frame precedes it")

    def _until(self, stamps: np.ndarray) -> list[Coded] | None:
        """As `_sent`, from where the file stands; None when the first key frame from there on is too late."""
        begin, stop, missing = int(stamps[0]), int(stamps[-1]), set(stamps.tolist())
        sent: list[Coded] = []
        held = ahead = 0
        for packet in self.container.demux(self.stream):
            if packet.size == 0:
                continue
            if packet.pts is None or packet.is_corrupt:
                raise Unfit("a packet is damaged or has no time")
            coded = _coded(packet, self.length)
            if coded.key and (not sent or packet.pts <= begin):
                if packet.pts > begin:
                    return None
                sent, held = [], 0  # nothing before this key frame is needed
            elif not sent:
                if packet.pts > stop:
                    return None
                continue
            if begin <= packet.pts <= stop:
                if packet.pts not in missing or packet.is_discard:
                    raise Unfit("its packets are not the frames that were seen")
                missing.remove(packet.pts)
            sent.append(coded)
            held += packet.size
            ahead += packet.pts > stop
            if not missing:
                return sent
            if held > HELD:
                raise Unfit("its packets are too many to hold")
            if ahead > BEYOND:
                break
        if not sent:
            return None
        raise Unfit("frames are missing")

    def _joined(
        self, sent: Sequence[Coded], stamps: np.ndarray, found: tuple[int, int], encoder: Encoder
    ) -> tuple[list[Part], dict[tuple[int, int], bytes]]:
        """Head, middle and tail, as far as they are, and the parameter sets of all."""
        first, count = found
        middle = sent[first : first + count]
        sets = self._sets(middle)
        edge = Edge(self.stream, encoder, sets)
        inside = int(np.searchsorted(stamps, middle[0].pts))
        parts = []
        # The middle's first frame is decoded along with the head, to be compared with the clip's.
        frames = self.decoder.frames(sent[: first + 1] if inside else middle[:1], stamps[: inside + 1])
        if inside:
            parts.append(edge.encode(frames, inside, int(stamps[0]), _slice(middle[0]) if inside == 1 else None))
        copied = [(c.pts, avc.sample(_kept(c.units)), c.key) for c in middle]
        parts.append(Part(copied, planes(_last(frames)), exact=True))
        tail = stamps[inside + count :]
        if len(tail):
            begin = max(k for k, c in enumerate(sent) if c.key and c.pts <= tail[0])
            frames = self.decoder.frames(sent[begin:], tail, self.container.demux(self.stream))
            parts.append(edge.encode(frames, len(tail), int(stamps[0]), _slice(middle[-1]) if middle[-1].idr else None))
            _last(frames)
        return parts, sets | edge.sets

    def _encoded(
        self, sent: Sequence[Coded], stamps: np.ndarray, encoder: Encoder
    ) -> tuple[list[Part], dict[tuple[int, int], bytes]]:
        """The whole span, and the encoder's parameter sets."""
        edge = Edge(self.stream, encoder, {})
        frames = self.decoder.frames(sent, stamps, self.container.demux(self.stream))
        parts = [edge.encode(frames, len(stamps), int(stamps[0]))]
        _last(frames)
        return parts, edge.sets

    def _sets(self, middle: Sequence[Coded]) -> dict[tuple[int, int], bytes]:
        """The parameter sets in force over the middle. What is sent in the band counts when it never changes there."""
        sets, sent = dict(self.sets), {}
        for k, coded in enumerate(middle):
            for unit in coded.units:
                if unit[0] & 31 not in (avc.SPS, avc.PPS):
                    continue
                name = (unit[0] & 31, avc.ident(unit))
                if sent.setdefault(name, unit) != unit or (k and sets.get(name) != unit):
                    raise Unfit("its parameter sets change on the way")
                sets[name] = unit
        return sets


def entry(sent: Sequence[Coded], stamps: np.ndarray) -> tuple[int, int] | None:
    """Place in `sent` of the first IDR picture of the span, and how many packets from there show a whole stretch; None without one."""
    first = next((k for k, c in enumerate(sent) if c.idr and c.key and c.pts >= stamps[0]), None)
    if first is None or sent[first].pts > stamps[-1]:
        return None
    if any(c.pts < sent[first].pts for c in sent[first:]):
        raise Unfit("pictures reach back over an IDR picture")
    place = int(np.searchsorted(stamps, sent[first].pts))
    count, highest = 0, -1
    for k, coded in enumerate(sent[first:]):
        if coded.pts > stamps[-1]:
            break
        highest = max(highest, int(np.searchsorted(stamps, coded.pts)) - place)
        if highest == k:  # k + 1 packets, and the latest shown of them is frame k: none is missing between
            count = k + 1
    return first, count


def _coded(packet: Any, length: int) -> Coded:
    units = avc.units(memoryview(packet), length)
    kinds = [unit[0] & 31 for unit in units]
    drawn = [unit for unit, kind in zip(units, kinds) if kind in (avc.SLICE, avc.IDR)]
    if not drawn or any(kind in avc.PARTITIONS or kind in avc.LAYERED for kind in kinds):
        raise Unfit("a packet holds no plain picture")
    idr = all(unit[0] & 31 == avc.IDR for unit in drawn)
    # Containers call a recovery point a key frame even where the picture becomes whole only some frames later.
    key = packet.is_keyframe and all(avc.intra(unit) for unit in drawn)
    return Coded(packet, packet.pts, units, key, idr, any(unit[0] & 0x60 for unit in drawn))


def _slice(coded: Coded) -> bytes:
    return next(unit for unit in coded.units if unit[0] & 31 in (avc.SLICE, avc.IDR))


def _kept(units: Sequence[bytes]) -> list[bytes]:
    """Without what the configuration record holds and an mp4 has no use for."""
    return [unit for unit in units if unit[0] & 31 not in (avc.SPS, avc.PPS, avc.DELIMITER, avc.FILLER)]


def _last(frames: Iterator[Any]) -> Any:
    """The last frame of the rest, to whose end one must go: there the decoder says what is missing."""
    kept = deque(frames, maxlen=1)
    return kept[0] if kept else None
