"""Faces: tracking on scripted detections, hiding for good, and the real detector on real clips where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.guard import Gate
from armillary.guard.centerface import CenterFace, Face, iou
from armillary.guard.faces import Faces, FacesConfig, Track, hide, link, spread

VIDEOS = Path(__file__).resolve().parents[2] / "../shared/data/videos"
CONFIG = FacesConfig()


class Scripted:
    """Finds a face where the table says, by the frame number in pixel (0, 0)."""

    name, version = "scripted", "1"

    def __init__(self, table):
        self.table = table

    def detect(self, picture):
        return self.table.get(int(picture[0, 0, 0]), [])


def clip(t=40, h=64, w=96):
    frames = np.random.default_rng(0).integers(0, 255, (t, h, w, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(t)
    return frames


def moving_face(t):
    x = 10 + t
    return Face((x, 20, x + 16, 40), 0.9)


def covered(before, after, box):
    x0, y0, x1, y1 = (round(v) for v in box)
    inside_before = before[y0:y1, x0:x1].astype(float)
    inside_after = after[y0:y1, x0:x1].astype(float)
    return inside_after.std() < 0.35 * inside_before.std()


def test_dropped_detections_leave_no_gap():
    frames = clip()
    table = {t: [moving_face(t)] for t in range(10, 31, 2) if t not in (16, 18)}  # two detections in a row are missing
    before = frames.copy()
    finding = Faces(Scripted(table)).check(frames, 10.0)
    assert np.array_equal(frames, before), "the input is not written to"
    assert finding.frames is not None and not finding.blocked and finding.facts["tracks"] == 1
    for t in range(10, 31):
        assert covered(frames[t], finding.frames[t], moving_face(t).box), t
    assert np.array_equal(finding.frames[0], frames[0]) and np.array_equal(finding.frames[39], frames[39])


def test_tracks_are_held_both_ways_and_no_longer():
    boxes = spread(Track({20: (1.0, 1, 9, 9), 24: (5.0, 1, 13, 9)}, 0.9), 100, CONFIG)
    assert sorted(boxes) == list(range(20 - CONFIG.hold, 24 + CONFIG.hold + 1))
    assert boxes[22] == (3.0, 1.0, 11.0, 9.0) and boxes[15] == (1.0, 1.0, 9.0, 9.0)
    assert sorted(spread(Track({1: (1.0, 1, 9, 9)}), 3, CONFIG)) == [0, 1, 2], "clipped to the video"


def test_two_faces_stay_two_tracks_and_each_detection_is_used_once():
    left, right = Face((0, 0, 20, 20), 0.9), Face((50, 0, 70, 20), 0.8)
    tracks = link({0: [left, right], 2: [right, left], 4: [left]}, CONFIG)
    assert sorted(len(t.boxes) for t in tracks) == [2, 3]
    later = link({0: [left], 0 + CONFIG.hold + CONFIG.every + 1: [left]}, CONFIG)
    assert len(later) == 2, "a gap longer than the hold is another track"


def test_lone_weak_hits_are_dropped_but_not_in_a_single_picture():
    weak = {4: [Face((10, 10, 30, 30), 0.4)]}
    assert not Faces(Scripted(weak)).tracks(clip())
    assert Faces(Scripted({0: weak[4]})).tracks(clip(1))
    assert Faces(Scripted({4: [Face((10, 10, 30, 30), 0.8)]})).tracks(clip())


@pytest.mark.parametrize("style", ["blur", "solid"])
@pytest.mark.parametrize("box", [(10, 10, 40, 40), (-8, -8, 12, 12), (80, 50, 99, 70), (30, 30, 31, 31), (200, 200, 220, 220)])
def test_hiding_stays_in_the_grown_box_and_in_the_picture(style, box):
    picture = clip(1)[0]
    out = picture.copy()
    hide(out, box, FacesConfig(style=style))
    changed = np.argwhere((out != picture).any(-1))
    if len(changed):
        half = np.array([box[3] - box[1], box[2] - box[0]]) / 2 * CONFIG.grow + 1
        centre = np.array([box[1] + box[3], box[0] + box[2]]) / 2
        assert (np.abs(changed + 0.5 - centre) <= half).all()
    assert (len(changed) > 0) is (box[0] < 90)


def test_hidden_detail_is_gone():
    """Two pictures that differ in detail only become nearly the same: nothing is left to undo over many frames."""
    rng = np.random.default_rng(2)
    one, two = (np.clip(128 + rng.normal(0, 60, (60, 60, 3)), 0, 255).astype(np.uint8) for _ in range(2))
    hide(one, (10, 10, 50, 50), CONFIG)
    hide(two, (10, 10, 50, 50), CONFIG)
    inside = np.s_[6:54, 6:54]
    assert np.abs(one[inside].astype(int) - two[inside]).mean() < 8


def test_bad_settings():
    with pytest.raises(BadInput, match="blur or solid"):
        Faces(Scripted({}), FacesConfig(style="mosaic"))


def test_iou():
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3) and iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0


def test_a_detector_that_dies_on_one_frame_blocks():
    class Dies(Scripted):
        def detect(self, picture):
            if picture[0, 0, 0] == 8:
                raise RuntimeError("out of memory")
            return []

    verdicts, shown = Gate(after=(Faces(Dies({})),)).check_frames(clip(), 10.0)
    assert verdicts[0].state == "failed" and verdicts[0].blocked and not shown.any()


def real(name, width, frames):
    from armillary.media import read_video, resize

    if not (VIDEOS / name).is_file():
        pytest.skip(f"the development clip {name} is not here")
    video = read_video(VIDEOS / name, max_frames=frames * 4)
    h, w = video.frames.shape[1:3]
    return resize(video.frames[::4], (round(h * width / w), width))


@pytest.mark.parametrize("width", [64, 128, 320])
def test_real_faces_are_found_and_gone_afterwards(width):
    frames = real("human_asl_walk.mkv", width, 8)
    rail = Faces()
    finding = rail.check(frames, 7.5)
    assert finding.facts["tracks"] >= 1 and finding.facts["frames_with_faces"] == len(frames)
    assert finding.frames is not None and not any(CenterFace().detect(f) for f in finding.frames)


@pytest.mark.parametrize(
    "name", ["robot_language_table_a.mp4", "robot_sim_kitchen_a.mp4", "tabletop_bottles_long.mp4", "driving_rural_road_a.mp4"]
)
def test_no_faces_on_robots_and_roads(name):
    frames = real(name, 128, 6)
    finding = Faces(CenterFace()).check(frames, 5.0)
    assert finding.facts["tracks"] == 0 and np.array_equal(finding.frames, frames)
