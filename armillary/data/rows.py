"""What accompanies the pictures of a batch, from the rows that were drawn: the same for pixels and for what a tokenizer says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from armillary.data.base import Entry, Windows, row_rng
from armillary.types import ActionSpec, Camera


class Row(NamedTuple):
    """One window: its `entry` (the `index`-th), its first frame `start`, and the sentence that was drawn for it."""

    entry: Entry
    index: int
    start: int
    text: str


def draw(windows: Windows, entries: Sequence[Entry], step: int, size: int, seed: int, rank: int) -> list[Row]:
    """Rows `rank*size ... (rank+1)*size` of the global batch of a step."""
    out = []
    for number in range(rank * size, (rank + 1) * size):
        rng = row_rng(seed, step, number)
        index, start = windows.draw(rng)
        entry = entries[index]
        text = entry.texts[rng.integers(len(entry.texts))] if entry.texts else ""
        out.append(Row(entry, index, start, text))
    return out


def conditions(
    rows: Sequence[Row], frames: int, spec: ActionSpec | None, fps: float, views: int, size: tuple[int, int]
) -> dict[str, Any]:
    """Every field of a `Batch` that is no picture; `size` is that of a frame in pixels."""
    out: dict[str, Any] = {
        "text": tuple(r.text for r in rows),
        "fps": torch.full((len(rows),), fps),
        "keys": tuple(f"{r.entry.key}@{r.start}" for r in rows),
        "views": views,
    }
    if spec is not None and all(r.entry.actions is not None for r in rows):
        cuts = [r.entry.actions[r.start : r.start + frames] for r in rows if r.entry.actions is not None]
        out["actions"] = _tensor(cuts)
    if all(r.entry.cameras for r in rows):
        seen = [[_cut(c, r.start, frames) for c in r.entry.cameras] for r in rows]
        poses = [np.concatenate([pose for _, pose in row]) for row in seen]
        out["poses"] = _tensor([np.linalg.inv(p[0]) @ p for p in poses])
        out["intrinsics"] = _tensor([np.concatenate([k for k, _ in row]) for row in seen])
    if all(r.entry.trajectory is not None for r in rows):
        out["trajectory"] = _tensor([r.entry.trajectory[r.start] for r in rows if r.entry.trajectory is not None])
    if all(r.entry.view_texts for r in rows):
        out["view_text"] = tuple(r.entry.view_texts for r in rows)
    if any(r.entry.shown for r in rows):
        out["padding"] = _tensor([_filled_up(r.entry.shown, size) for r in rows])
    return out


def fields_of(entries: Sequence[Entry], spec: ActionSpec | None) -> frozenset[str]:
    """Which conditions `conditions` will fill in."""
    found = {
        "actions": spec is not None and all(e.actions is not None for e in entries),
        "poses": all(e.cameras for e in entries),
        "trajectory": all(e.trajectory is not None for e in entries),
        "view_text": all(e.view_texts for e in entries),
        "padding": any(e.shown for e in entries),
    }
    return frozenset(name for name, there in found.items() if there)


def _filled_up(shown: tuple[int, int, int, int] | None, size: tuple[int, int]) -> np.ndarray:
    """`1 h w`, 1 where there is no picture."""
    out = np.zeros((1, *size), np.float32)
    if shown is not None:
        top, left, high, wide = shown
        out[:] = 1
        out[:, top : top + high, left : left + wide] = 0
    return out


def _cut(camera: Camera, start: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics `frames 3 3` and poses `frames 4 4` of a window."""
    k, pose = camera.intrinsics, camera.pose
    k = k[start : start + frames] if k.ndim == 3 else np.broadcast_to(k, (frames, 3, 3))
    return k, pose[start : start + frames] if pose.ndim == 3 else np.broadcast_to(pose, (frames, 4, 4))


def _tensor(parts: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float32))
