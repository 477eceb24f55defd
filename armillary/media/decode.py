"""Reading video with PyAV: upright RGB frames with square pixels, each with its own time.

Times are `pts x time_base` of the stream, never frame number over frame rate: a variable frame rate is kept as it is. Rotation and
mirroring (the display matrix) and the sample aspect ratio are applied before anything is resized. Decoding is single threaded unless
asked otherwise, so that a pool of workers does not fight over cores and every run decodes the same bytes in the same order.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.sidedata.sidedata import Type as SideData

from armillary.media.errors import MediaError, shown
from armillary.types import Video

# Containers that are lists of other files or addresses. Following them would read what the caller never named.
PLAYLISTS = frozenset({"hls", "dash", "concat", "concatf", "imf", "rtsp", "sdp"})


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded.

    Args:
        pixels: of one frame; seconds: of a whole file; frames: declared by it; bytes: of decoded pixels held at once.
    """

    pixels: int = 8192 * 8192
    seconds: float = 8 * 3600.0
    frames: int = 4_000_000
    bytes: int = 4 << 30


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself, checked by decoding its first frame.

    Args:
        width, height: of an upright frame with square pixels.
        fps: mean frames a second; 0 when the file does not say.
        num_frames: the container's count, or seconds x fps, or 0: an estimate.
        duration: seconds; 0 when unknown. start: time of the first frame on the stream's clock.
        rotation: degrees counter-clockwise that the stored picture is turned to stand upright (0, 90, 180, 270).
        mirrored: whether it is also flipped left to right (after turning).
        bit_depth: of the luma. interlaced: of the first frame. hdr: a PQ or HLG transfer curve (no tone mapping is done).
    """

    path: str
    width: int
    height: int
    fps: float
    num_frames: int
    duration: float
    codec: str
    pix_fmt: str
    rotation: int = 0
    mirrored: bool = False
    has_audio: bool = False
    start: float = 0.0
    bit_depth: int = 8
    interlaced: bool = False
    hdr: bool = False
    container: str = ""


def orientation(frame: Any) -> tuple[int, bool]:
    """(degrees counter-clockwise, mirrored) from a frame's display matrix; (0, False) without one.

    The matrix maps stored to shown pixels, row vectors times `[[a b u] [c d v] [x y w]]` in 16.16 fixed point, y down
    (ISO 14496-12, 6.2.2). A negative determinant is a mirror: it is split off as a left-right flip after the turn.
    """
    side = next((s for s in frame.side_data if s.type == SideData.DISPLAYMATRIX), None)
    if side is None:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side)[:36])
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the flip (x -> -x on the shown side) and read the rotation that is left
        a, c = -a, -c
    return round(-math.degrees(math.atan2(b, a)) / 90) * 90 % 360, mirrored


class Reader:
    """An open video stream. Use as a context manager.

    Args:
        path: a local file; playlists and addresses are refused.
        limits: what is refused before decoding.
        threads: decoder threads.
        fast: skip the in-loop deblocking filter: about a quarter less time, slightly blocky frames. For measuring, never for keeping.

    Attributes:
        info: a `VideoInfo`.
        errors: sentences about packets that did not decode, so far.
        lost: frames left out because of them, at least.

    Raises:
        MediaError: see `KINDS`.
    """

    def __init__(self, path: str | Path, limits: Limits | None = None, threads: int = 1, fast: bool = False) -> None:
        self.path = Path(path)
        self.limits = limits or Limits()
        self.threads, self.fast = threads, fast
        self.errors: list[str] = []
        self.lost = 0
        self.container, self.stream = self._open()
        try:
            self._check_limits()
            self.info, self._turn = self._inspect()
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.container.close()

    def _open(self) -> tuple[Any, Any]:
        name = shown(self.path)
        try:
            size = self.path.stat().st_size if self.path.is_file() else -1
        except (OSError, ValueError) as error:
            raise MediaError(f"{name} cannot be read: {error}.", "not_found") from error
        if size < 0:
            raise MediaError(f"{name} is not a file.", "not_found")
        if size == 0:
            raise MediaError(f"{name} is empty (0 bytes).", "empty_file")
        options = {"protocol_whitelist": "file", "pattern_type": "none"}
        try:
            container = av.open(f"file:{self.path}", options=options, metadata_errors="replace")
        except (FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{name} is no video that can be opened ({_words(error)}).", "invalid_container") from error
        if PLAYLISTS & set(container.format.name.split(",")):
            container.close()
            raise MediaError(
                f"{name} is a playlist ({container.format.name}); give the video files themselves.", "invalid_container"
            )
        real = [s for s in container.streams.video if not _is_cover(s)]
        if not real:
            container.close()
            raise MediaError(f"{name} holds no video stream.", "no_video_stream")
        if real[0].codec_context is None:
            container.close()
            raise MediaError(f"{name} is in a codec that no decoder here knows.", "decode_error")
        return container, self._prepare(real[0])

    def _prepare(self, stream: Any) -> Any:
        stream.codec_context.thread_count = self.threads
        if self.fast:
            stream.codec_context.options = {"skip_loop_filter": "all"}
        return stream

    def _check_limits(self) -> None:
        s, limits, name = self.stream, self.limits, shown(self.path)
        if s.width * s.height > limits.pixels:
            raise MediaError(
                f"{name} has frames of {s.width}x{s.height}; the limit is {limits.pixels / 1e6:.0f} Mpixel.", "limit_exceeded"
            )
        seconds = self._seconds()
        if seconds > limits.seconds:
            raise MediaError(
                f"{name} is {seconds / 3600:.1f} hours long; the limit is {limits.seconds / 3600:.1f}.", "limit_exceeded"
            )
        if s.frames > limits.frames:
            raise MediaError(f"{name} declares {s.frames} frames; the limit is {limits.frames}.", "limit_exceeded")

    def _seconds(self) -> float:
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return float(self.container.duration or 0) / av.time_base

    def _inspect(self) -> tuple[VideoInfo, tuple[int, bool]]:
        decoded = self._decoded()
        first = next(decoded, None)
        if first is None:
            raise MediaError(f"{shown(self.path)} holds a video stream of which no frame decodes.", "decode_error")
        seconds, frame = first
        self._begun: Iterator[tuple[float, av.VideoFrame]] | None = itertools.chain([first], decoded)
        turn, mirrored = orientation(frame)
        width, height = _square(frame, self.stream.sample_aspect_ratio)
        if turn % 180:
            width, height = height, width
        s, context = self.stream, self.stream.codec_context
        duration = self._seconds()
        fps = float(s.average_rate or s.guessed_rate or 0)
        info = VideoInfo(
            path=str(self.path),
            width=width,
            height=height,
            fps=fps,
            num_frames=s.frames or round(duration * fps),
            duration=duration,
            codec=context.codec.canonical_name,
            pix_fmt=frame.format.name,
            rotation=turn,
            mirrored=mirrored,
            has_audio=bool(self.container.streams.audio),
            start=seconds,
            bit_depth=max(c.bits for c in frame.format.components),
            interlaced=bool(frame.interlaced_frame),
            hdr=int(frame.color_trc) in (16, 18),
            container=self.container.format.name,
        )
        return info, (turn, mirrored)

    def _decoded(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Every frame that decodes, with a time that never goes back.

        After a broken packet, frames are left out until the next key frame: what a decoder paints in between is guesswork.
        """
        step = 1.0 / float(self.stream.average_rate or self.stream.guessed_rate or 25)
        base = float(self.stream.time_base or 0)
        last, waiting = -math.inf, False
        pending: set[int] = set()  # given to the decoder whole, not yet come out
        safe: set[int] = set()  # of these, the ones given before the break
        for packet in self._packets():
            try:
                if packet.is_corrupt:  # cut short: a decoder would fill in what is missing
                    raise InvalidDataError(0, "a packet is cut short")
                frames = packet.decode()
                pending.add(packet.pts)
            except (InvalidDataError, FFmpegError) as error:
                self.errors.append(_words(error))
                self.lost += 1
                waiting, safe = True, safe | pending
                continue
            for frame in frames:
                pending.discard(frame.pts)
                if frame.pts not in safe:
                    waiting = waiting and not frame.key_frame
                    if waiting or frame.is_corrupt:
                        self.lost += 1
                        continue
                seconds = frame.pts * base if frame.pts is not None else last + step
                if seconds <= last:
                    seconds = last + step
                last = seconds if math.isfinite(seconds) else 0.0
                yield last, frame

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (InvalidDataError, FFmpegError) as error:  # the container itself breaks off
                self.errors.append(_words(error))
                self.lost += 1
                return
            yield packet

    def frames(self, start: float | None = None, end: float | None = None) -> Iterator[tuple[float, av.VideoFrame]]:
        """(seconds, raw frame) for `start <= seconds < end`, as stored: not yet turned. Broken packets are noted, not raised."""
        tiny = 1e-6
        for seconds, frame in self._from(start):
            if end is not None and seconds >= end - tiny:
                return
            if start is None or seconds >= start - tiny:
                yield seconds, frame

    def _from(self, start: float | None) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decoded frames from the key frame at or before `start`; a file that cannot be sought is read from its beginning."""
        begun, self._begun = self._begun, None
        late = start is not None and start > self.info.start + 1.0
        if begun is not None and not late:
            return begun  # what `_inspect` began goes on: nothing is decoded twice
        if start is not None and late and self.stream.time_base:
            stamp = math.floor(start / self.stream.time_base)
            with contextlib.suppress(FFmpegError, OSError):  # reading from the beginning, below, gives the same frames
                self.container.seek(stamp, stream=self.stream, backward=True)
                self.errors, self.lost = [], 0
                decoded = self._decoded()
                first = next(decoded, None)
                if first is not None and first[0] <= start + 1e-6:
                    return itertools.chain([first], decoded)
        self.container.close()
        self.errors, self.lost = [], 0
        self.container, self.stream = self._open()
        return self._decoded()

    def pixels(self, frame: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
        """uint8 `h w 3` of a raw frame: upright, square pixels, RGB.

        Args:
            size: (height, width) of the result; scaled inside swscale (area when smaller, bilinear when larger).
        """
        height, width = size or (self.info.height, self.info.width)
        turn, mirrored = self._turn
        if turn % 180:
            height, width = width, height
        out = scale(frame, height, width, "rgb24")
        return np.ascontiguousarray(upright(out, turn, mirrored))

    def grey(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        """uint8 `h w` luma of a raw frame, upright, full range whatever the file's."""
        height, width = size
        turn, mirrored = self._turn
        if turn % 180:
            height, width = width, height
        return np.ascontiguousarray(upright(scale(frame, height, width, "gray"), turn, mirrored))


