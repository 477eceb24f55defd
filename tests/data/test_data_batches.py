"""Batches are a function of (seed, step, row); the split stays put; focus finds where something happens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.data import DATASETS, Entry, SyntheticConfig
from armillary.data.base import Windows, long_enough, split_entries
from armillary.data.pixels import Pixels, fit_spec
from armillary.errors import BadInput, Failed
from armillary.types import ActionSpec

SMALL = SyntheticConfig(episodes=12, length=14, frames=5, size=(16, 24))


def equal(a, b):
    return a.keys == b.keys and a.text == b.text and torch.equal(a.video, b.video) and torch.equal(a.actions, b.actions)


def test_shapes_and_ranges():
    batch = SMALL.build().batch(0, 3, 0)
    assert batch.video.shape == (3, 3, 5, 16, 24) and batch.video.dtype == torch.float32
    assert -1 <= batch.video.min() < -0.5 and 0.5 < batch.video.max() <= 1
    assert batch.actions.shape == (3, 5, 2) and batch.fps.tolist() == [10.0] * 3 and len(batch.text) == len(batch.keys) == 3


def test_a_batch_is_a_function_of_its_arguments():
    one, two = SMALL.build(), SMALL.build()
    for step in (7, 0, 3):
        assert equal(one.batch(step, 4, 5), two.batch(step, 4, 5))
    keys = {one.batch(step, 4, seed).keys for step in range(4) for seed in range(3)}
    assert len(keys) == 12
    starved = dataclasses.replace(SMALL, memory=0.0).build()  # nothing is kept decoded: still the same
    assert equal(one.batch(2, 4, 5), starved.batch(2, 4, 5))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_rows_that_one_process_would_take(world):
    data = SMALL.build()
    whole = data.batch(9, 8, 1)
    parts = [data.batch(9, 8 // world, 1, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([p.video for p in parts]), whole.video)
    assert sum((p.keys for p in parts), ()) == whole.keys


def test_action_i_leads_from_frame_i_to_the_next():
    """The bright square moves by three times the action, unless the border stops it."""
    data = SyntheticConfig(episodes=20, length=20, frames=2, size=(64, 64)).build()
    checked = 0
    for step in range(20):
        batch = data.batch(step, 4, 0)
        white = (batch.video.amin(1) > 0.9).float()  # b t h w
        for row in range(4):
            where = [torch.nonzero(white[row, t]).float().mean(0) for t in (0, 1)]
            moved = (where[1] - where[0]).flip(0)
            cells = torch.nonzero(white[row])[:, 1:]
            if cells.min() > 0 and cells.max() < 63 and white[row, 0].sum() == white[row, 1].sum() == 100:
                assert (moved - 3 * batch.actions[row, 0]).abs().max() <= 1.01
                checked += 1
    assert checked > 20


names = st.lists(st.text("abcdef0123", min_size=1, max_size=8), min_size=1, max_size=60, unique=True)


@given(names=names, share=st.sampled_from([0.0, 0.05, 0.3, 0.9]), more=names)
@settings(max_examples=80, deadline=None)
def test_split_divides_and_stays(names, share, more):
    entries = [Entry(n, n, 9) for n in names]

    def side(entries, split):
        try:
            return {e.key for e in split_entries(entries, share, split, "x")}
        except BadInput:
            return set()

    train, held = side(entries, "train"), side(entries, "held-out")
    assert not train & held and train | held == set(names)
    assert bool(held) == (share > 0 and len(names) > 1) and train
    assert side(list(reversed(entries)), "held-out") == held
    if len(names) >= 40 and 0 < share < 0.9:  # enough that no side was empty: whoever joins moves nobody
        grown = side([*entries, *(Entry(n, n, 9) for n in more)], "held-out")
        assert {n for n in grown if n in names} >= held if len(held) > 1 else True


def test_split_share_and_growth():
    entries = [Entry(f"e{i}", f"e{i}", 9) for i in range(4000)]
    held = {e.key for e in split_entries(entries, 0.1, "held-out", "x")}
    assert 340 < len(held) < 460
    assert held & {f"e{i}" for i in range(1000)} == {e.key for e in split_entries(entries[:1000], 0.1, "held-out", "x")}


def test_what_was_cut_from_one_source_stays_on_one_side():
    entries = [Entry(f"{s}-{i}", f"source{s}", 9) for s in range(40) for i in range(5)]
    train = {e.group for e in split_entries(entries, 0.2, "train", "x")}
    assert train and not train & {e.group for e in split_entries(entries, 0.2, "held-out", "x")}
    alone = [Entry(f"v#{i}", "v", 9) for i in range(20)]  # one source only: its stretches are divided
    assert 0 < len(split_entries(alone, 0.2, "held-out", "x")) < 20


def test_train_and_held_out_share_no_episode():
    train, held = SMALL.build("train"), SMALL.build("held-out")
    assert {e.key for e in train.entries}.isdisjoint(e.key for e in held.entries)
    assert len(train.entries) + len(held.entries) == 12 and train.hash == held.hash


def test_hash_follows_the_content():
    base = SMALL.build().hash
    assert dataclasses.replace(SMALL, frames=3, focus=0.5, held_out=0.5).build().hash == base
    for change in ({"seed": 1}, {"episodes": 13}, {"size": (24, 24)}):
        assert dataclasses.replace(SMALL, **change).build().hash != base


def test_windows_are_all_there_and_drawn_evenly():
    windows = Windows([5, 3, 4], 3)
    assert [tuple(r) for r in windows.rows] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)] and len(windows) == 6
    drawn = [windows.draw(np.random.default_rng(i)) for i in range(1200)]
    counts = [drawn.count((int(a), int(b))) for a, b in windows.rows]
    assert sum(counts) == 1200 and min(counts) > 140 and max(counts) < 260


def test_focus_draws_where_something_happens():
    activity = [np.zeros(40, np.float32) for _ in range(10)]
    activity[3][20:22] = 1.0
    plain, focused = (Windows([40] * 10, 5, activity=activity, focus=f) for f in (0.0, 0.5))

    def share(windows):
        drawn = [windows.draw(np.random.default_rng(i)) for i in range(1000)]
        return sum(e == 3 and s < 22 and s + 5 > 20 and s + 1 <= 21 for e, s in drawn) / 1000

    assert share(plain) < 0.05 and 0.44 < share(focused) < 0.6
    still = Windows([40] * 10, 5, activity=[np.zeros(40, np.float32)] * 10, focus=1.0)  # nothing happens: everything is drawn
    assert len({still.draw(np.random.default_rng(i)) for i in range(500)}) > 200


def test_focus_by_change_of_the_picture():
    frames = np.zeros((2, 30, 16, 16, 3), np.uint8)
    frames[1, 10:] = 200
    entries = [Entry(f"k{i}", f"k{i}", 30) for i in range(2)]
    data = Pixels(
        "it",
        entries,
        lambda e: frames[int(e.key[1])],
        hash="h",
        split="train",
        frames=4,
        size=(16, 16),
        fps=5.0,
        held_out=0.0,
        focus=1.0,
    )
    assert {k for step in range(30) for k in data.batch(step, 2, 0).keys} <= {f"k1@{s}" for s in (7, 8, 9)}


def test_sentences_are_all_drawn():
    entries = [Entry("k", "k", 6, ("push the box", "a box is pushed"))]
    data = Pixels(
        "it",
        entries,
        lambda e: np.zeros((6, 16, 16, 3), np.uint8),
        hash="h",
        split="train",
        frames=2,
        size=(16, 16),
        fps=5.0,
        held_out=0.0,
    )
    texts = [t for step in range(50) for t in data.batch(step, 2, 0).text]
    assert 30 < texts.count("push the box") < 70 and texts.count("push the box") + texts.count("a box is pushed") == 100
    assert data.batch(0, 2, 0).actions is None


def test_what_cannot_work_is_said():
    with pytest.raises(BadInput, match="the longest of 2 has 7"):
        long_enough([Entry("a", "a", 7), Entry("b", "b", 3)], 8, "it")
    with pytest.raises(BadInput, match="held_out"):
        dataclasses.replace(SMALL, held_out=1.0).build()
    with pytest.raises(BadInput, match="no held-out part"):
        dataclasses.replace(SMALL, held_out=0.0).build("held-out")
    with pytest.raises(BadInput, match="focus"):
        dataclasses.replace(SMALL, focus=1.5).build()
    bad = Pixels(
        "it",
        [Entry("k", "k", 6)],
        lambda e: np.zeros((5, 16, 16, 3), np.uint8),
        hash="h",
        split="train",
        frames=2,
        size=(16, 16),
        fps=5.0,
        held_out=0,
    )
    with pytest.raises(Failed, match="expected 6 frames"):
        bad.batch(0, 1, 0)


def test_normaliser_is_fitted_where_one_is_needed():
    spec = ActionSpec(("x", "g"), ("m", "1"), "base", 5.0, "delta", (-0.1, 0.0), (0.1, 4.0))
    actions = np.stack([np.linspace(0, 0.2, 9), np.full(9, 3.0)], 1).astype(np.float32)
    fitted = fit_spec(spec, [Entry("a", "a", 9, (), actions)])
    np.testing.assert_allclose(fitted.mean, actions.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fitted.std, [actions[:, 0].std(), 1.0], rtol=1e-5)
    assert fit_spec(fitted, [Entry("a", "a", 9, (), actions * 7)]) == fitted
    unit = dataclasses.replace(spec, low=(-1.0, -1.0), high=(1.0, 1.0))
    assert fit_spec(unit, [Entry("a", "a", 9, (), actions)]) == unit


def test_table_lists_every_dataset():
    assert set(DATASETS) == {"episodes", "clips", "posed", "driving", "latents", "mixture", "synthetic"}
