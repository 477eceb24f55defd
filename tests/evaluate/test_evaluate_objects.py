"""The tracker on drawn frames in which objects move, fade, smear and vanish."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import objects

sys.path.insert(0, str(Path(__file__).parent))
import evaluate_drawn as drawn

T = 12


def moving() -> tuple[np.ndarray, np.ndarray]:
    """Places `t k 2` and tips `t 2`: object 0 moves, the others stay."""
    places = np.repeat(np.array(drawn.STARTS)[None], T, axis=0)
    places[:, 0, 0] -= np.arange(T) * 1.5
    return places, np.stack([np.linspace(8, 50, T), np.full(T, 12.0)], -1)


def scene_and_frames(opacity=None, size: int = 64, noise=None):
    places, tip = moving()
    opacity = np.ones((T, 3)) if opacity is None else opacity
    frames = np.stack([drawn.picture(p, c, o, size, noise) for p, c, o in zip(places, tip, opacity)])
    truth = {"object_px": places, "object_area": np.full((T, 3), 81), "object_hidden": np.zeros((T, 3), bool), "tip_px": tip}
    scene = objects.Scene.read(truth, size)
    assert scene is not None
    return scene, frames


@pytest.mark.parametrize("size", [64, 128])
def test_positions_and_areas_are_found(size):
    scene, frames = scene_and_frames(size=size, noise=np.random.default_rng(0))
    found = scene.learn(frames).track(frames)
    assert found.names == ("object 0", "object 1", "object 2", "tip")
    assert np.abs(found.position[:, :3] - scene.position).max() < 0.8 * scene.scale
    assert np.linalg.norm(found.position[:, 3] - scene.tip, axis=-1).max() < 1.0 * scene.scale
    assert (np.abs(found.area[:, :3] / scene.area - 1) < 0.25).all()


def test_the_colour_is_learned_not_known():
    """The same scene with its channels exchanged is tracked as well."""
    scene, frames = scene_and_frames()
    turned = np.ascontiguousarray(frames[..., [2, 0, 1]])
    found = scene.learn(turned).track(turned)
    assert np.abs(found.position[:, :3] - scene.position).max() < 0.6


def test_what_vanishes_is_lost_and_what_fades_by_more_than_half_too():
    scene, truth = scene_and_frames()
    opacity = np.ones((T, 3))
    opacity[4:, 1] = 0.0  # gone
    opacity[4:, 2] = 0.3  # a pale smear
    opacity[4:, 0] = 0.8  # a little pale: still there
    _, dream = scene_and_frames(opacity)
    tracker = scene.learn(truth)
    seen, found = tracker.track(truth), tracker.track(dream)
    before = objects.compare(scene, seen, found, 0, 3)
    after = objects.compare(scene, seen, found, 0, 10)
    assert [s.lost for s in before] == [False] * 3
    assert [s.lost for s in after] == [False, True, True]
    assert after[0].kind == "pushed" and after[1].kind == "untouched"
    assert after[0].in_place and not after[1].in_place and np.isnan(after[1].error)


def test_a_misplaced_object_is_kept_but_not_in_place():
    scene, truth = scene_and_frames()
    copy = np.repeat(truth[:1], T, axis=0)
    tracker = scene.learn(truth)
    first = objects.compare(scene, tracker.track(truth), tracker.track(copy), 0, T - 1)[0]
    assert not first.lost and not first.in_place
    assert first.error == pytest.approx(16.5, abs=0.7) and first.moved == pytest.approx(16.5)


def test_crumbs_elsewhere_do_not_pass_for_the_object():
    scene, truth = scene_and_frames()
    rng = np.random.default_rng(0)
    opacity = np.ones((T, 3))
    opacity[:, 2] = 0
    _, dream = scene_and_frames(opacity)
    for frame in dream:  # as many yellow pixels as the object had, strewn over the table
        for y, x in rng.integers(0, 64, size=(81, 2)):
            frame[y, x] = drawn.COLOURS[2]
    tracker = scene.learn(truth)
    assert objects.compare(scene, tracker.track(truth), tracker.track(dream), 0, 8)[2].lost


def test_errors_are_in_pixels_of_a_64_pixel_image_whatever_the_size():
    errors = []
    for size in (64, 128):
        scene, truth = scene_and_frames(size=size)
        copy = np.repeat(truth[:1], T, axis=0)
        tracker = scene.learn(truth)
        errors.append(objects.compare(scene, tracker.track(truth), tracker.track(copy), 0, 8)[0].error)
    assert errors[0] == pytest.approx(errors[1], abs=0.6)


def test_kinds_follow_displacement_and_cover():
    scene, _ = scene_and_frames()
    area = scene.area.copy()
    area[5, 2] = 20
    covered = objects.Scene(scene.position, area, scene.full, scene.hidden, scene.tip, scene.scale)
    assert covered.kind(0, 10) == ["pushed", "untouched", "occluded"]
    assert covered.kind(0, 4) == ["pushed", "untouched", "untouched"]
    assert covered.kind(0, 1) == ["untouched"] * 3


def test_hidden_objects_are_not_judged():
    scene, truth = scene_and_frames()
    hidden = scene.hidden.copy()
    hidden[8, 1] = True
    scene = objects.Scene(scene.position, scene.area, scene.full, hidden, scene.tip, scene.scale)
    tracker = scene.learn(truth)
    seen = tracker.track(truth)
    assert len(objects.compare(scene, seen, seen, 0, 8)) == 2


def test_an_object_hidden_at_first_is_learned_later():
    scene, truth = scene_and_frames()
    hidden = scene.hidden.copy()
    hidden[:3, 0] = True
    frames = truth.copy()
    for i in range(3):
        drawn.paint(f := frames[i].astype(float), scene.position[i, 0], 6, (128, 128, 128))
        frames[i] = f.astype(np.uint8)
    scene = objects.Scene(scene.position, scene.area, scene.full, hidden, scene.tip, scene.scale)
    found = scene.learn(frames).track(frames)
    assert np.linalg.norm(found.position[6, 0] - scene.position[6, 0]) < 0.6


def test_a_truth_without_objects_is_no_scene_and_a_wrong_one_is_an_error():
    assert objects.Scene.read({}, 64) is None
    with pytest.raises(BadInput, match="t k 2"):
        objects.Scene.read({"object_px": np.zeros((4, 2))}, 64)
    with pytest.raises(BadInput, match="object_area"):
        objects.Scene.read({"object_px": np.zeros((4, 2, 2)), "object_area": np.zeros((4, 3))}, 64)


def test_the_real_tabletop_is_tracked():
    """Every visible object found, to a pixel and a half where it shows whole, in the simulator's own pictures."""
    pytest.importorskip("mujoco", reason="the simulator needs mujoco")
    from armillary import media, sims

    episode = sims.record_episode(sims.make("tabletop"), 3, "mix", frames=10, size=128)
    frames = media.resize(episode.frames["front"], (64, 64))
    scene = objects.Scene.read(episode.truth, 64)
    assert scene is not None and scene.tip is not None
    found = scene.learn(frames).track(frames)
    visible = scene.visible()
    assert (found.area[:, : scene.num] > objects.LOST * scene.area)[visible].all()
    whole = visible & (scene.area > 0.9 * scene.full)
    assert np.linalg.norm(found.position[:, : scene.num] - scene.position, axis=-1)[whole].max() < 1.6
    assert np.median(np.linalg.norm(found.position[:, -1] - scene.tip, axis=-1)) < 1.2


def test_things_of_a_colour_are_counted_one_by_one():
    scene, frames = scene_and_frames()
    tracker, one = scene.learn(frames), frames[:1].copy()
    assert tracker.count(one)[0, :3].tolist() == [1, 1, 1]
    twice = one[0].astype(float)
    drawn.paint(twice, (50.0, 50.0), 4.5, drawn.COLOURS[1])  # a second one of its colour
    drawn.paint(twice, (10.0, 58.0), 1.0, drawn.COLOURS[2])  # a crumb
    x = round(float(scene.position[0, 0, 0]))
    twice[:, x] = twice[2, 2]  # a crack of one pixel
    assert tracker.count(twice.round().astype(np.uint8)[None])[0, :3].tolist() == [1, 2, 1]
    assert tracker.count(np.zeros_like(one)).sum() == 0
    assert tracker.count(np.concatenate([one, one])).shape == (2, 4)
