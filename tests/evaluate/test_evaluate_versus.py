"""A dream against copying the last frame: paired, and with no way for a lost object to hide."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from armillary.evaluate import evaluate_world, versus
from armillary.evaluate.blocks import Page
from armillary.evaluate.page import render
from armillary.evaluate.present_long import versus_section

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

EPISODES = [drawn.episode(2 * seed, frames=22) for seed in range(6)]  # in each of which the red square is pushed


def found(dream, episodes=EPISODES, horizons=(1, 16)):
    return evaluate_world(dream, episodes, horizons).metrics["versus"]


def copying(given, actions, text, seed):
    return np.repeat(given[-1:], len(actions), axis=0)


def test_a_dream_that_knows_the_rules_beats_copying_at_every_horizon():
    v = found(drawn.noisy)
    assert v["verdict"] == versus.BEATS and v["better"]["psnr"] == v["horizons"] == list(range(1, 17))
    assert not v["worse"]["kept"] and 16 in v["better"]["moved_error_px"] and 16 in v["better"]["in_place"]
    row = v["in_place"]["16"]
    assert row["difference"]["mean"] == pytest.approx(row["dream"] - row["copy"]) and row["objects"] == 18
    text = render(Page("t", "", [versus_section(v)]))
    assert "beats copying" in text and "PSNR gained over copying" in text


def test_copying_does_not_beat_copying():
    v = found(copying)
    assert v["verdict"] == versus.NOT and v["alike"]["psnr"] == v["horizons"] and not v["better"]["psnr"]
    assert all(v["psnr"][str(h)]["difference"]["mean"] == 0 for h in v["horizons"])


def test_a_lost_object_is_not_made_up_for_by_pixels():
    def forgetful(given, actions, text, seed):
        frames = drawn.noisy(given, actions, text, seed)
        place = (slice(8, None), slice(45, 56), slice(9, 20))
        frames[place] = (0.35 * frames[place] + 0.65 * drawn.table()[place[1:]]).round()  # the blue square all but fades away
        return frames

    v = found(forgetful)
    assert v["verdict"] == versus.PIXELS and v["better"]["psnr"] == v["horizons"]
    assert (
        v["worse"]["kept"] == list(range(9, 17)) and "Objects kept: no different at +1 to +8, worse at +9 to +16." in v["why"]
    )


def test_what_no_dream_through_this_tokenizer_could_reach_is_said():
    def coarse(frames):
        return (frames // 96 * 96 + 48).astype(np.uint8)

    v = evaluate_world(drawn.noisy, EPISODES, (1, 3), reconstruct=coarse).metrics["versus"]
    assert v["out_of_reach"] == [1, 2, 3] and "through the tokenizer is no better than copying at +1 to +3" in v["why"]
    assert evaluate_world(drawn.noisy, EPISODES, (1, 3), reconstruct=lambda f: f).metrics["versus"]["out_of_reach"] == []


def test_few_episodes_and_no_truth_say_so():
    few = found(drawn.noisy, EPISODES[:3])
    assert few["verdict"] == versus.OPEN and not any(few["better"].values()) and "too little to judge" in few["why"]
    from dataclasses import replace

    bare = found(drawn.noisy, [replace(e, truth={}) for e in EPISODES])
    assert bare["verdict"] == versus.PIXELS and "no truth about objects" in bare["why"] and "kept" not in bare


def test_fewer_frames_than_sixteen_are_all_judged():
    assert found(drawn.noisy, horizons=(1, 5))["horizons"] == [1, 2, 3, 4, 5]


def test_sides_and_ranges():
    def about(low, high):
        return {"mean": (low + high) / 2, "low": low, "high": high, "n": 9}

    assert [versus.side_of(about(*x)) for x in ((1, 2), (-1, 1), (-2, -1), (0, 0))] == ["better", "alike", "worse", "alike"]
    assert versus.side_of(about(-2, -1), lower=True) == "better"
    assert versus.side_of(about(1, 1) | {"n": 1}) is None, "one episode has an interval of no width"
    assert versus.side_of({"mean": None, "low": None, "high": None, "n": 0}) is None
    assert versus.ranges([3, 1, 2, 7, 9, 10]) == "+1 to +3, +7, +9 to +10"
