"""Windows of frames from anything that can be listed as entries and read as uint8; the part that episodes, clips and drawings share."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from armillary.data import rows
from armillary.data.base import Entry, Split, Windows, long_enough, split_entries
from armillary.errors import BadInput, Failed
from armillary.progress import track
from armillary.types import ActionSpec, Batch

_COUNTING = threading.Lock()
PLACE = 0xC209  # sets the draw of a crop's place apart from that of its window


class Pixels:
    """A dataset of pixel windows. Several threads may ask it for batches at once.

    Args:
        entries: all of them, of both splits.
        read: entry -> uint8 `length h w 3`, with several views `(v length) h w 3`.
        views: how many an entry has.
        crop: height and width of a part that is cut out of each window, at a place drawn anew each time (in the middle for the held-out
            split); (0, 0) for all of it. For data without cameras: they would have to move along.
        cut: (entry, first frame, frames) -> the same of a part of it, where that is quicker than all.
        memory: GiB of decoded frames to keep; beyond it an entry is decoded again (its window only, with `cut`) whenever it is drawn.
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
        views: int = 1,
        crop: tuple[int, int] = (0, 0),
        cut: Callable[[Entry, int, int], np.ndarray] | None = None,
    ) -> None:
        self.what, self.hash = what, hash
        self.split: Split = split
        self.frames, self.fps, self.spec, self.views = frames, fps, spec, views
        self.whole, self.size = size, (size if crop == (0, 0) else crop)
        if not all(0 < c <= s for c, s in zip(self.size, size)):
            raise BadInput(f"A crop lies within frames of {size[0]}x{size[1]}; got {crop[0]}x{crop[1]}.")
        self.entries = split_entries(long_enough(entries, frames, what), held_out, split, what)
        self.fields = frozenset({"video"}) | rows.fields_of(self.entries, spec)
        self._read, self._cut, self._room = read, cut, int(memory * 2**30)
        self._kept: dict[str, np.ndarray] = {}
        self._busy: dict[str, threading.Lock] = {}
        activity = [self.activity(e) for e in track(self.entries, f"look for action ({split})")] if focus else None
        self.windows = Windows([e.length for e in self.entries], frames, activity=activity, focus=focus)

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, entry: Entry) -> np.ndarray:
        """Frames of a whole entry, uint8 `t h w 3` (of several views `(v t)`), from memory when they are there.

        Raises:
            Failed: when what was decoded is not what the index promised.
        """
        if (frames := self._kept.get(entry.key)) is not None:
            return frames
        with self._busy.setdefault(
            entry.key, threading.Lock()
        ):  # whoever wants the same entry waits for it instead of decoding it too
            if (frames := self._kept.get(entry.key)) is not None:
                return frames
            frames = self._checked(entry, self._read(entry), entry.length)
            if self._take(entry):
                self._kept[entry.key] = frames
        return frames

    def window(self, entry: Entry, start: int) -> np.ndarray:
        """One window, uint8 `t h w 3` (of several views `(v t)`).

        Raises:
            Failed: as `read`.
        """
        if self._cut is not None and entry.key not in self._kept and self._bytes(entry) > self._room:
            return self._checked(entry, self._cut(entry, start, self.frames), self.frames)
        frames = self.read(entry)
        if self.views == 1:
            return frames[start : start + self.frames]
        each = frames.reshape(self.views, entry.length, *frames.shape[1:])
        return each[:, start : start + self.frames].reshape(-1, *frames.shape[1:])

    def cropped(self, frames: np.ndarray, seed: int, step: int, row: int) -> np.ndarray:
        """The part of a window, uint8 `t h w 3`, that a row shows."""
        if self.size == self.whole:
            return frames
        room = [a - b for a, b in zip(self.whole, self.size)]
        draw = np.random.default_rng([seed, step, row, PLACE])
        top, left = (r // 2 if self.split == "held-out" else int(draw.integers(r + 1)) for r in room)
        return frames[:, top : top + self.size[0], left : left + self.size[1]]

    def _checked(self, entry: Entry, frames: np.ndarray, length: int) -> np.ndarray:
        if frames.shape != (self.views * length, *self.whole, 3) or frames.dtype != np.uint8:
            raise Failed(
                f"{self.what}, {entry.key}: expected {self.views * length} frames of {self.whole}, "
                f"decoded {frames.dtype} {frames.shape}."
            )
        return frames

    def _bytes(self, entry: Entry) -> int:
        return self.views * entry.length * self.whole[0] * self.whole[1] * 3

    def _take(self, entry: Entry) -> bool:
        """Whether there is room to keep an entry; it is taken then."""
        with _COUNTING:
            if self._bytes(entry) > self._room:
                return False
            self._room -= self._bytes(entry)
            return True

    def activity(self, entry: Entry) -> np.ndarray:
        """How much happens at each frame, float32 `t`: contact, or the mean change from the frame before (0 for the first)."""
        if entry.contact is not None:
            return entry.contact
        frames = self.read(entry)
        frames = frames.reshape(self.views, entry.length, *frames.shape[1:]).astype(np.float32)
        change = np.abs(frames[:, 1:] - frames[:, :-1]).mean((0, 2, 3, 4)) / 255
        return np.concatenate([np.zeros(1, np.float32), change.astype(np.float32)])

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """`video` float `b 3 t h w` in [-1, 1], `actions` raw, one sentence a row, cameras where they are known."""
        drawn = rows.draw(self.windows, self.entries, step, size, seed, rank)
        # In NumPy: a thread that works ahead must not start a second set of torch's threads.
        windows = [self.cropped(self.window(r.entry, r.start), seed, step, rank * size + i) for i, r in enumerate(drawn)]
        video = np.stack(windows).transpose(0, 4, 1, 2, 3).astype(np.float32, order="C")
        video /= np.float32(127.5)
        video -= np.float32(1.0)
        return Batch(
            video=torch.from_numpy(video), **rows.conditions(drawn, self.frames, self.spec, self.fps, self.views, self.size)
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
