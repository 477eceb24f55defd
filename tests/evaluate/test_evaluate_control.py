"""Worlds that follow, that are deaf, and that twitch without following."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import control, control_section, evaluate_control
from armillary.evaluate.blocks import Page
from armillary.evaluate.page import render

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

EPISODES = [drawn.episode(seed, frames=17) for seed in range(7)]


def twin(episode, actions):
    return drawn.truth_of(actions, (32.0, 32.0), drawn.STARTS)


def deaf(given, actions, text, seed):
    """Noise and a drifting tip, whatever is commanded."""
    return drawn.noisy(given, np.full_like(actions, 0.7), text, seed)


def test_a_world_that_follows_is_said_to():
    report = evaluate_control(drawn.noisy, EPISODES, steps=12, twin=twin)
    m = report.metrics
    assert m["verdict"] == control.FOLLOWS, m["why"]
    assert m["variants"]["swapped"]["ratio"]["low"] > 1.1 and m["path"]["follows"]["mean"] > 0.95
    assert m["path"]["error_px"]["8"] < 1.5 < m["path"]["apart_px"]["8"]
    assert m["null_drift_px"]["8"] < 0.5
    assert m["floor"]["mean"] == pytest.approx(2.0 * 2 / np.sqrt(np.pi), rel=0.1)  # mean |difference| of two noises of sigma 2
    assert "follows actions" in render(Page("t", "", [control_section(report)]))


def test_a_deaf_world_is_action_blind_and_its_ratio_is_one():
    m = evaluate_control(deaf, EPISODES, steps=12, twin=twin).metrics
    assert m["verdict"] == control.BLIND
    assert m["variants"]["swapped"]["ratio"]["mean"] == pytest.approx(1.0, abs=1e-9)
    assert m["own_truth"]["mean"] == 0.5  # nothing but ties


def test_a_deterministic_deaf_world_is_blind_too():
    def still(given, actions, text, seed):
        return np.repeat(given[-1:], len(actions), axis=0)

    m = evaluate_control(still, EPISODES, steps=12).metrics
    assert m["verdict"] == control.BLIND and m["floor"]["mean"] == 0 and m["variants"]["swapped"]["ratio"]["mean"] == 0


def test_a_world_that_does_the_opposite_is_blind_though_it_moves():
    def contrary(given, actions, text, seed):
        return drawn.noisy(given, -actions, text, seed)

    m = evaluate_control(contrary, EPISODES, steps=12, twin=twin).metrics
    assert m["variants"]["swapped"]["ratio"]["low"] > control.CHANCE_RATIO
    assert m["verdict"] == control.BLIND and m["path"]["follows"]["mean"] < 0.5


def test_a_world_deaf_to_how_much_is_blind_though_it_knows_the_way():
    def signs(given, actions, text, seed):
        return drawn.noisy(given, 1.5 * np.sign(actions), text, seed)

    m = evaluate_control(signs, EPISODES, steps=12, twin=twin).metrics
    assert m["verdict"] == control.BLIND and "deaf to scaled" in m["why"]
    assert m["variants"]["swapped"]["follows"]["low"] > 0.5 > m["variants"]["scaled"]["follows"]["high"]


class Reads:
    """Reads the tip's steps off the magenta pixels."""

    std, mean, skill, trusted = np.ones(2), np.zeros(2), np.ones(2), np.array([True, True])

    def read(self, video):
        tips = []
        for frame in video.astype(int):
            y, x = np.nonzero((frame[..., 0] > 120) & (frame[..., 2] > 100) & (frame[..., 1] < 80))
            tips.append((x.mean(), y.mean()) if len(x) else (np.nan, np.nan))
        return np.diff(np.array(tips), axis=0)


def test_on_real_data_a_probe_says_what_was_done():
    bare = [replace(e, truth={}) for e in EPISODES]
    m = evaluate_control(drawn.noisy, bare, steps=12, probe=Reads()).metrics  # type: ignore[arg-type]
    assert m["judge"] == "probe" and m["probe"] == {"vx": 1.0, "vy": 1.0}
    assert m["verdict"] == control.FOLLOWS, m["why"]
    assert m["variants"]["swapped"]["follows"]["mean"] > 0.8 and m["path"]["error_px"]["8"] < m["path"]["apart_px"]["8"]
    assert evaluate_control(deaf, bare, steps=12, probe=Reads()).metrics["verdict"] == control.BLIND  # type: ignore[arg-type]


def test_scaled_actions_of_an_absolute_spec_go_half_the_way():
    actions = np.array([[2.0, 0.0], [4.0, 2.0]])
    np.testing.assert_array_equal(control.scaled_actions(drawn.SPEC, actions), actions / 2)
    half = control.scaled_actions(replace(drawn.SPEC, mode="absolute"), actions)
    np.testing.assert_array_equal(half, [[2.0, 0.0], [3.0, 1.0]])


def test_without_a_twin_the_own_truth_decides():
    m = evaluate_control(drawn.noisy, EPISODES, steps=12).metrics
    assert m["path"] is None and m["own_truth"]["mean"] == 1.0 and m["verdict"] == control.FOLLOWS


def test_too_few_episodes_are_inconclusive():
    m = evaluate_control(drawn.noisy, EPISODES[:2], steps=12).metrics
    assert m["verdict"] == control.OPEN and "at least are wanted" in m["why"]


def test_episodes_that_all_do_the_same_are_no_test():
    same = [replace(EPISODES[0], id=f"same-{i}") for i in range(3)]
    m = evaluate_control(drawn.noisy, same, steps=8).metrics
    assert m["verdict"] == control.OPEN and m["variants"]["swapped"]["n"] == 0


def test_null_of_an_absolute_spec_holds_the_first_command():
    actions = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(control.null_actions(drawn.SPEC, actions), np.zeros((3, 2)))
    held = control.null_actions(replace(drawn.SPEC, mode="absolute"), actions)
    np.testing.assert_array_equal(held, [[0, 1]] * 3)


def test_what_cannot_be_asked_is_an_error():
    with pytest.raises(BadInput, match="two episodes"):
        evaluate_control(drawn.noisy, EPISODES[:1], steps=8)
    other = replace(EPISODES[1], spec=replace(drawn.SPEC, rate=5.0))
    with pytest.raises(BadInput, match="differ in their action specs"):
        evaluate_control(drawn.noisy, [EPISODES[0], other], steps=8)
    with pytest.raises(BadInput, match="another world"):
        evaluate_control(drawn.noisy, EPISODES[:2], steps=8, twin=lambda e, a: {"tip_px": np.zeros((len(a), 2))})


def test_the_simulator_is_its_own_twin():
    pytest.importorskip("mujoco", reason="the simulator needs mujoco")
    from armillary import sims

    episode = sims.record_episode(sims.make("tabletop"), 5, "play", frames=5, size=16)
    replayed = control.sim_twin(episode, episode.actions)
    for key in ("tip_px", "object_px", "contact"):
        np.testing.assert_array_equal(replayed[key], episode.truth[key])
    with pytest.raises(BadInput, match="names no simulator"):
        control.sim_twin(EPISODES[0], episode.actions)
