"""Contact sheets: truth, dream and their difference over time, in one picture that needs no player."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from armillary.errors import BadInput
from armillary.media import write_image

PAPER, INK, FAINT = (250, 249, 246), (28, 30, 33), (120, 122, 126)
# Black, deep violet, vermilion, pale yellow: lightness grows evenly, so that it reads in grey and for every kind of colour vision.
RAMP = np.array([[0, 0, 0], [59, 15, 92], [165, 45, 82], [233, 103, 43], [250, 187, 64], [252, 253, 191]], np.float64)


def difference(truth: np.ndarray, dream: np.ndarray, gain: float = 3.0) -> np.ndarray:
    """Mean absolute difference over channels as colour, uint8 `t h w 3`: black where equal, pale from 1/`gain` of the range on."""
    if truth.shape != dream.shape:
        raise BadInput(f"A difference wants two videos of one shape; got {truth.shape} and {dream.shape}.")
    apart = np.abs(truth.astype(np.float64) - dream.astype(np.float64)).mean(-1) / 255
    place = np.clip(apart * gain, 0, 1) * (len(RAMP) - 1)
    low = np.minimum(place.astype(int), len(RAMP) - 2)
    return np.rint(RAMP[low] + (RAMP[low + 1] - RAMP[low]) * (place - low)[..., None]).astype(np.uint8)


def make_sheet(
    rows: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    columns: int = 10,
    times: Sequence[str] | None = None,
    given: int = 0,
    cell: int = 96,
) -> np.ndarray:
    """Rows of frames under one another, uint8 `h w 3`.

    Args:
        rows: videos uint8 `t h w 3`, all of one length and shape.
        labels: one a row, written at its left.
        columns: how many frames are shown, evenly spread, first and last always.
        times: one label a frame; its index when absent.
        given: how many frames at the beginning were given, marked by a line under their column head.
        cell: height of a frame in the sheet, reached by a whole factor when the frame is smaller.
    """
    if not rows or len(rows) != len(labels):
        raise BadInput(f"A sheet wants one label a row; got {len(rows)} rows and {len(labels)} labels.")
    first = rows[0]
    if any(r.shape != first.shape or r.dtype != np.uint8 for r in rows) or first.ndim != 4 or not len(first):
        raise BadInput(f"The rows of a sheet are uint8 t h w 3 of one shape; got {[(str(r.dtype), r.shape) for r in rows]}.")
    t, h, w = first.shape[:3]
    shown = np.unique(np.linspace(0, t - 1, min(columns, t)).round().astype(int))
    factor = max(1, round(cell / h))
    h, w = h * factor, w * factor
    font = ImageFont.load_default(size=13)
    gap, head = 4, 26
    left = 20 + max(int(font.getlength(label)) for label in labels)
    size = (left + len(shown) * (w + gap) + 8, head + len(rows) * (h + gap) + 8)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for c, i in enumerate(shown):
        x = left + c * (w + gap)
        draw.text((x + w / 2, head / 2), str(times[i]) if times else str(i), fill=FAINT, font=font, anchor="mm")
        if i < given:
            draw.line((x, head - 3, x + w - 1, head - 3), fill=INK, width=2)
    for r, (video, label) in enumerate(zip(rows, labels)):
        y = head + r * (h + gap)
        draw.text((left - 8, y + h / 2), label, fill=INK, font=font, anchor="rm")
        for c, i in enumerate(shown):
            picture = video[i].repeat(factor, axis=0).repeat(factor, axis=1)
            image.paste(Image.fromarray(picture), (left + c * (w + gap), y))
    return np.asarray(image)


def save_sheet(path: str | Path, rows: Sequence[np.ndarray], labels: Sequence[str], **options: object) -> Path:
    """`make_sheet` written as an image; see there for the options."""
    return write_image(path, make_sheet(rows, labels, **options))  # type: ignore[arg-type]
