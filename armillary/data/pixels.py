"""Windows of frames from anything that can be listed as entries and read as uint8; the part that episodes, clips and drawings share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from armillary.data.base import Entry, Split, Windows, long_enough, row_rng, split_entries
from armillary.errors import Failed
from armillary.progress import track
from armillary.types import ActionSpec, Batch


class Pixels:
    """A dataset of pixel windows.

    Args:
        entries: all of them, of both splits.
        read: entry -> uint8 `length h w 3`.
        memory: GiB of decoded frames to keep; beyond it an entry is decoded again whenever it is drawn.
        held_out: share of the groups that is held out.
        focus: share of the draws that goes to the windows in which most happens: contacts where every entry knows them, change
            of the picture otherwise (which decodes everything once at the start).
    """

    def __init__(
        self,
        what: str,
        entries: Sequence[Entry],
        read: Callable[[Entry], np.ndarray],
        *,
        hash: str,
        split: Split,
        frames: int,
        size: tuple[int, int],
        fps: float,
        spec: ActionSpec | None = None,
        held_out: float = 0.05,
        focus: float = 0.0,
        memory: float = 4.0,
    ) -> None:
        self.what, self.hash = what, hash
        self.split: Split = split
        self.frames, self.size, self.fps, self.spec = frames, size, fps, spec
        self.entries = split_entries(long_enough(entries, frames, what), held_out, split, what)
        self._read, self._room = read, int(memory * 2**30)
        self._kept: dict[str, np.ndarray] = {}
        activity = [self.activity(e) for e in track(self.entries, f"look for action ({split})")] if focus else None
        self.windows = Windows([e.length for e in self.entries], frames, activity=activity, focus=focus)

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, entry: Entry) -> np.ndarray:
        """Frames of a whole entry, uint8 `t h w 3`, from memory when they are there.

        Raises:
            Failed: when what was decoded is not what the index promised.
        """
        if (frames := self._kept.get(entry.key)) is not None:
            return frames
        frames = self._read(entry)
        if frames.shape != (entry.length, *self.size, 3) or frames.dtype != np.uint8:
            raise Failed(
                f"{self.what}, {entry.key}: expected {entry.length} frames of {self.size}, decoded {frames.dtype} {frames.shape}."
            )
        if frames.nbytes <= self._room:
            self._room -= frames.nbytes
            self._kept[entry.key] = frames
        return frames

    def activity(self, entry: Entry) -> np.ndarray:
        """How much happens at each frame, float32 `t`: contact, or the mean change from the frame before (0 for the first)."""
        if entry.contact is not None:
            return entry.contact
        frames = self.read(entry).astype(np.float32)
        change = np.abs(frames[1:] - frames[:-1]).mean((1, 2, 3)) / 255
        return np.concatenate([np.zeros(1, np.float32), change.astype(np.float32)])

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """`video` float `b 3 t h w` in [-1, 1], `actions` raw, one sentence a row."""
        videos, actions, texts, keys = [], [], [], []
        for row in range(rank * size, (rank + 1) * size):
            rng = row_rng(seed, step, row)
            index, start = self.windows.draw(rng)
            entry = self.entries[index]
            videos.append(self.read(entry)[start : start + self.frames])
            texts.append(entry.texts[rng.integers(len(entry.texts))] if entry.texts else "")
            keys.append(f"{entry.key}@{start}")
            if entry.actions is not None and self.spec is not None:
                actions.append(entry.actions[start : start + self.frames])
        video = torch.from_numpy(np.stack(videos)).permute(0, 4, 1, 2, 3).to(torch.float32).div_(127.5).sub_(1)
        return Batch(
            video=video.contiguous(),
            actions=torch.from_numpy(np.stack(actions).astype(np.float32)) if actions else None,
            text=tuple(texts),
            fps=torch.full((size,), self.fps),
            keys=tuple(keys),
        )


def fit_spec(spec: ActionSpec, entries: Sequence[Entry]) -> ActionSpec:
    """The spec with a normaliser, when it needs one.

    A spec whose commands are bounded by -1 and 1 is normalised already and stays as it is, as does one that brings mean and deviation.
    Any other gets those of the given entries. A component that never moves has deviation 1: nobody can divide by its own.
    """
    actions = [e.actions for e in entries if e.actions is not None]
    if spec.mean:
        mean, std = np.array(spec.mean), np.array(spec.std)
    elif not actions or (spec.low and min(spec.low) >= -1 and max(spec.high) <= 1):
        return spec
    else:
        joined = np.concatenate(actions).astype(np.float64)
        mean, std = joined.mean(0), joined.std(0)
    std = np.where(std > 1e-6, std, 1.0)
    return dataclasses.replace(spec, mean=tuple(round(float(x), 8) for x in mean), std=tuple(round(float(x), 8) for x in std))
