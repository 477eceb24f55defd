"""Which frame of a video is shown when, and what becomes of a camera's intrinsics as its pictures are made smaller."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from armillary import media
from armillary.media import MediaError

TICK = 1e-3  # seconds: clocks of containers are this coarse


def frame_times(path: str | Path) -> np.ndarray:
    """Presentation times of all frames in seconds, float64 `t`, in order, from the packets alone: nothing is decoded.

    Raises:
        MediaError: the file is no video, holds no frame, or ends inside a packet.
    """
    media.probe(path)  # says what is wrong with what is no video
    out = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            base = float(stream.time_base or 0)
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise MediaError(f"{Path(path).name} is cut short.", "decode_error")
                if packet.pts is not None and packet.size and not packet.is_discard:
                    out.append(packet.pts * base)
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{Path(path).name} is cut short ({error}).", "decode_error") from error
    if not out:
        raise MediaError(f"{Path(path).name} has no frame.", "decode_error")
    return np.unique(np.array(out))


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted second the number of the nearest of `times` (which rise); of two as near the earlier."""
    after = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def covering(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) of the aspect of `shape` that covers `size`: decoding to it and cropping loses no detail."""
    scale = max(size[0] / shape[0], size[1] / shape[1])
    return max(size[0], round(shape[0] * scale)), max(size[1], round(shape[1] * scale))


def shown_at(path: str | Path, times: np.ndarray, size: tuple[int, int], whole: bool = False) -> np.ndarray:
    """The frame on screen at each of `times` (seconds on the file's clock, rising), cropped and scaled: uint8 `t h w 3`.

    With `whole` nothing is cropped; what the picture does not fill mirrors it (`media.pad`). The last frame stays on screen for ever, and
    the first one was there before it.

    Raises:
        MediaError: the file does not decode whole there, or has no frame.
    """
    with media.Reader(path) as reader:
        info = reader.info
        shape = info.height, info.width
        small = media.place_of(shape, size)[2:] if whole else covering(shape, size)
        # A second earlier, so that the frame still on screen at the first moment is there; where it was shown for longer, from the start.
        for start in (max(info.start, float(times[0]) - 1.0), info.start):
            out: list[np.ndarray] = []
            shown: av.VideoFrame | None = None
            for seconds, frame in reader.frames(start, float(times[-1]) + TICK):
                if shown is None and seconds > times[0] + TICK and start > info.start:
                    break
                due = int(np.searchsorted(times, seconds - TICK)) - len(out)
                if shown is not None and due > 0:  # only what is shown at a moment that was asked for becomes pixels
                    out += [reader.pixels(shown, small)] * due
                shown = frame
            if reader.lost:
                raise MediaError(media.broken(reader), "decode_error")
            if shown is not None:
                out += [reader.pixels(shown, small)] * (len(times) - len(out))
                return media.pad(np.stack(out), size) if whole else media.fit(np.stack(out), size)
    raise MediaError(f"{Path(path).name} has no frame at {times[0]:.2f} s.", "decode_error")


def fitted(
    intrinsics: np.ndarray, told: tuple[float, float], real: tuple[int, int], size: tuple[int, int], video: bool
) -> np.ndarray:
    """Intrinsics `... 3 3` in pixels of the frames that come out, `size` = (height, width).

    Args:
        told: height and width that the intrinsics are in pixels of: `(1, 1)` for fractions of the picture.
        real: of the stored frames; `video`: whether `shown_at` makes them smaller, or `media.fit`.
    """
    between = covering(real, size) if video else real
    top, left, high, wide = media.crop_of(between, size)
    out = np.array(intrinsics, np.float64)
    out[..., 0, :] *= between[1] / told[1]
    out[..., 1, :] *= between[0] / told[0]
    out[..., 0, 2] -= left
    out[..., 1, 2] -= top
    out[..., 0, :] *= size[1] / wide
    out[..., 1, :] *= size[0] / high
    return out
