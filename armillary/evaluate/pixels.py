"""How near one video is to another, frame by frame: PSNR, SSIM, mean error, sharpness.

Every measure takes the truth and the guess as `t h w c`, both uint8 (0..255) or both float in [0, 1], and gives one float64 a frame;
NaN where a frame leaves it undefined (no pixel changed). A video's value is the mean over its frames, never the value of the pooled
error: a pooled PSNR is ruled by the worst frame.

SSIM is Wang et al. 2004 as published: Gaussian window 11x11 of sigma 1.5, windows that lie wholly inside the image, weighted
population moments, K1 = 0.01, K2 = 0.03; each colour channel by itself, then their mean.
"""

from __future__ import annotations

import numpy as np

from armillary.errors import BadInput

# Equal frames would give infinity, which neither averages nor fits into JSON.
CEILING = 100.0
# A pixel stands still when none of its channels moves by more than this share from one frame to the next (2 grey levels).
STILL, FEWEST = 2 / 255, 0.01  # and so small a share of still pixels says nothing of a frame
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
# A pixel has changed when one of its channels differs by more than this share of the range (16 grey levels).
CHANGED = 16 / 255


def as_pair(truth: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Both videos as float64 `t h w c`, and the range of their values.

    Raises:
        BadInput: other shapes, other types, not a video, or values that are not finite.
    """
    truth, guess = np.asarray(truth), np.asarray(guess)
    if truth.shape != guess.shape:
        raise BadInput(f"The two videos have different shapes: {truth.shape} and {guess.shape}.")
    if truth.ndim != 4 or truth.shape[-1] not in (1, 3):
        raise BadInput(f"A video is t h w c with 1 or 3 channels; got {truth.shape}.")
    if (truth.dtype == np.uint8) != (guess.dtype == np.uint8):
        raise BadInput(f"Both videos must be uint8, or both float in [0, 1]; got {truth.dtype} and {guess.dtype}.")
    if truth.dtype == np.uint8:
        return truth.astype(np.float64), guess.astype(np.float64), 255.0
    if not (np.issubdtype(truth.dtype, np.floating) and np.issubdtype(guess.dtype, np.floating)):
        raise BadInput(f"Both videos must be uint8, or both float in [0, 1]; got {truth.dtype} and {guess.dtype}.")
    if not (np.isfinite(truth).all() and np.isfinite(guess).all()):
        raise BadInput("A video holds values that are not finite.")
    return truth.astype(np.float64), guess.astype(np.float64), 1.0


def _decibel(mse: np.ndarray, span: float) -> np.ndarray:
    floor = span**2 / 10 ** (CEILING / 10)
    return 10 * np.log10(span**2 / np.maximum(mse, floor))


def psnr(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame in dB, at most `CEILING`."""
    a, b, span = as_pair(truth, guess)
    return _decibel(((a - b) ** 2).mean((1, 2, 3)), span)


def mae(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Mean absolute error of each frame, in shares of the range (0..1)."""
    a, b, span = as_pair(truth, guess)
    return np.abs(a - b).mean((1, 2, 3)) / span


def masked_psnr(truth: np.ndarray, guess: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """PSNR over the pixels of a bool mask `t h w`; NaN for a frame whose mask is empty."""
    a, b, span = as_pair(truth, guess)
    if mask.shape != a.shape[:3]:
        raise BadInput(f"The mask of a video of shape {a.shape} is {a.shape[:3]}; got {mask.shape}.")
    count = mask.sum((1, 2))
    error = (((a - b) ** 2).mean(3) * mask).sum((1, 2)) / np.maximum(count, 1)
    return np.where(count > 0, _decibel(error, span), np.nan)


def changed(frames: np.ndarray, reference: np.ndarray, threshold: float = CHANGED) -> np.ndarray:
    """Which pixels of `t h w c` differ from a still `h w c`: bool `t h w`."""
    span = 255.0 if frames.dtype == np.uint8 else 1.0
    apart = np.abs(frames.astype(np.float64) - reference.astype(np.float64))
    return np.asarray((apart > threshold * span).any(-1))


def foreground(frames: np.ndarray, threshold: float = CHANGED) -> np.ndarray:
    """Which pixels differ from the video's temporal median, that is, from its still background: bool `t h w`."""
    return changed(frames, np.median(frames, axis=0), threshold)


def psnr_foreground(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """PSNR over the truth's moving pixels; NaN for frames that show only background."""
    return masked_psnr(truth, guess, foreground(np.asarray(truth)))


def psnr_changed(truth: np.ndarray, guess: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """PSNR over the pixels in which the truth has left `reference` (`h w c`, the truth's first frame when absent).

    This is what copying the reference cannot score on: a still background counts for nothing.
    """
    truth = np.asarray(truth)
    return masked_psnr(truth, guess, changed(truth, truth[0] if reference is None else reference))


def _smooth(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean of every window wholly inside the image, over axes 1 and 2."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    h, w = x.shape[1] - WINDOW + 1, x.shape[2] - WINDOW + 1
    rows = weights[0] * x[:, :h]
    for i in range(1, WINDOW):
        rows += weights[i] * x[:, i : i + h]
    out = weights[0] * rows[:, :, :w]
    for i in range(1, WINDOW):
        out += weights[i] * rows[:, :, i : i + w]
    return out


def ssim(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame, 1 for equal frames.

    Raises:
        BadInput: also for frames smaller than the 11x11 window.
    """
    a, b, span = as_pair(truth, guess)
    if min(a.shape[1:3]) < WINDOW:
        raise BadInput(f"SSIM wants frames of at least {WINDOW}x{WINDOW} pixels; got {a.shape[1]}x{a.shape[2]}.")
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    out = np.empty(len(a))
    for i in range(len(a)):  # a frame at a time, so that memory does not grow with the length
        x, y = a[i : i + 1], b[i : i + 1]
        mx, my = _smooth(x), _smooth(y)
        vx, vy, cov = _smooth(x * x) - mx**2, _smooth(y * y) - my**2, _smooth(x * y) - mx * my
        out[i] = (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    return out


def sharpness(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Root mean square gradient of the guess over the truth's: 1 equally sharp, below blurred, above noisy. NaN where the truth is flat.

    Squares, because blurring an edge leaves the sum of its absolute differences as it was.
    """
    a, b, _ = as_pair(truth, guess)

    def slope(x: np.ndarray) -> np.ndarray:
        return np.sqrt((np.diff(x, axis=1) ** 2).mean((1, 2, 3)) + (np.diff(x, axis=2) ** 2).mean((1, 2, 3)))

    of_truth = slope(a)
    return np.where(of_truth > 0, slope(b) / np.where(of_truth > 0, of_truth, 1), np.nan)


def flicker(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """What comes and goes where nothing does: root mean square change of the error from the frame before, over the pixels that stand still
    in the truth, in grey levels (of 255). NaN for the first frame, and where hardly a pixel stands still.
    """
    a, b, span = as_pair(truth, guess)
    still = np.asarray((np.abs(np.diff(a, axis=0)) <= STILL * span + 1e-9).all(-1))
    energy = (np.diff(b - a, axis=0) ** 2).mean(-1)
    count = still.sum((1, 2))
    known = count >= max(1.0, FEWEST * a[0, ..., 0].size)
    value = np.sqrt((energy * still).sum((1, 2)) / np.maximum(count, 1)) * 255 / span
    return np.concatenate([[np.nan], np.where(known, value, np.nan)])
