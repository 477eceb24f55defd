"""Pixels: images in and out, resizing, and the way into a network and back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from armillary.errors import BadInput, Failed
from armillary.media.errors import MediaError, shown
from armillary.store import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

GREY = 128  # what shows through a transparent picture
MAX_PIXELS = 8192 * 8192


def read_image(path: str | Path, behind: int = GREY) -> np.ndarray:
    """uint8 `h w 3`, turned as its EXIF says; 16 bits become 8.

    Args:
        behind: the grey that shows where a picture is transparent.

    Raises:
        MediaError: when it is missing, empty, too large or no image.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{shown(path)} is not a file.", "not_found")
    if path.stat().st_size == 0:
        raise MediaError(f"{shown(path)} is empty (0 bytes).", "empty_file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below speaks instead
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise MediaError(
                        f"{shown(path)} is {image.width}x{image.height}; the limit is {MAX_PIXELS / 1e6:.0f} Mpixel.",
                        "limit_exceeded",
                    )
                return _rgb(ImageOps.exif_transpose(image), behind)
    except UnidentifiedImageError as error:
        raise MediaError(f"{shown(path)} is no image that can be opened.", "invalid_container") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"{shown(path)} is too large an image.", "limit_exceeded") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{shown(path)} is a damaged image ({error}).", "decode_error") from error


def is_transparent(path: str | Path) -> bool:
    """Whether an image that `read_image` reads lets anything show through."""
    with Image.open(path) as image:
        return _layered(image) and bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())


def _layered(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _rgb(image: Image.Image, behind: int) -> np.ndarray:
    if image.mode.startswith(("I;16", "I")) and image.mode != "1":
        deep = np.asarray(image).astype(np.int64)
        grey = np.clip((deep + 128) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        grey = np.clip(np.rint(np.nan_to_num(np.asarray(image))), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if _layered(image):
        layer = image.convert("RGBA")
        back = Image.new("RGBA", layer.size, (behind, behind, behind, 255))
        image = Image.alpha_composite(back, layer)
    return np.array(image.convert("RGB"))


def write_image(path: str | Path, frame: np.ndarray) -> Path:
    """Write uint8 `h w 3` (or `h w`) whole or not at all; the suffix names the format."""
    path = Path(path)
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != 3):
        raise BadInput(f"An image is uint8 h w 3; got {frame.dtype} {frame.shape}.")
    if path.suffix.lower() not in Image.registered_extensions():
        raise BadInput(f"{path.name} names no image format; end it in .png or .jpg.")
    with atomic_path(path) as temporary:
        Image.fromarray(frame).save(temporary)
    return path


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale uint8 `... h w c` to `size` = (height, width), each axis by itself.

    A whole-number shrink is the exact mean over boxes; another shrink weights every source pixel under the target (an
    antialiasing window); growing is bilinear. Fixed-point arithmetic: the same bytes on every machine.
    """
    frames = np.asarray(frames)
    height, width = (int(s) for s in size)
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] not in (1, 3):
        raise BadInput(f"resize wants uint8 frames t h w c; got {frames.dtype} {frames.shape}.")
    if height < 1 or width < 1:
        raise BadInput(f"resize wants a height and a width of at least 1; got {size}.")
    h, w, c = frames.shape[-3:]
    if (h, w) == (height, width):
        return frames.copy()
    flat = frames.reshape(-1, h, w, c)
    out = np.empty((len(flat), height, width, c), np.uint8)
    for i, picture in enumerate(flat):
        image = _scaled(Image.fromarray(picture if c == 3 else picture[..., 0]), height, width)
        out[i] = np.asarray(image).reshape(height, width, c)
    return out.reshape(*frames.shape[:-3], height, width, c)


def _scaled(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.width % width == 0 and image.height % height == 0:
        return image.reduce((image.width // width, image.height // height))
    for target in ((width, image.height), (width, height)):
        if target != image.size:
            shrinks = target[0] < image.width or target[1] < image.height
            image = image.resize(target, Image.Resampling.HAMMING if shrinks else Image.Resampling.BILINEAR)
    return image


def crop_of(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture of `shape` = (height, width) that `fit` keeps: (top, left, height, width)."""
    h, w = shape
    height, width = size
    if w * height > h * width:
        keep = max(1, round(h * width / height))
        return 0, (w - keep) // 2, h, keep
    keep = max(1, round(w * height / width))
    return (h - keep) // 2, 0, keep, w


def fit(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop uint8 `... h w c` about the centre to the aspect of `size` = (height, width), then `resize`."""
    frames = np.asarray(frames)
    h, w = frames.shape[-3:-1]
    top, left, high, wide = crop_of((h, w), size)
    return resize(frames[..., top : top + high, left : left + wide, :], size)


def place_of(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a picture of `shape` = (height, width) lies in one of `size` when all of it is shown: (top, left, height, width)."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    high, wide = (max(1, min(whole, round(part * scale))) for part, whole in zip(shape, size))
    return (size[0] - high) // 2, (size[1] - wide) // 2, high, wide


def pad(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All of uint8 `... h w c` in the middle of `size` = (height, width), shrunk or grown to touch two edges; the rest mirrors it."""
    frames = np.asarray(frames)
    top, left, high, wide = place_of(frames.shape[-3:-1], size)
    small = resize(frames, (high, wide))
    around = [(0, 0)] * (small.ndim - 3) + [(top, size[0] - top - high), (left, size[1] - left - wide), (0, 0)]
    return np.pad(small, around, mode="reflect" if min(high, wide) > 1 else "symmetric")


def to_tensor(frames: np.ndarray) -> Tensor:
    """uint8 `t h w c` -> float32 `1 c t h w` in [-1, 1]."""
    import torch

    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4:
        raise BadInput(f"to_tensor wants uint8 frames t h w c; got {frames.dtype} {frames.shape}.")
    pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2)))
    return (pixels.float() / 127.5 - 1.0)[None]


def to_frames(tensor: Tensor) -> np.ndarray:
    """Float `1 c t h w` or `c t h w` in [-1, 1] -> uint8 `t h w c`; values outside are clamped, halves round to even.

    Raises:
        BadInput: for a batch of several videos.
        Failed: when a value is not finite.
    """
    import torch

    if tensor.ndim == 5:
        if len(tensor) != 1:
            raise BadInput(f"to_frames takes one video at a time; got a batch of {len(tensor)}.")
        tensor = tensor[0]
    if tensor.ndim != 4:
        raise BadInput(f"to_frames wants c t h w; got {tuple(tensor.shape)}.")
    values = tensor.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise Failed("The video holds values that are not finite, so it has no pixels.")
    pixels = ((values + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).contiguous().numpy()
