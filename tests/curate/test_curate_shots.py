"""Shots: cuts are found where they are, and what only looks like one is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import dissolve, fade, scene, small

from armillary.curate.shots import detect
from armillary.curate.shots.windows import find
from armillary.media import Reader


@pytest.mark.parametrize("seed", [10, 20, 30])
def test_hard_cuts_are_exact(seed):
    lengths = [40, 25, 60, 30]
    frames = np.concatenate([scene(seed + i, n, pan=i) for i, n in enumerate(lengths)])
    found = detect(small(frames), 25)
    assert [(t.kind, t.start, t.end) for t in found] == [("cut", s, s) for s in np.cumsum(lengths[:-1])]


@pytest.mark.parametrize(("seed", "length"), [(1, 10), (2, 16), (3, 24), (4, 36)])
def test_dissolves_are_found_with_their_extent(seed, length):
    frames, (first, last) = dissolve(scene(seed, 90, pan=1), scene(seed + 50, 90, pan=-1), length)
    found = detect(small(frames), 25)
    assert len(found) == 1
    assert found[0].kind == "dissolve"
    assert abs(found[0].start - first) <= max(3, length // 4)
    assert abs(found[0].end - last) <= max(3, length // 4)


@pytest.mark.parametrize("length", [8, 15, 25])
def test_fades_are_found_with_their_extent(length):
    frames, (first, last) = fade(scene(5, 80), scene(6, 80), length)
    found = detect(small(frames), 25)
    assert [t.kind for t in found] == ["fade"]
    assert abs(found[0].start - first) <= 3
    assert abs(found[0].end - last) <= 3


def flash(frames):
    out = frames.copy()
    out[50:53] = 255
    return out


def flicker(frames):
    gain = 0.75 + 0.25 * np.sin(np.arange(len(frames)) * 2.1)
    return (frames * gain[:, None, None, None]).astype(np.uint8)


def passer_by(frames):
    out = frames.copy()
    for k in range(10):  # something dark crosses the whole picture
        x = -120 + 30 * k
        out[40 + k, :, max(0, x) : max(0, x + 110)] = (40, 30, 30)
    return out


@pytest.mark.parametrize("trouble", [flash, flicker, passer_by])
def test_what_passes_is_no_cut(trouble):
    assert detect(small(trouble(scene(7, 120, pan=0.5))), 25) == []


@pytest.mark.parametrize(("frames", "pan", "shake"), [(100, 0.0, 0.0), (100, 3.0, 0.0), (36, 14.0, 0.0), (100, 0.0, 4.0)])
def test_camera_motion_is_no_cut(frames, pan, shake):
    assert detect(small(scene(8, frames, pan=pan, shake=shake)), 25) == []


def test_a_cut_inside_a_shaking_stretch_is_found():
    frames = np.concatenate([scene(9, 60, pan=0, shake=3), scene(19, 60, pan=0, shake=3)])
    assert [t.start for t in detect(small(frames), 25)] == [60]


def test_nothing_and_almost_nothing_are_one_shot():
    assert detect(small(scene(1, 2)), 25) == []
    assert detect(small(np.zeros((50, 64, 96, 3), np.uint8)), 25) == []


def found_in(path):
    with Reader(path) as reader:
        return list(find(reader).transitions)


def test_multishot_clips_by_hand(shared_data):
    truth = json.loads((shared_data / "videos/ground_truth.json").read_text())
    for name in ("multishot_hard_cuts_a.mp4", "screen_slideshow_a.mp4"):
        hard = found_in(shared_data / "videos" / name)
        assert [(t.start, t.end) for t in hard] == [(c, c) for c in truth[name]["cuts"]], name
    views = found_in(shared_data / "videos/driving_multiview_snow_6x9.mp4")
    assert [(t.start, t.end) for t in views] == [(k, k) for k in range(9, 54, 9)]
    soft = found_in(shared_data / "videos/multishot_gradual_a.mp4")
    for t, want in zip(soft, truth["multishot_gradual_a.mp4"]["transitions"], strict=True):
        assert abs(t.start - want["first"]) <= 3
        assert abs(t.end - want["last"]) <= 3
    for name in ("human_football_juggle.mp4", "driving_highway_lane_a.mp4"):
        assert found_in(shared_data / "videos" / name) == [], name
