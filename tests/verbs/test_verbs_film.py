"""The demo's raw footage: the flaws are where the truth says, and the file that should be broken is."""

from __future__ import annotations

import json

import numpy as np

from armillary import media
from armillary.types import ActionSpec, Episode
from armillary.verbs._film import make_films
from armillary.verbs._portrait import portrait


def episode(n: int) -> Episode:
    rng = np.random.default_rng(n)
    base = np.repeat(np.repeat(rng.integers(40, 200, (4, 4, 3), dtype=np.uint8), 16, 0), 16, 1)
    frames = np.stack([np.roll(base, 2 * t, axis=1) for t in range(33)])
    spec = ActionSpec((), (), "", 10.0, "delta", (), ())
    return Episode(f"e-{n}", 10.0, {"front": frames}, np.zeros((33, 0), np.float32), np.zeros((33, 0), np.float32), spec)


def test_flaws_lie_where_the_truth_says(tmp_path):
    paths = make_films([episode(n) for n in range(12)], tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert {p.name for p in paths} == set(truth["films"]) | set(truth["broken"])
    film = media.read_video(tmp_path / "film-flaws.mp4").frames
    shots = {s["kind"] + s["transition"]: s for s in truth["films"]["film-flaws.mp4"]}
    assert shots["plaindissolve"]["begin"] < shots["staticcut"]["begin"] < shots["textcut"]["begin"]
    still = film[shots["staticcut"]["begin"] : shots["staticcut"]["end"]].astype(int)
    assert np.abs(still[1:] - still[:-1]).mean() < 4
    jump = np.abs(film[shots["staticcut"]["begin"]].astype(int) - film[shots["staticcut"]["begin"] - 1]).mean()
    assert jump > 15
    assert shots["textcut"]["end"] <= len(film)
    whole = (tmp_path / "film-flaws.mp4").stat().st_size
    assert (tmp_path / "film-broken.mp4").stat().st_size < whole


def test_the_drawn_head_moves():
    frames = portrait(6, 128)
    assert frames.shape == (6, 128, 128, 3) and frames.dtype == np.uint8
    assert not np.array_equal(frames[0], frames[-1])
