"""A probe that reads what was done off two frames: it learns what shows, says what it is worth, and learns nothing from noise."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate.probe import Pairs, fit_probe, reading


def runs(count: int, seed: int):
    """A large square that moves sideways as it is told, and up and down by itself; the third number is noise that nothing shows."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        frames, done = [], []
        x, y = rng.uniform(20, 44, 2)
        for _ in range(9):
            frame = np.full((64, 64, 3), 100, np.uint8)
            frame[int(y) - 10 : int(y) + 10, int(x) - 10 : int(x) + 10] = (230, 50, 40)
            frames.append(frame)
            move = rng.uniform(-6, 6)
            done.append((move, rng.normal()))
            x, y = np.clip(x + move, 12, 52), np.clip(y + rng.uniform(-2, 2), 12, 52)
        yield np.stack(frames), np.array(done)


def test_it_tells_what_shows_and_says_what_it_does_not():
    probe = fit_probe(Pairs.of(runs(30, 0)), Pairs.of(runs(8, 1)), steps=150, batch=32)
    assert probe.skill[0] > 0.5 and probe.skill[1] < 0.1
    assert probe.trusted.tolist() == [True, False]
    said = reading(probe, ("across", "unseen"))
    assert said is not None and said["across"] == pytest.approx(probe.skill[0], abs=1e-3)
    video, done = next(runs(1, 2))
    read = probe.read(video)
    assert read.shape == (8, 2) and np.corrcoef(read[:, 0], done[:8, 0])[0, 1] > 0.7


def test_too_little_is_refused():
    with pytest.raises(BadInput, match="at least 8 pairs"):
        fit_probe(Pairs.of((v[:3], d) for v, d in runs(2, 0)), Pairs.of(runs(1, 1)), steps=1)
    with pytest.raises(BadInput, match="none were given"):
        Pairs.of([])
