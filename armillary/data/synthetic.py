"""Squares on a plain ground, one of which obeys: a dataset drawn in a moment, for tests and for trying a run out.

A bright square moves by the action (pixels a frame = 3 x action), stops at the border and pushes the other squares it meets.
Everything follows from `seed`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from armillary.data.base import Entry, Split
from armillary.data.pixels import Pixels
from armillary.errors import BadInput
from armillary.presets import to_json
from armillary.types import ActionSpec

COLOURS = {"red": (220, 60, 50), "blue": (60, 90, 220), "green": (60, 170, 80), "yellow": (230, 200, 60)}
SPEED = 3.0


@dataclass(frozen=True)
class SyntheticConfig:
    """Args: `episodes` of `length` frames, drawn from `seed`; windows of `frames` at `size` (height, width); see `Pixels` for the rest."""

    episodes: int = 32
    length: int = 24
    frames: int = 9
    size: tuple[int, int] = (32, 32)
    seed: int = 0
    fps: float = 10.0
    held_out: float = 0.1
    focus: float = 0.0
    memory: float = 1.0

    def build(self, split: Split = "train") -> Pixels:
        if min(self.size) < 16 or self.episodes < 1:
            raise BadInput(
                f"Drawn squares want at least 16 pixels and 1 episode; got size {self.size}, {self.episodes} episodes."
            )
        drawn = {e.key: (e, frames) for e, frames in (self._draw(i) for i in range(self.episodes))}
        content = {k: v for k, v in to_json(self).items() if k not in ("frames", "held_out", "focus", "memory")}
        spec = ActionSpec(("vx", "vy"), ("1", "1"), "image", self.fps, "delta", (-1.0, -1.0), (1.0, 1.0))
        return Pixels(
            "The drawn dataset",
            [e for e, _ in drawn.values()],
            lambda entry: drawn[entry.key][1],
            hash=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
            split=split,
            frames=self.frames,
            size=self.size,
            fps=self.fps,
            spec=spec,
            held_out=self.held_out,
            focus=self.focus,
            memory=self.memory,
        )

    def _draw(self, index: int) -> tuple[Entry, np.ndarray]:
        """One episode: (entry, frames uint8 `t h w 3`)."""
        rng = np.random.default_rng([self.seed, index])
        h, w = self.size
        side = max(4, min(h, w) // 6)
        limit = np.array([w - side, h - side], dtype=np.float64)
        names = list(rng.permutation(list(COLOURS))[:2])
        at = np.stack([rng.uniform(0, 1, 2) * limit for _ in range(3)])
        actions = np.zeros((self.length, 2), np.float32)
        contact = np.zeros(self.length, np.float32)
        frames = np.full((self.length, h, w, 3), 40, np.uint8)
        aim = rng.uniform(-1, 1, 2)
        for t in range(self.length):
            if t % 6 == 0:
                aim = rng.uniform(-1, 1, 2)
            actions[t] = np.clip(aim + rng.normal(0, 0.1, 2), -1, 1)
            for name, (x, y) in zip(names, at[1:]):
                frames[t, round(y) : round(y) + side, round(x) : round(x) + side] = COLOURS[name]
            x, y = at[0]
            frames[t, round(y) : round(y) + side, round(x) : round(x) + side] = 250
            at[0] = np.clip(at[0] + SPEED * actions[t], 0, limit)
            for k in (1, 2):
                gap = at[k] - at[0]
                if np.abs(gap).max() < side:  # overlap: the square gives way along the axis on which it overlaps less
                    axis = int(np.abs(gap).argmax())
                    at[k, axis] = np.clip(at[0, axis] + np.copysign(side, gap[axis]), 0, limit[axis])
                    contact[min(t + 1, self.length - 1)] = 1
        key = f"drawn-{self.seed}-{index:06d}"
        return Entry(
            key, key, self.length, (f"a white square among a {names[0]} and a {names[1]} one",), actions, contact
        ), frames
