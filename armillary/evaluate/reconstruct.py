"""What a tokenizer keeps of a video: encode, decode, compare (the paper's tokenizer tables, with the foreground apart).

A still background makes any PSNR look good, so that the pixels that move are also measured by themselves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary import media
from armillary.errors import BadInput, Failed
from armillary.evaluate import pixels
from armillary.evaluate.stats import estimate
from armillary.progress import Progress
from armillary.types import Latents, Report, Tokens, Video

if TYPE_CHECKING:
    from torch import Tensor

MEASURES = ("psnr", "psnr_foreground", "ssim", "sharpness", "flicker")


def padded(frames: np.ndarray, temporal: int, spatial: int) -> np.ndarray:
    """`t h w c` grown to 1 + temporal·k frames (the last one repeated) of whole cells (the last row and column repeated)."""
    t, h, w = frames.shape[:3]
    return np.pad(frames, ((0, -(t - 1) % temporal), (0, -h % spatial), (0, -w % spatial), (0, 0)), mode="edge")


@dataclass(frozen=True)
class Trip:
    """There and back: frames uint8 `t h w 3` as long and large as those that went in, what lay between, wall seconds each way."""

    frames: np.ndarray
    coded: Latents | Tokens
    encode_s: float
    decode_s: float


def there_and_back(tokenizer: Any, frames: np.ndarray) -> Trip:
    """Encode and decode uint8 `t h w 3` of any length and size: `padded`, and cut back.

    Raises:
        Failed: what came back has another shape.
    """
    import torch

    whole = padded(frames, tokenizer.config.temporal, tokenizer.config.spatial)
    with torch.inference_mode():
        video = media.to_tensor(whole)
        began = time.perf_counter()
        coded = tokenizer.encode(video)
        _finish(coded.ids if isinstance(coded, Tokens) else coded.values)
        encoded = time.perf_counter()
        made = tokenizer.decode(coded)
        _finish(made)
        decoded = time.perf_counter()
        back = media.to_frames(made)
    if back.shape != whole.shape:
        raise Failed(f"The tokenizer turned a video of shape {whole.shape} into one of shape {back.shape}.")
    t, h, w = frames.shape[:3]
    return Trip(back[:t, :h, :w], coded, encoded - began, decoded - encoded)


def _finish(made: Tensor) -> None:
    """Waits for an accelerator, whose work would otherwise be counted where its result is first looked at."""
    if made.is_cuda:
        import torch

        torch.cuda.synchronize(made.device)


def reconstructor(tokenizer: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A callable uint8 `t h w 3` -> uint8 `t h w 3` of any length: what `evaluate_world` takes as `reconstruct`."""
    return lambda frames: there_and_back(tokenizer, frames).frames


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of a histogram of codes: how many codes are in use as if all were used alike."""
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def evaluate_tokenizer(
    tokenizer: Any,
    videos: Mapping[str, np.ndarray | Video] | Sequence[np.ndarray | Video],
    *,
    size: int | tuple[int, int] | None = None,
    max_frames: int | None = 65,
    watch: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
) -> Report:
    """Reconstruct videos and measure what came back.

    Args:
        tokenizer: `.encode`, `.decode`, `.config.temporal`, `.config.spatial`, and `.vocab` (0 or absent when continuous).
        videos: uint8 `t h w 3` (or `Video`), by name or in a row.
        size: (height, width), or one number for both, to which frames are brought first (cropped to the aspect); None keeps their own.
        max_frames: of each video, from its beginning; None takes all.
        watch: told (name, truth, reconstruction) of each video, for showing.

    Returns:
        Report whose `metrics` are: `psnr`, `psnr_foreground`, `ssim`, `sharpness`, `flicker` (each with a 95 % interval over videos),
        `clips` (the same for each video), `compression` (values in over values out), `codes` (discrete ones: vocabulary, used,
        perplexity, bits a pixel), `frames_per_second` there and back.

    Raises:
        BadInput: no videos, or no frames.
    """
    named = dict(videos) if isinstance(videos, Mapping) else {str(i): v for i, v in enumerate(videos)}
    if not named:
        raise BadInput("No video was given to reconstruct.")
    vocab = int(getattr(tokenizer, "vocab", 0) or 0)
    counts = np.zeros(max(vocab, 1), np.int64)
    rows, seconds, num_frames, values_in, values_out = [], 0.0, 0, 0, 0
    with Progress("reconstruct", total=len(named)) as bar:
        for name, video in named.items():
            frames = np.asarray(video.frames if isinstance(video, Video) else video)
            if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
                raise BadInput(f"Video {name!r} is not uint8 t h w 3: {frames.dtype} {frames.shape}.")
            frames = frames[:max_frames]
            if size is not None:
                frames = media.fit(frames, (size, size) if isinstance(size, int) else size)
            trip = there_and_back(tokenizer, frames)
            back, coded = trip.frames, trip.coded
            seconds += trip.encode_s + trip.decode_s
            num_frames += len(frames)
            values_in += frames.size
            if isinstance(coded, Tokens):
                counts += np.bincount(coded.ids.reshape(-1).cpu().numpy(), minlength=len(counts))[: len(counts)]
                values_out += coded.ids.numel()
            else:
                values_out += coded.values.numel()
            rows.append(row_of(name, frames, back))
            if watch is not None:
                watch(name, frames, back)
            bar.advance(psnr=f"{rows[-1]['psnr']:.1f} dB")
    metrics: dict[str, Any] = {"videos": len(rows), "frames": num_frames}
    for key in MEASURES:
        metrics[key] = estimate([np.nan if r[key] is None else r[key] for r in rows])
    metrics["compression"] = values_in / values_out
    metrics["frames_per_second"] = num_frames / max(seconds, 1e-9)
    if vocab:
        used = int((counts > 0).sum())
        bits = values_out * math.log2(vocab) / (values_in / 3)
        metrics["codes"] = {"vocab": vocab, "used": used, "perplexity": perplexity(counts), "bits_per_pixel": bits}
    metrics["clips"] = rows
    notes = [
        f"{len(rows)} videos, {num_frames} frames. Foreground: pixels that differ by more than 16 grey levels from their temporal median.",
        "Intervals: 95 % bootstrap over videos.",
    ]
    if vocab and values_out < 5 * vocab:
        notes.append(
            f"Only {values_out} codes were written, for a vocabulary of {vocab}: too few to judge how many are in use."
        )
    return Report(f"Reconstruction by {getattr(tokenizer, 'name', '') or 'a tokenizer'}", metrics, tuple(notes))


def row_of(name: str, truth: np.ndarray, back: np.ndarray) -> dict[str, Any]:
    """Each of `MEASURES` of one clip, the mean over the frames that define it; None where none does."""
    row: dict[str, Any] = {"name": name, "frames": len(truth), "height": truth.shape[1], "width": truth.shape[2]}
    measures = {
        "psnr": pixels.psnr,
        "psnr_foreground": pixels.psnr_foreground,
        "sharpness": pixels.sharpness,
        "flicker": pixels.flicker,
    }
    if min(truth.shape[1:3]) >= pixels.WINDOW:
        measures["ssim"] = pixels.ssim
    for key in MEASURES:
        values = measures[key](truth, back) if key in measures else np.array([])
        values = values[np.isfinite(values)]
        row[key] = float(values.mean()) if len(values) else None
    return row
