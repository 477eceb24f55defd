"""Rollouts of drawn worlds: a dream that knows the rules, one that copies, one that forgets an object."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary import presets
from armillary.errors import BadInput, Failed
from armillary.evaluate import evaluate_world, world_section
from armillary.evaluate.blocks import Page
from armillary.evaluate.page import render

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

EPISODES = [drawn.episode(seed, frames=22) for seed in range(4)]
HORIZONS = (1, 8, 16)


@pytest.fixture(scope="module")
def good():
    watched = []
    report = evaluate_world(
        drawn.noisy, EPISODES, HORIZONS, reconstruct=lambda f: f // 2 * 2, watch=lambda *seen: watched.append(seen)
    )
    return report, watched


def test_a_dream_that_knows_the_rules_beats_copying(good):
    m = good[0].metrics
    assert m["psnr"]["dream"]["16"]["mean"] > m["psnr"]["copy"]["16"]["mean"] + 3
    assert m["over_copy"]["16"]["low"] > 0
    assert m["psnr_changed"]["reconstruction"]["16"]["mean"] > m["psnr_changed"]["dream"]["16"]["mean"]
    assert m["tip"]["dream"]["16"]["error_px"] < 1.5 < m["tip"]["copy"]["16"]["error_px"]
    assert m["objects"]["dream"]["all"]["16"]["lost"]["mean"] == 0


def test_counts_add_up_and_the_tracker_is_reported(good):
    m = good[0].metrics
    for h in map(str, HORIZONS):
        kinds = m["objects"]["dream"]
        assert kinds["all"][h]["n"] == sum(kinds[k][h]["n"] for k in ("untouched", "pushed", "occluded")) == 12
    assert m["tracker"]["missed"] == 0 and m["tracker"]["median_error_px"] < 0.6
    assert len(m["per_episode"]) == 4 and m["frames_per_second"] > 0
    assert len(m["curves"]["psnr"]["dream"]) == 16


def test_copy_moves_nothing(good):
    pushed = good[0].metrics["objects"]["copy"]["pushed"]["16"]
    assert pushed["n"] > 0 and pushed["lost"]["mean"] == 0 and pushed["in_place"]["mean"] < 0.5
    assert good[0].metrics["objects"]["dream"]["pushed"]["16"]["in_place"]["mean"] == 1


def test_the_report_is_json_and_a_page(good):
    report, watched = good
    again = json.loads(json.dumps(presets.to_json(report), allow_nan=False))
    assert again["metrics"]["psnr"]["dream"]["8"]["n"] == 4
    text = render(Page("t", "", [world_section(report)]))
    assert "PSNR on changed pixels" in text and "In place" not in text and "in place +16" in text
    episode, truth, dream = watched[0]
    assert truth.shape == dream.shape == (20, 64, 64, 3) and (truth[:4] == dream[:4]).all() and episode.id == EPISODES[0].id


def test_a_forgotten_object_is_seen_where_psnr_is_blind(good):
    def forgetful(given, actions, text, seed):
        frames = drawn.noisy(given, actions, text, seed).astype(float)
        for f in frames:
            patch = drawn.table()[45:55, 9:20]
            f[45:55, 9:20] = patch  # the blue square is gone
        return frames.round().astype(np.uint8)

    m = evaluate_world(forgetful, EPISODES[:2], HORIZONS).metrics
    untouched = m["objects"]["dream"]["untouched"]["16"]
    assert untouched["lost"]["mean"] > 0.2 and "reconstruction" not in m["psnr"]
    assert m["psnr"]["dream"]["16"]["mean"] > 20  # and yet a fair PSNR


def test_the_dream_is_asked_what_the_episode_did():
    asked = []

    def spy(given, actions, text, seed):
        asked.append((given, actions, text, seed))
        return np.zeros((len(actions), 64, 64, 3), np.uint8)

    evaluate_world(spy, EPISODES[:2], (1, 6), past=3, multiple=4, seed=7)
    given, actions, text, seed = asked[1]
    assert len(given) == 3 and len(actions) == 8 and text == "squares" and seed == 8
    np.testing.assert_array_equal(actions, EPISODES[1].actions[2:10])
    np.testing.assert_array_equal(given, EPISODES[1].frames["front"][:3])


def test_larger_frames_are_brought_to_size():
    big = [drawn.episode(seed, frames=8, size=128) for seed in range(2)]
    m = evaluate_world(drawn.perfect, big, (1, 3), past=2).metrics
    assert m["objects"]["dream"]["all"]["3"]["in_place"]["mean"] == 1


def test_short_episodes_are_named_and_none_long_enough_is_an_error():
    short = replace(EPISODES[0], id="stub", frames={"front": EPISODES[0].frames["front"][:6]}, actions=EPISODES[0].actions[:6])
    report = evaluate_world(drawn.perfect, [*EPISODES[:1], short], (4,))
    assert any("stub" in note for note in report.notes) and report.metrics["episodes"] == 1
    with pytest.raises(BadInput, match="longest has 6"):
        evaluate_world(drawn.perfect, [short], (4,))
    with pytest.raises(BadInput, match="none was given"):
        evaluate_world(drawn.perfect, [], (4,))


def test_episodes_without_truth_are_measured_by_pixels_alone():
    bare = [replace(e, truth={}) for e in EPISODES[:2]]
    report = evaluate_world(drawn.perfect, bare, (1, 4))
    assert "objects" not in report.metrics and any("no truth about objects" in n for n in report.notes)
    render(Page("t", "", [world_section(report)]))


def test_a_dream_of_another_shape_is_refused():
    with pytest.raises(Failed, match="gave uint8"):
        evaluate_world(lambda *_: np.zeros((1, 64, 64, 3), np.uint8), EPISODES[:1], (4,))
    with pytest.raises(BadInput, match="camera"):
        evaluate_world(drawn.perfect, EPISODES[:1], (4,), camera="side")
    with pytest.raises(BadInput, match="start at 1"):
        evaluate_world(drawn.perfect, EPISODES[:1], (0, 4))
