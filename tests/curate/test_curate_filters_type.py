"""Types and topics: the classifier's file, its abstentions, sampling by lot, and drawings it has not seen."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene

from armillary.curate import kinds
from armillary.curate.filters.kind import Type, TypeConfig, lot, sampled
from armillary.curate.filters.traits import NAMES, overlay, picture_traits, traits
from armillary.errors import BadInput, MissingExtra
from armillary.store import find_weights, read_json

pytest.importorskip("cv2")
pytest.importorskip("safetensors")
from test_curate_filters_quality import clip_of, context_of

FOLDER = find_weights(kinds.DEFAULT, "type classifier")


@pytest.fixture(scope="module")
def model():
    return kinds.load()


def test_the_shipped_classifier_is_of_the_traits_of_this_version(model):
    config = read_json(FOLDER / "config.json")["config"]
    assert config["inputs"] == list(NAMES) and model.embedder == kinds.TRAITS
    assert set(config["heads"]["type"]) == set(kinds.TYPES) and set(config["heads"]["topic"]) <= set(kinds.TOPICS)
    card = read_json(FOLDER / "card.json")
    assert card["cannot_know"] and card["held_out"]["type"] and card["data"]["real"]
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 300_000


def test_beliefs_sum_to_one_and_far_vectors_say_no_more(model):
    vector = np.random.default_rng(0).normal(size=len(NAMES)) * 3
    for belief in model(vector).values():
        assert sum(belief.shares.values()) == pytest.approx(1) and belief.sure == max(belief.shares.values())
    far, farther = model(model.mean + 1e3 * model.scale), model(model.mean + 1e6 * model.scale)
    assert far["type"].shares == pytest.approx(farther["type"].shares, abs=1e-6)
    with pytest.raises(BadInput, match="takes vectors of"):
        model(np.zeros(3))


def test_a_damaged_classifier_is_refused(tmp_path):
    folder = tmp_path / "kinds"
    shutil.copytree(FOLDER, folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        kinds.load(folder)
    shutil.copy(FOLDER / "model.safetensors", folder)
    config = json.loads((folder / "config.json").read_text())
    config["config"]["inputs"] = config["config"]["inputs"][1:]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="not those of its"):
        kinds.load(folder)
    (folder / "config.json").write_text(json.dumps({**config, "family": "world"}))
    with pytest.raises(BadInput, match="no type classifier"):
        kinds.load(folder)


@given(st.text(min_size=1, max_size=12), st.floats(0, 5))
def test_sampling_hangs_on_the_id_alone_and_keeps_shares(name, weight):
    assert sampled(name, weight, "x") == sampled(name, weight, "x")
    tags, out = sampled(name, weight, "x")
    assert 0 <= lot(name) < 1
    if out:
        assert weight < 1 and not tags
    assert sampled(name, 1.0, "x") == ({}, ())
    if weight >= 2:
        assert int(tags["repeat"]) in (int(weight), int(weight) + 1)


def test_a_quarter_is_a_quarter():
    ids = [f"clip-{k}" for k in range(2000)]
    kept = {i for i in ids if not sampled(i, 0.25, "x")[1]}
    assert 0.2 < len(kept) / 2000 < 0.3
    assert kept < {i for i in ids if not sampled(i, 0.5, "x")[1]}  # a larger share keeps what a smaller one did
    assert 2.4 < np.mean([int(sampled(i, 2.5, "x")[0]["repeat"]) for i in ids]) < 2.6


def test_configs_that_name_nothing_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no type or topic 'drivng'"):
        TypeConfig(weights={"drivng": 0.5})
    with pytest.raises(BadInput, match="between 0"):
        TypeConfig(weights={"nature": -1})
    with pytest.raises(BadInput, match="no model at"):
        kinds.embedder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises((BadInput, MissingExtra)):  # without transformers its install line, with it no such model
        kinds.embedder(str(tmp_path))


class Bright:
    """An embedder for the test: how bright the pictures are."""

    name, dim = "bright", 2

    def embed(self, pictures):
        mean = float(np.mean([p.mean() for p in pictures])) / 255
        return np.array([mean, 1 - mean], np.float32) / np.float32(np.hypot(mean, 1 - mean))


def test_a_head_on_another_embedder_takes_its_place():
    about = (("other",), np.zeros((1, 2)), np.zeros(1))
    sort = (("natural", "screen"), np.array([[-9.0, 9.0], [9.0, -9.0]]), np.zeros(2))
    head = kinds.Kinds({"type": sort, "topic": about}, np.zeros(2), np.ones(2), "bright")
    for level, tag in ((30, "natural"), (220, "screen")):
        frames = np.clip(scene(1, 10, 120, 200).astype(int) - 120 + level, 0, 255).astype(np.uint8)
        context, stage = context_of(frames), Type()
        stage.__dict__ |= {"judge": head, "embedder": Bright()}
        clip = stage.process([clip_of(context)], context)[0]
        assert clip.tags["type"] == tag and bool(clip.rejected) == (tag == "screen")


def test_an_unsure_head_abstains_and_keeps_the_clip():
    context = context_of(scene(2, 20, 120, 200))
    clip = Type(TypeConfig(sure=1.0, topic_sure=1.0, few=9, plain=9)).process([clip_of(context)], context)[0]
    assert clip.tags["type"] == "unknown" and clip.tags["topic"] == "other" and not clip.rejected
    assert sum(v for k, v in clip.scores.items() if k in {f"type_{t}" for t in kinds.TYPES}) == pytest.approx(1, abs=1e-3)


def test_sampling_out_has_its_own_reason():
    context = context_of(scene(2, 20, 120, 200))
    stage = Type(TypeConfig(reject=(), weights={t: 0.0 for t in (*kinds.TYPES, "unknown")}))
    clip = stage.process([clip_of(context)], context)[0]
    assert [r.reason.split(":")[0] for r in clip.rejected] == ["sampled out"]


def test_traits_move_with_what_they_are_named_for():
    at = {name: i for i, name in enumerate(picture_traits_names())}
    photo, flat = scene(3, 1, 180, 320)[0], np.full((180, 320, 3), 200, np.uint8)
    flat[60:120, 80:240] = (200, 20, 20)
    a, b = picture_traits(photo), picture_traits(flat)
    assert b[at["flat_cells"]] > 0.9 > a[at["flat_cells"]] and b[at["flat_runs"]] > a[at["flat_runs"]]
    assert b[at["axis"]] > 0.8 and b[at["bare"]] > a[at["bare"]]
    assert picture_traits(photo.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8))[at["grey"]] == 1.0
    moving = scene(3, 4, 180, 320, pan=9)
    signed = moving.copy()
    signed[:, 20:40, 20:120:6] = 255
    signed[:, 20:40, 23:120:6] = 0
    assert overlay(list(signed)) > overlay(list(moving)) + 0.02


def picture_traits_names():
    from armillary.curate.filters.traits import PICTURE

    return PICTURE


def test_traits_are_finite_for_poor_clips():
    for frames in (np.zeros((6, 60, 80, 3), np.uint8), np.full((1, 60, 80, 3), 255, np.uint8), scene(1, 3, 64, 64)):
        context = context_of(frames)
        vector = traits(clip_of(context), context.segment)
        assert vector is not None and vector.shape == (len(NAMES),) and np.isfinite(vector).all()


def test_drawings_of_other_seeds_are_left_out_and_a_render_is_kept(tmp_path):
    """Through a codec and the analyser, as files are; seeds that the recipe does not draw."""
    pytest.importorskip("mujoco")
    from armillary.media import write_video
    from armillary.recipes.drawn import DRAWN
    from armillary.recipes.kinds import vectors_of

    model, wrong = kinds.load(), []
    for name, (_, draw) in DRAWN.items():
        for seed in (90_001, 90_002):
            path = tmp_path / f"{name}-{seed}.mp4"
            write_video(path, draw(np.random.default_rng(seed), 180, 320, 24), 8.0)
            belief = model(vectors_of(path)[0])["type"]
            if belief.name not in TypeConfig().reject:
                wrong.append((name, seed, belief.name))
    assert len(wrong) <= 1, wrong


def test_where_a_picture_lies_in_memory_changes_nothing():
    """Results are compared byte by byte between runs: no number may hang on an address."""
    from armillary.curate.filters.traits import picture_traits

    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(-3, 4, (90, 160, 3)), axis=1) % 256
    picture = np.where(rng.random((90, 160, 1)) < 0.2, rng.integers(0, 256, (90, 160, 3)), smooth).astype(np.uint8)
    first = picture_traits(picture)
    for offset in (1, 3, 16, 31, 48):
        room = np.empty(picture.nbytes + 64, np.uint8)
        moved = room[offset : offset + picture.nbytes].reshape(picture.shape)
        moved[...] = picture
        np.testing.assert_array_equal(picture_traits(moved), first)
