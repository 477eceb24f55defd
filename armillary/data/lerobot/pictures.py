"""The pictures of an episode, one at a time: those of a video at given times, or stills that lie in the table itself."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.media import Reader


def at_times(path: Path, times: Sequence[float] | np.ndarray, fps: float) -> Iterator[np.ndarray]:
    """uint8 `h w 3` for each time: the frame of the video nearest to it, decoded from the key frame before the first.

    Args:
        times: seconds on the video's clock, never going back. fps: a frame further away than half its period is none.

    Raises:
        BadInput: where the video has no frame, with what did not decode.
    """
    if not len(times):
        return
    half = 0.5 / fps
    with Reader(path) as video:
        stream = video.frames(float(times[0]) - half, float(times[-1]) + half)
        before = after = next(stream, None)
        last: tuple[float, np.ndarray] | None = None
        for wanted in times:
            while after is not None and after[0] < wanted:
                before, after = after, next(stream, None)
            near = before if after is None else after
            if before is not None and near is not None and abs(before[0] - wanted) <= abs(near[0] - wanted):
                near = before
            if near is None or abs(near[0] - wanted) > half + 1e-3:
                why = f" ({video.errors[0]})" if video.errors else ""
                off = "" if near is None else f"; the nearest is {abs(near[0] - wanted):.2f} s away"
                raise BadInput(f"{path} has no frame at {wanted:.2f} s{off}{why}.")
            if last is None or last[0] != near[0]:
                last = near[0], video.pixels(near[1])
            yield last[1]


def stills(cells: Sequence[Any], root: Path, what: str) -> Iterator[np.ndarray]:
    """uint8 `h w 3` of table cells that hold PNG or JPEG bytes, or a path within the data set.

    Raises:
        BadInput: for bytes that are no picture, or a path that is not in the data set.
    """
    from PIL import Image, UnidentifiedImageError

    for n, cell in enumerate(cells):
        given: dict[str, Any] = {"bytes": cell} if isinstance(cell, bytes) else cell or {}
        data = given.get("bytes")
        if data is None:
            inside = os.path.normpath(str(given.get("path")))
            if os.path.isabs(inside) or inside.startswith("..") or not (root / inside).is_file():
                raise BadInput(f"{what} names the picture {inside!r}, which is not in the data set.")
            data = (root / inside).read_bytes()
        try:
            yield np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise BadInput(f"{what}: picture {n} does not decode ({error}).") from error
