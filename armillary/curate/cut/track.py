"""The mp4 a clip becomes: one track from parts that were copied or encoded, written to the tick and read back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from armillary.curate.cut import avc

LEAST = 35.0  # dB of an encoded frame against its source, below which a cut does not count as good
PEEK = 3  # samples after a join that are decoded to check it

Sample = tuple[int, bytes, bool]  # when it is shown, in ticks; its NAL units behind their lengths; whether it is a key frame


class Unfit(Exception):
    """Why a span cannot be cut by handling packets, in words."""


@dataclass(frozen=True)
class Part:
    """A stretch of a clip that begins with an IDR picture.

    Args:
        samples: in decode order.
        picture: planes of the source's first frame in it, uint8 `h w` each. exact: the clip's must be the same.
    """

    samples: list[Sample]
    picture: list[np.ndarray]
    exact: bool = False


def planes(frame: Any) -> list[np.ndarray]:
    """Luma and chroma as the decoder gives them, copied: uint8 `h w` each."""
    return [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width].copy() for p in frame.planes[:3]]


def decode_times(stamps: Sequence[int], last: int) -> list[int]:
    """Decode times of samples that are shown at `stamps`, which come in decode order; `last` is how long the last one is shown.

    The k-th sample is decoded when the frame `reorder` places before the k-th shown one is: the smallest delay with which no sample is
    decoded after it is shown. They rise strictly, whatever the container the samples come from had to say.
    """
    shown = sorted(stamps)
    rank = {pts: k for k, pts in enumerate(shown)}
    reorder = max(k - rank[pts] for k, pts in enumerate(stamps))
    step = shown[1] - shown[0] if len(shown) > 1 else last
    return [shown[k - reorder] if k >= reorder else shown[0] - (reorder - k) * step for k in range(len(shown))]


def write(path: Path, template: Any, parts: Sequence[Part], last: int, sets: avc.Sets) -> None:
    """An mp4 with one track, its time scale a whole multiple of the source's, so that every time is kept to the tick.

    Args:
        template: the source's stream: its size, colours and time base are kept.
        last: ticks the last frame is shown.
        sets: parameter sets for all parts; they go into the configuration record, none into the samples.
    """
    samples = [s for part in parts for s in part.samples]
    base, zero = Fraction(template.time_base), min(pts for pts, _, _ in samples)
    scale = base.denominator * math.ceil(10_000 / base.denominator)
    stamps = [pts - zero for pts, _, _ in samples]
    shown = sorted(stamps)
    until = dict(zip(shown, [*shown[1:], shown[-1] + last]))
    options = {"movflags": "+faststart", "fflags": "+bitexact", "video_track_timescale": str(scale)}
    with av.open(str(path), "w", format="mp4", options=options) as out:
        track: Any = out.add_stream_from_template(template)
        track.codec_context.extradata = avc.record(sets)
        for pts, dts, (_, data, key) in zip(stamps, decode_times(stamps, last), samples):
            packet: Any = av.Packet(data)
            packet.pts, packet.dts, packet.duration, packet.time_base = pts, dts, until[pts] - pts, base
            packet.is_keyframe, packet.stream = key, track
            out.mux(packet)


def check(path: Path, base: Fraction, stamps: np.ndarray, parts: Sequence[Part]) -> None:
    """Read a written clip back.

    Every packet's time is compared with the span's. Of each part the first samples are decoded, one part after the other by one
    decoder that raises on what it would otherwise cover up; the first picture must be the source's, or within `LEAST` dB of it.

    Args:
        base: of `stamps`, the span's times in ticks, int64 `n`.

    Raises:
        Unfit: saying what differs.
    """
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        stream: Any = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        scale = base / Fraction(stream.time_base)
        times = sorted(p.pts for p in packets if p.pts is not None and not p.is_discard)
        if scale.denominator != 1 or len(times) != len(stamps) or len(packets) != len(stamps):
            raise Unfit("what was written does not have the span's frames")
        if (np.array(times, np.int64) - times[0] != (stamps - stamps[0]) * scale.numerator).any():
            raise Unfit("what was written does not have the span's times")
        begin, fed, starts = 0, [], []
        for part in parts:
            starts.append(packets[begin].pts)
            fed += packets[begin : begin + min(PEEK, len(part.samples))]
            begin += len(part.samples)
        stream.codec_context.options = {"err_detect": "explode"}
        seen = {frame.pts: frame for packet in (*fed, None) for frame in stream.codec_context.decode(packet)}
        if sorted(seen) != sorted(p.pts for p in fed) or any(frame.is_corrupt for frame in seen.values()):
            raise Unfit("a join does not decode")
        for start, part in zip(starts, parts):
            _same(planes(seen[start]), part)


def _same(written: list[np.ndarray], part: Part) -> None:
    if part.exact:
        if not all(np.array_equal(a, b) for a, b in zip(written, part.picture)):
            raise Unfit("a copied picture is not the source's")
        return
    error = float(np.mean(np.square(written[0].astype(np.float32) - part.picture[0])))
    if error and 10 * math.log10(255**2 / error) < LEAST:
        raise Unfit("an encoded picture is too far from the source's")
