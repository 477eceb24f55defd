"""Writing video: one encoder thread, so that the same frames give the same bytes; whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from armillary.errors import BadInput, Failed
from armillary.store import atomic_path

# Codecs and the options that make `crf` mean constant quality for them.
CODECS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "medium"},
    "libx265": {"preset": "medium", "x265-params": "log-level=error:pools=1:frame-threads=1"},
    "libsvtav1": {"preset": "8", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"b": "0", "row-mt": "0"},
}
CLOCK = Fraction(1, 90_000)  # time base of frames with their own times


def rate(fps: float) -> Fraction:
    """The frame rate a container would name: 29.97 is 30000/1001."""
    if not 0.01 <= fps <= 1000:
        raise BadInput(f"fps must lie between 0.01 and 1000; got {fps}.")
    for exact in (Fraction(round(fps)), Fraction(round(fps * 1.001) * 1000, 1001)):
        if exact > 0 and abs(float(exact) - fps) < 5e-4 * min(1.0, fps):
            return exact
    return Fraction(fps).limit_denominator(10_000)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    codec: str = "libx264",
    crf: int = 18,
    gop: int | None = None,
    *,
    times: Sequence[float] | None = None,
    preset: str | None = None,
) -> Path:
    """Encode uint8 `h w 3` frames (an array `t h w 3` or any iterable) as 4:2:0 video in BT.709 colours, and say so in the file.

    Args:
        path: the suffix names the container.
        fps: frames a second; ignored for timing where `times` gives each frame's second (variable frame rate is kept).
        crf: constant quality, lower is better, 0 is the best the codec does in 4:2:0.
        gop: most frames between key frames; the codec's own choice when None.
        preset: speed against size, in the codec's own words.

    4:2:0 has even sizes only: an odd width or height is grown by repeating its last column or row.

    Raises:
        BadInput: for an unknown codec, frames that are none or differ in size, a bad rate, or no frame at all.
    """
    if codec not in CODECS:
        raise BadInput(f"No codec {codec!r} here. Known: {', '.join(CODECS)}.")
    options = {**CODECS[codec], "crf": str(crf), "threads": "1"}
    if preset is not None:
        options["preset" if codec != "libvpx-vp9" else "deadline"] = preset
    if gop is not None:
        options["g"] = str(gop)
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes a banner to stderr otherwise
    path, per_second = Path(path), rate(fps)
    if path.suffix.lower() not in (".mp4", ".mov", ".mkv", ".webm"):
        raise BadInput(f"{path.name} names no video container; end it in .mp4 (or .mov, .mkv, .webm).")
    with atomic_path(path) as temporary:
        try:
            _encode(temporary, frames, per_second, codec, options, times)
        except FFmpegError as error:
            if getattr(error, "errno", 0) in (28, 13, 30):  # disk full, no permission: atomic_path words them
                raise OSError(error.errno, error.strerror) from error
            raise Failed(f"{codec} could not encode {path.name}: {error}") from error
    return path


def _encode(path: Path, frames: Iterable[np.ndarray], fps: Fraction, codec: str, options: Any, times: Any) -> None:
    size: tuple[int, ...] | None = None
    stream: Any = None
    base = CLOCK if times is not None else 1 / fps
    # faststart puts the index first; bitexact leaves out library versions, so that an upgrade alone changes no hash of a header.
    flags = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov") else {})
    count, last = 0, -1
    with av.open(str(path), "w", options=flags) as container:
        for i, picture in enumerate(frames):
            picture = np.asarray(picture)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise BadInput(f"A frame is uint8 h w 3; frame {i} is {picture.dtype} {picture.shape}.")
            if size is None:
                size = picture.shape
                stream = _stream(container, codec, fps, base, picture.shape[:2], options)
            elif picture.shape != size:
                raise BadInput(f"Frames differ in size: frame {i} is {picture.shape}, the first was {size}.")
            if times is not None:
                if i >= len(times):
                    raise BadInput(f"{len(times)} times were given for more than {i} frames.")
                stamp = max(round((times[i] - times[0]) / CLOCK), last + 1)
            else:
                stamp = i
            last = stamp
            for packet in stream.encode(_yuv(even(picture), stamp, base)):
                container.mux(packet)
            count += 1
        if not count:
            raise BadInput("A video wants at least one frame; none was given.")
        for packet in stream.encode(None):
            container.mux(packet)


def _stream(container: Any, codec: str, fps: Fraction, base: Fraction, shape: Sequence[int], options: dict[str, str]) -> Any:
    stream = container.add_stream(codec, rate=fps, options=dict(options))
    stream.height, stream.width = (s + s % 2 for s in shape)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = base
    context.thread_count = 1
    # 1 is BT.709 in all three tables of ISO 23091-2; range 1 is «limited».
    context.colorspace = context.color_primaries = context.color_trc = 1
    context.color_range = 1
    return stream


def _yuv(picture: np.ndarray, stamp: int, base: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    frame.pts, frame.time_base = stamp, base
    return frame


def even(picture: np.ndarray) -> np.ndarray:
    """`h w c` grown to even height and width by repeating the last row and column."""
    h, w = picture.shape[:2]
    return np.pad(picture, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge") if h % 2 or w % 2 else picture
