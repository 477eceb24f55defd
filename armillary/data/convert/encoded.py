"""Encoded video moved without encoding it again: a stretch cut out of a file, several files joined into one, packets untouched.

A pixel that is encoded twice is not the same pixel. Where an episode begins at a key frame and no frame before or after it is needed to
decode it, its packets are copied; that is so in every file whose episodes were encoded one by one (LeRobot's way, and ours).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from armillary.data.lerobot import stats as st
from armillary.errors import BadInput, Failed
from armillary.media import Reader
from armillary.store import atomic_path

CODEC_NAMES = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "av1", "libvpx-vp9": "vp9"}  # encoder -> what it makes


@dataclass(frozen=True)
class Encoded:
    """A video that was decoded once from end to end.

    Args:
        shape: height, width, 3. stats: of its pictures. codec: `h264`, `av1` ...
        stream: a hash of what two videos must share to be joined.
        even: whether frame `k` is shown at `k / fps`.
    """

    path: Path
    shape: tuple[int, int, int]
    stats: st.Stats
    codec: str
    pix_fmt: str
    stream: str
    even: bool


def look(path: Path, fps: float, count: int) -> Encoded:
    """Decode a video from end to end, keeping twelve of its pictures and no more.

    Args:
        count: frames that it should have.

    Raises:
        BadInput: for one that does not decode whole, or has other frames.
    """
    picks = set(np.linspace(0, count - 1, st.PICTURES).round().astype(int).tolist())
    times, kept = [], []
    with Reader(path) as video:
        for k, (seconds, frame) in enumerate(video.frames()):
            times.append(seconds)
            if k in picks:
                kept.append(video.pixels(frame))
        if video.lost:
            raise BadInput(f"{path.name} does not decode whole ({video.errors[0] if video.errors else 'frames are missing'}).")
        info = video.info
    if len(times) != count:
        raise BadInput(f"{path.name} has {len(times)} frames; {count} were expected.")
    clock = np.array(times) - times[0]
    even = bool(np.abs(clock - np.arange(count) / fps).max() < 1e-3)
    shape = (*kept[0].shape[:2], 3)
    return Encoded(path, shape, st.of_pictures(np.stack(kept)), info.codec, info.pix_fmt, _stream_of(path), even)


def _stream_of(path: Path) -> str:
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        about = f"{context.codec.canonical_name} {context.width}x{context.height} {context.pix_fmt} {stream.time_base} "
        return hashlib.sha256(about.encode() + bytes(context.extradata or b"")).hexdigest()[:16]


def cut(path: Path, times: Sequence[float] | np.ndarray, fps: float, out: Path) -> bool:
    """Copy the packets of the frames shown at `times` (seconds on the file's clock), the first of which is then shown at 0.

    Returns:
        false, and writes nothing, where that would not give exactly these frames: the first is no key frame, other frames lie in
        between, one is missing, or they are not evenly spaced.
    """
    half = 0.5 / fps
    wanted = np.asarray(times, np.float64)
    if np.abs(wanted - wanted[0] - np.arange(len(wanted)) / fps).max() > 1e-3:
        return False
    try:
        with av.open(str(path)) as source, atomic_path(out) as temporary:
            stream = source.streams.video[0]
            if not stream.time_base or len(source.streams.video) > 1:
                raise _Unfit
            base = float(stream.time_base)
            if wanted[0] > 1.0:
                source.seek(int(wanted[0] / base), stream=stream, backward=True)
            packets = _exactly(source, stream, wanted[0] - half, wanted[-1] + half, base, len(wanted))
            with av.open(str(temporary), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as target:
                copy = target.add_stream_from_template(stream, opaque=True)
                copy.time_base = stream.time_base
                shift = min(p.pts for p in packets)
                for packet in packets:
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = copy
                    target.mux(packet)
    except (_Unfit, FFmpegError, ValueError, OverflowError):
        return False
    return True


class _Unfit(Exception):
    """The packets cannot be copied."""


def _exactly(source: Any, stream: Any, begin: float, end: float, base: float, count: int) -> list[Any]:
    """The packets shown between `begin` and `end`: one run in the order of decoding, that begins with a key frame."""
    packets, over = [], False
    for packet in source.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue
        if begin <= packet.pts * base < end:
            if over or packet.is_corrupt or (not packets and not packet.is_keyframe):
                raise _Unfit
            packets.append(packet)
        elif packets:
            over = True
            if packet.is_keyframe or packet.dts * base > end + 1.0:
                break
    if len(packets) != count:
        raise _Unfit
    return packets


def join_videos(paths: Sequence[Path], starts: Sequence[int], fps: float, out: Path) -> Path:
    """Videos of one encoder, one after the other in a single file, packets untouched. `starts[i]` is the frame at which video i begins.

    Raises:
        Failed: when they were encoded differently and cannot share a stream.
    """
    with atomic_path(out) as temporary:
        with av.open(str(temporary), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as joint:
            stream: Any = None
            for path, start in zip(paths, starts):
                with av.open(str(path)) as piece:
                    source = piece.streams.video[0]
                    assert source.time_base is not None  # every container that this room writes has one
                    if stream is None:
                        stream = joint.add_stream_from_template(source, opaque=True)
                        stream.time_base = source.time_base
                        first, base = bytes(source.codec_context.extradata or b""), source.time_base
                    if bytes(source.codec_context.extradata or b"") != first or source.time_base != base:
                        raise Failed(f"{path.name} was encoded with other settings than the episodes before it.")
                    shift = round(start / fps / float(base))
                    for packet in piece.demux(source):
                        if packet.dts is None or packet.pts is None:
                            continue
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        joint.mux(packet)
        os.chmod(temporary, 0o644)
    return out
