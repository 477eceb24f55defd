"""Long dreams of drawn worlds: one that holds, one whose objects go, one that fades, one that makes things up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from armillary import presets
from armillary.errors import BadInput
from armillary.evaluate import collapse
from armillary.evaluate.blocks import Page
from armillary.evaluate.long import evaluate_long
from armillary.evaluate.page import render
from armillary.evaluate.present_long import long_section

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

LENGTH = 50
EPISODES = [drawn.episode(seed, frames=LENGTH + 4) for seed in range(3)]
GONE = 20  # frames dreamed before something goes wrong: whole windows


def judged(dream, **more):
    return evaluate_long(dream, EPISODES, **{"trained": 5, "times": 10, "past": 4} | more)  # type: ignore[arg-type]


def spoiled(spoil):
    """A dream that knows the rules, and then does `spoil(frame, how far after `GONE` it is)` to its frames."""

    def dream(given, actions, text, seed):
        frames = drawn.noisy(given, actions, text, seed)
        return np.stack([f if i < GONE else spoil(f, i - GONE) for i, f in enumerate(frames)])

    return dream


@pytest.fixture(scope="module")
def held():
    watched = []
    return judged(drawn.noisy, watch=lambda *seen: watched.append(seen), reconstruct=lambda f: f // 2 * 2), watched


def test_a_dream_that_knows_the_rules_holds(held):
    m = held[0].metrics
    assert (
        m["verdict"] == "HOLDS"
        and m["steps"] == LENGTH - 4
        and m["horizons"] == {"1": 1, "6": 2, "11": 3, "21": 5, "31": 7, "46": 10}
    )
    things = m["objects"]["dream"]["46"]
    assert things["n"] == 9 and things["kept"]["mean"] == 1 and things["error_px"] < 1 and things["invented"]["mean"] == 0
    assert m["psnr"]["dream"]["46"]["mean"] > m["psnr"]["copy"]["46"]["mean"] + 3
    assert m["versus"]["psnr"]["46"]["difference"]["low"] > 0
    for arm in ("truth", "copy", "reconstruction"):
        assert m["collapse"][arm]["share"]["mean"] == 0
    assert m["collapse"]["truth"]["left"]["share"]["mean"] == 0  # nothing leaves its own range
    episode, truth, dream = held[1][0]
    assert len(truth) == len(dream) == LENGTH and episode.id == EPISODES[0].id


def test_the_report_is_json_and_a_page(held):
    again = json.loads(json.dumps(presets.to_json(held[0]), allow_nan=False))
    assert len(again["metrics"]["curves"]["kept"]["dream"]["mean"]) == len(again["metrics"]["curves"]["x"])
    text = render(Page("t", "", [long_section(held[0])]))
    assert "trained length" in text and "Objects still there" in text and "of episodes collapse" in text


def test_objects_that_go_are_a_collapse_at_the_frame_they_go():
    def forget(frame, late):
        out = frame.copy()
        for x, y in drawn.STARTS[1:]:  # of three squares the two that nobody touches
            rows, columns = slice(int(y) - 5, int(y) + 6), slice(int(x) - 5, int(x) + 6)
            out[rows, columns] = drawn.table()[rows, columns]
        return out

    m = judged(spoiled(forget)).metrics
    found = m["collapse"]["dream"]
    assert m["verdict"] == "COLLAPSES" and found["why"] == {"objects": 3}
    assert found["median_horizon"] == GONE + 1
    assert m["objects"]["dream"]["46"]["kept"]["mean"] < 0.5 < m["objects"]["dream"]["11"]["kept"]["mean"]
    assert m["per_episode"][0]["dream"]["by"] == "objects" and "3 of 3 episodes collapse" in m["why"]


def test_a_picture_that_darkens_is_a_collapse_though_its_objects_are_there():
    m = judged(spoiled(lambda frame, late: (frame * 0.96 ** min(late, 8)).round().astype(np.uint8))).metrics
    assert m["verdict"] == "COLLAPSES" and set(m["collapse"]["dream"]["why"]) <= set(collapse.LOOKS)
    assert m["objects"]["dream"]["46"]["kept"]["mean"] == 1
    assert m["curves"]["contrast"]["dream"]["mean"][-1] < 0.8 < m["curves"]["contrast"]["truth"]["mean"][-1]


def test_what_is_made_up_is_counted():
    def double(frame, late):
        out = frame.astype(float)
        drawn.paint(out, (14.0, 12.0), 4.5, drawn.COLOURS[1])
        return out.round().astype(np.uint8)

    m = judged(spoiled(double)).metrics
    far = {arm: v["46"]["invented"]["mean"] for arm, v in m["objects"].items()}
    assert far["dream"] == pytest.approx(1 / 3) and far["truth"] == far["copy"] == 0
    assert m["objects"]["dream"]["11"]["invented"]["mean"] == 0 and m["objects"]["dream"]["46"]["kept"]["mean"] == 1


def test_some_is_less_than_half():
    def dream(given, actions, text, seed):
        frames = drawn.noisy(given, actions, text, seed)
        return frames if seed else np.zeros_like(frames)

    m = judged(dream).metrics
    assert m["verdict"] == "SOME COLLAPSE" and m["collapse"]["dream"]["median_horizon"] is None
    assert m["collapse"]["dream"]["share"]["mean"] == pytest.approx(1 / 3)


def test_windows_cover_every_frame_once():
    for steps, fps in ((1, 10), (7, 10), (76, 10), (165, 10), (400, 24)):
        parts = collapse.windows(steps, fps)
        assert [i for p in parts for i in range(p.start, p.stop)] == list(range(steps))
        assert parts[0].stop <= max(1, round(fps))


def test_a_look_gives_way_only_beyond_the_truth():
    still = {n: np.ones(4) for n in collapse.RATIOS} | {"colour": np.zeros(4)}
    wide = still | {"contrast": np.array([1, 1.5, 1, 1])}
    reach = collapse.farthest([still, wide])
    assert collapse.first(wide, reach) is None
    assert collapse.first(still | {"contrast": np.array([1, 1, 1, 0.3])}, reach) == (3, "contrast")
    assert collapse.first(still, reach, np.array([1, np.nan, 0.4, 1])) == (2, "objects")


def test_bad_lengths_and_short_episodes():
    with pytest.raises(BadInput, match="nothing to dream"):
        judged(drawn.perfect, times=0.8)
    with pytest.raises(BadInput, match="longest has"):
        judged(drawn.perfect, times=100)
