"""Windows: a long file is read in pieces, and the pieces say what the whole would."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.curate.shots import SmallFrames, Transition, detect
from armillary.curate.shots.detect import ShotConfig, read
from armillary.curate.shots.features import REACH, features
from armillary.curate.shots.footage import slide, texture
from armillary.curate.shots.joins import join
from armillary.curate.shots.network import load
from armillary.curate.shots.windows import AROUND, merge, windows


@pytest.fixture(scope="module")
def long() -> SmallFrames:
    rng = np.random.default_rng(5)
    pool = [texture(k) for k in range(4)] + [slide(9)]
    parts = [join(pool, rng, 350).small for _ in range(3)]
    return SmallFrames(*(np.concatenate([getattr(p, k) for p in parts]) for k in "yuv"))


def pieces(small, window, around=AROUND):
    for first, begin, end, part in windows(zip(small.y, small.u, small.v), window, around):
        assert first <= begin < end
        assert np.array_equal(part.y, small.y[first : first + len(part)])
        yield begin, end, [Transition(t.kind, t.start + first, t.end + first, t.score) for t in detect(part, 30)]


@pytest.mark.parametrize("window", [101, 257])
def test_the_grid_does_not_show(long, window):
    whole = detect(long, 30)
    assert len(whole) >= 6
    found = merge(pieces(long, window))
    assert [(t.kind, t.start, t.end) for t in found] == [(t.kind, t.start, t.end) for t in whole]


def test_windows_cover_every_frame_once_and_hold_little():
    n, spans, held = 1000, [], 0
    rows = [(np.full((2, 2), k % 256, np.uint8),) * 3 for k in range(n)]
    for _, begin, end, part in windows(iter(rows), 150, 40):
        spans.append((begin, end))
        held = max(held, len(part))
    assert spans == [(k, min(n, k + 150)) for k in range(0, n, 150)]
    assert held <= 150 + 2 * 40
    assert list(windows(iter([]), 10, 2)) == []


def test_a_transition_two_windows_see_is_one():
    one = (0, 100, [Transition("fade", 90, 112, 0.8)])
    two = (100, 200, [Transition("fade", 101, 113, 0.9), Transition("cut", 150, 150, 0.7)])
    assert merge([one, two]) == [Transition("fade", 90, 113, 0.9), Transition("cut", 150, 150, 0.7)]


def test_a_belief_depends_on_nothing_beyond_its_reach(long):
    network = load(ShotConfig().weights)
    reach = REACH + network.config.reach
    assert reach < AROUND
    at = 400
    near = SmallFrames(*(getattr(long, k)[at - reach : at + reach + 1] for k in "yuv"))
    whole, part = network(features(long)), network(features(near))
    assert part.cut[reach] == pytest.approx(whole.cut[at], abs=1e-4)
    assert part.gradual[reach] == pytest.approx(whole.gradual[at], abs=1e-4)


def test_what_touches_is_one_transition():
    from armillary.curate.shots.network import Beliefs

    n = 60
    cut, gradual, kind = np.zeros(n), np.zeros(n), np.tile([0.1, 0.8, 0.1], (n, 1))
    cut[20] = 0.7  # a cut to black, then a fade in
    gradual[21:40] = 0.9
    cut[50], cut[52] = 0.9, 0.6
    found = read(Beliefs(cut, gradual, kind), ShotConfig())
    assert [(t.kind, t.start, t.end) for t in found] == [("fade", 20, 39), ("cut", 50, 50)]
