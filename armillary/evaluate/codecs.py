"""What a tokenizer has to beat: a smaller picture grown again, and H.264 at the same bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from armillary.errors import require

# All that x264 is told, so that the figure can be made again. One key frame, references as the preset has them.
H264 = {"preset": "veryslow", "threads": "1", "keyint_min": "1", "sc_threshold": "0"}
FINEST, STEP, COARSEST = 0.0, 0.25, 51.0  # of the constant-quality factor


@dataclass(frozen=True)
class Coded:
    """What a codec made of a clip: frames uint8 `t h w 3`, how much it kept, and how it was set."""

    frames: np.ndarray
    values: int
    bits: int
    setting: str


def bicubic(frames: np.ndarray, values: int, temporal: int = 1) -> Coded:
    """Frames uint8 `t h w 3` made smaller until at most `values` numbers are left (never less than a pixel a frame), and grown again.

    Args:
        temporal: only the first and every so manieth frame is kept, those between are blended.
    """
    t, h, w = frames.shape[:3]
    kept = sorted({*range(0, t, temporal), t - 1}) if temporal > 1 else list(range(t))
    scale = min(1.0, math.sqrt(values / (3 * len(kept) * h * w)))
    low_h, low_w = max(1, math.floor(h * scale)), max(1, math.floor(w * scale))
    sizes = [(a, b) for a in (low_h, low_h + 1) for b in (low_w, low_w + 1) if a <= h and b <= w]
    high, wide = max((s for s in sizes if 3 * len(kept) * s[0] * s[1] <= values), key=math.prod, default=(low_h, low_w))
    grown = []
    for i in kept:
        small = Image.fromarray(frames[i]).resize((wide, high), Image.Resampling.BICUBIC)
        grown.append(np.asarray(small.resize((w, h), Image.Resampling.BICUBIC), np.float32))
    out = np.empty((t, h, w, 3), np.float32)
    place = np.interp(np.arange(t), kept, np.arange(len(kept)))
    for i, p in enumerate(place):
        low = min(int(p), len(kept) - 1)
        high_end = min(low + 1, len(kept) - 1)
        out[i] = grown[low] + (grown[high_end] - grown[low]) * (p - low)
    number = 3 * len(kept) * high * wide
    setting = f"{wide}x{high}" + (f", 1 frame of {temporal}" if temporal > 1 else "")
    return Coded(np.rint(out).clip(0, 255).astype(np.uint8), number, 8 * number, setting)


def h264(frames: np.ndarray, fps: float, bits: int) -> Coded:
    """Frames uint8 `t h w 3` by x264 in 4:2:0, with the finest quality factor that takes at most `bits`.

    Counted are the coded units with their parameter sets, without a container and without the note on settings that x264 adds. Where even
    the coarsest factor takes more, that is returned; `bits` says so.
    """
    best = _encoded(frames, fps, COARSEST)
    best_crf = COARSEST
    low, high = 0, round((COARSEST - FINEST) / STEP)
    if _bits(best) <= bits:
        while low < high:  # the finest factor that fits
            middle = (low + high) // 2
            made = _encoded(frames, fps, FINEST + middle * STEP)
            if _bits(made) <= bits:
                high, best, best_crf = middle, made, FINEST + middle * STEP
            else:
                low = middle + 1
    told = ", ".join(f"{k} {v}" for k, v in H264.items())
    return Coded(_decoded(best, frames.shape), frames.size, _bits(best), f"x264 crf {best_crf:g}, 4:2:0, {told}")


def _encoded(frames: np.ndarray, fps: float, crf: float) -> list[bytes]:
    av = require("av", "H.264")
    context = av.CodecContext.create("libx264", "w")
    even = _even(frames)
    context.height, context.width = even.shape[1:3]
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1000)
    context.time_base = 1 / context.framerate
    context.options = {**H264, "crf": f"{crf:g}", "g": str(len(frames))}
    packets = []
    for i, frame in enumerate(even):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts = i
        packets += [bytes(p) for p in context.encode(picture)]
    return packets + [bytes(p) for p in context.encode(None)]


def _decoded(packets: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    av = require("av", "H.264")
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    pictures = []
    for packet in [*packets, None]:
        for frame in context.decode(None if packet is None else av.Packet(packet)):
            rgb = frame.reformat(format="rgb24", src_colorspace="ITU709")
            pictures.append(rgb.to_ndarray()[: shape[1], : shape[2]])
    return np.stack(pictures)


def _even(frames: np.ndarray) -> np.ndarray:
    """4:2:0 has even sizes: the last row or column is repeated where one is missing."""
    h, w = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")


def _bits(packets: list[bytes]) -> int:
    """Of all units but supplemental information (type 6)."""
    total = 0
    for packet in packets:
        for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
            if unit and unit[0] & 31 != 6:
                total += 8 * (len(unit) + 3)
    return total
