"""Numbers and cameras as MJCF writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def text(values: Sequence[float] | np.ndarray) -> str:
    """Numbers of an attribute."""
    return " ".join(f"{float(v):.9g}" for v in values)


def look(position: Sequence[float] | np.ndarray, target: Sequence[float] | np.ndarray) -> str:
    """`pos` and `xyaxes` of a camera at `position` that looks at `target`, upright."""
    back = np.asarray(position, float) - np.asarray(target, float)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return f'pos="{text(position)}" xyaxes="{text(right)} {text(np.cross(back, right))}"'