def scale(frame: av.VideoFrame, height: int, width: int, pixels: str) -> np.ndarray:
    smaller = height * width < frame.width * frame.height
    out = frame.reformat(width=width, height=height, format=pixels, interpolation="AREA" if smaller else "BILINEAR")
    return out.to_ndarray()


def upright(picture: np.ndarray, turn: int, mirrored: bool) -> np.ndarray:
    """Turn `h w ...` counter-clockwise by `turn` degrees, then flip left to right when `mirrored`."""
    picture = np.rot90(picture, turn // 90) if turn else picture
    return picture[:, ::-1] if mirrored else picture


def _square(frame: av.VideoFrame, ratio: Any) -> tuple[int, int]:
    """Width and height with square pixels: the wider side of a pixel is stretched, nothing is thrown away."""
    if not ratio or ratio <= 0 or ratio == 1:
        return frame.width, frame.height
    if ratio > 1:
        return max(1, round(frame.width * float(ratio))), frame.height
    return frame.width, max(1, round(frame.height / float(ratio)))


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the still cover picture of a music file."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).split("'file:")[0].strip(": ")


def probe(path: str | Path, limits: Limits | None = None) -> VideoInfo:
    """What a video file is, without reading more than its first frame.

    Raises:
        MediaError: with a `kind` of `KINDS`.
    """
    with Reader(path, limits) as reader:
        return reader.info


def iter_frames(
    path: str | Path,
    size: tuple[int, int] | None = None,
    start: float | None = None,
    end: float | None = None,
    *,
    limits: Limits | None = None,
    on_error: Literal["raise", "keep"] = "raise",
    threads: int = 1,
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, uint8 `h w 3`) of every frame with `start <= seconds < end`, one at a time.

    Raises:
        MediaError: `decode_error` after the last frame that decodes, unless `on_error="keep"`.
    """
    with Reader(path, limits, threads) as reader:
        for seconds, frame in reader.frames(start, end):
            yield seconds, reader.pixels(frame, size)
        if reader.lost and on_error == "raise":
            raise MediaError(broken(reader), "decode_error")


def broken(reader: Reader) -> str:
    """The sentence for a file that decodes only in part."""
    why = f" ({reader.errors[0]})" if reader.errors else ""
    return f"{shown(reader.path)} is damaged: at least {reader.lost} frames do not decode whole{why}."


def read_video(
    path: str | Path,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    on_error: Literal["raise", "keep"] = "raise",
    limits: Limits | None = None,
    threads: int = 1,
) -> Video:
    """Decode a stretch of a file.

    Args:
        start, end: seconds on the stream's clock, half open.
        max_frames: stop after so many.
        size: (height, width) to scale to while decoding.
        on_error: `raise` refuses a damaged file; `keep` returns what decodes of it.

    Raises:
        MediaError: also `limit_exceeded` when the pixels asked for would not fit `limits.bytes`, and `decode_error` when the
            stretch holds no frame at all.
    """
    limits = limits or Limits()
    frames: list[np.ndarray] = []
    times: list[float] = []
    with Reader(path, limits, threads) as reader:
        info = reader.info
        height, width = size or (info.height, info.width)
        room = limits.bytes // max(1, height * width * 3)
        for seconds, frame in reader.frames(start, end):
            if max_frames is not None and len(frames) >= max_frames:
                break
            if len(frames) >= room:
                raise MediaError(
                    f"{shown(path)}: more than {room} frames of {width}x{height} do not fit the limit of "
                    f"{limits.bytes / 2**30:.1f} GiB. Read a stretch (start, end, max_frames), a smaller size, or use iter_frames.",
                    "limit_exceeded",
                )
            frames.append(reader.pixels(frame, size))
            times.append(seconds)
        if reader.lost and on_error == "raise":
            raise MediaError(broken(reader) + ' on_error="keep" takes what decodes.', "decode_error")
        if not frames:
            raise MediaError(f"{shown(path)} has no frame between {start} and {end} s.", "decode_error")
    clock = np.asarray(times, np.float64)
    fps = info.fps if reader.lost and info.fps else mean_rate(clock, info.fps)  # a hole is not a slower camera
    return Video(np.stack(frames), fps, clock, str(path))


def mean_rate(times: np.ndarray, declared: float) -> float:
    """Frames a second of a run of times; the container's own figure where it agrees within one percent or there is one frame.

    The container is right where its clock is coarse (milliseconds in Matroska), the times are right where frames were dropped.
    """
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    if span <= 0:
        return declared or 25.0
    mean = (len(times) - 1) / span
    return declared if declared and abs(mean / declared - 1.0) < 0.01 else mean
