"""Worlds that do what a sentence says, that do something, and that do nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import instruction as measure
from armillary.evaluate.instruction import evaluate_instruction, named

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

NAMES = ("red", "blue", "yellow")
STARTS = np.array(drawn.STARTS)


def frames_of(which: int, steps: int, opacity=(1.0, 1.0, 1.0)) -> np.ndarray:
    """One square slides to the left; -1: none."""
    out = []
    for t in range(steps):
        places = STARTS.copy()
        if which >= 0:
            places[which, 0] -= 0.8 * (t + 1)
        out.append(drawn.picture(places, (6.0, 6.0), opacity))
    return np.stack(out)


def episode(seed: int):
    which = seed % 3
    pictures = np.concatenate([frames_of(-1, 4), frames_of(which, 12)])
    places = np.tile(STARTS, (16, 1, 1))
    places[4:, which, 0] -= 0.8 * np.arange(1, 13)
    made = drawn.episode(seed, frames=16)
    truth = {"object_px": places, "object_area": np.full((16, 3), 81), "object_hidden": np.zeros((16, 3), bool)}
    return replace(made, frames={"front": pictures}, instruction=f"push the {NAMES[which]} square left", truth=truth)


EPISODES = [episode(seed) for seed in range(7)]


def obeys(given, actions, text, seed):
    assert actions is None
    return frames_of(named(text, NAMES), 12)


def judge(dream, episodes=EPISODES, **more):
    return evaluate_instruction(dream, episodes, steps=12, names=lambda e: NAMES, **more).metrics


def test_a_world_that_obeys():
    m = judge(obeys)
    assert m["verdict"] == measure.FOLLOWS, m["why"]
    assert m["told"]["moves"]["mean"] == 1.0 and m["silent"]["moves"]["mean"] == 0.0 and m["truth"]["moves"]["mean"] == 1.0
    assert m["swapped"]["moves"]["mean"] == 0.0 and m["heard"]["mean"] == 1.0
    assert m["own_truth"]["mean"] == 1.0 and m["unnamed"] == 0


def test_what_a_world_does_unasked_is_not_held_against_it():
    """An able hand that is told nothing pushes something, here always what would have been named."""

    def able(given, actions, text, seed):
        return frames_of(named(text, NAMES) if text else seed // 2 % 3, 12)

    m = judge(able)
    assert m["silent"]["moves"]["mean"] == 1.0 and m["gain"]["mean"] == 0.0 and m["verdict"] == measure.FOLLOWS


def test_a_world_that_always_pushes_the_same_is_blind():
    m = judge(lambda given, actions, text, seed: frames_of(0, 12))
    assert m["verdict"] == measure.BLIND
    assert m["told"]["moves"]["mean"] == m["silent"]["moves"]["mean"] == pytest.approx(3 / 7)
    assert m["swapped"]["moves"]["n"] == 6 and m["heard"]["mean"] == 0.0, "the last episode's neighbour names the same thing"


def test_what_dissolves_has_not_moved():
    def dissolves(given, actions, text, seed):
        which = named(text, NAMES)
        return frames_of(which, 12, tuple(0.15 if k == which else 1.0 for k in range(3)))

    assert judge(dissolves)["told"]["moves"]["mean"] == 0.0


def test_without_a_truth_the_own_truth_decides():
    bare = [replace(e, truth={}) for e in EPISODES]
    m = judge(obeys, bare)
    assert m["told"]["moves"] is None and m["verdict"] == measure.FOLLOWS
    assert judge(lambda g, a, t, s: frames_of(-1, 12), bare)["verdict"] == measure.BLIND


def test_the_first_name_counts():
    assert named("put the blue block left of the red one", NAMES) == 1
    assert named("credit where it is due", NAMES) == -1


def test_episodes_without_a_sentence_are_refused():
    with pytest.raises(BadInput, match="1 episodes have no instruction"):
        judge(obeys, [replace(EPISODES[0], instruction="", caption=""), EPISODES[1]])


def test_the_simulator_names_its_things():
    pytest.importorskip("mujoco", reason="the simulator needs mujoco")
    from armillary import sims

    made = sims.record_episode(sims.make("tabletop"), 3, "expert", frames=2, size=16)
    colours = measure.sim_names(made)
    assert colours and len(colours) == made.truth["object_px"].shape[1] and named(made.instruction, colours) >= 0
    assert measure.sim_names(replace(made, id="real-3")) is None
