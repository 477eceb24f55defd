"""Flow and the words for a camera's motion, against motion that is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "curation"))
from curate_scenes import texture

from armillary.curate.filters.camera import camera_of, jitter, relief
from armillary.curate.filters.motion import MotionConfig
from armillary.curate.flow import CELLS, Flow, FlowRow, shift, summarise

cv2 = pytest.importorskip("cv2")
SHAKE = MotionConfig().max_shake


def pair(before, after, seconds=0.25):
    flow = Flow()
    assert flow.feed(0.0, before) is None
    row = flow.feed(seconds, after)
    assert row is not None
    return row


def moved(big, dx, dy):
    """Two 180x320 windows of a texture, the second so that the content moved by (dx, dy)."""
    return big[100:280, 150:470].copy(), big[100 - dy : 280 - dy, 150 - dx : 470 - dx].copy()


NEAR_BELOW = np.repeat(np.linspace(0.15, 0.45, CELLS), CELLS)


def row(**changes):
    base = {"time": 0.0, "x": 0.0, "y": 0.0, "zoom": 0.0, "roll": 0.0, "objects": 0.0, "peak": 0.0, "explained": 1.0}
    return FlowRow(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        ({"x": -0.1}, "pan right"),
        ({"x": 0.1}, "pan left"),
        ({"y": 0.1}, "tilt up"),
        ({"y": -0.1}, "tilt down"),
        ({"zoom": 0.3}, "zoom in"),
        ({"zoom": -0.3}, "zoom out"),
        ({"zoom": 0.3, "growth": NEAR_BELOW}, "dolly in"),
        ({"zoom": -0.3, "growth": -NEAR_BELOW}, "dolly out"),
        ({"zoom": 0.3, "growth": np.full(CELLS**2, 0.3)}, "zoom in"),
        ({"roll": 0.3}, "roll ccw"),
        ({"roll": -0.3}, "roll cw"),
        ({"x": 0.1, "y": 0.09}, "moving"),
        ({"x": 0.1, "still": 0.6}, "static"),
        ({}, "static"),
    ],
)
def test_camera_words(changes, tag):
    motion = camera_of([row(**changes)] * 6, SHAKE)
    assert motion.tag == tag
    assert motion.strength == 0 if tag == "static" else motion.strength > 0.05
    shaken = [row(x=0.4 * (-1) ** k, **{k: v for k, v in changes.items() if k not in ("x", "still")}) for k in range(8)]
    assert camera_of(shaken, SHAKE).tag == "shaky"
    assert camera_of([], SHAKE).tag == "unknown"


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 0.5), st.sampled_from(["x", "y", "zoom", "roll"]))
def test_turning_time_round_turns_the_direction_round(speed, axis):
    turned = {"right": "left", "left": "right", "up": "down", "down": "up", "in": "out", "out": "in", "cw": "ccw", "ccw": "cw"}
    a = camera_of([row(**{axis: speed})] * 5, SHAKE).tag.split()
    b = camera_of([row(**{axis: -speed})] * 5, SHAKE).tag.split()
    assert a[0] == b[0] and turned[a[1]] == b[1]


def test_a_hand_is_neither_a_tripod_nor_a_shake():
    t = np.arange(16) / 4
    sway = [row(x=0.04 * np.sin(5 * k), y=0.03 * np.cos(3.3 * k + 1)) for k in t]
    assert camera_of(sway, SHAKE).tag == "handheld"
    wild = [row(x=0.4 * np.sin(5 * k), y=0.03) for k in t]
    assert camera_of(wild, 9.0).tag == "moving"


def test_jitter_ignores_a_smooth_camera_and_sees_a_shaking_one():
    t = np.arange(40)
    smooth = np.stack([0.2 * np.sin(t / 15), 0.05 * np.ones(40)], 1)
    shaking = smooth + np.random.default_rng(0).normal(size=(40, 2)) * 0.2
    assert jitter(smooth) < 0.02 < SHAKE < jitter(shaking)


def test_a_row_that_explains_nothing_counts_little():
    rows = [row(x=-0.1)] * 6 + [row(zoom=3.0, explained=0.0)] * 2
    assert camera_of(rows, 9.0).tag == "pan right"


@pytest.mark.parametrize(("dx", "dy"), [(6, -3), (40, 0), (-55, 4), (0, 30)])
def test_flow_reads_slow_and_fast_shifts(dx, dy):
    found = pair(*moved(texture(3)[..., 1], dx, dy))
    assert found.x * 320 * 0.25 == pytest.approx(dx, abs=1.0)
    assert found.y * 320 * 0.25 == pytest.approx(dy, abs=1.0)
    assert abs(found.zoom) < 0.05 and abs(found.roll) < 0.05 and found.still < 0.1


def test_no_shift_is_guessed_where_nothing_moves():
    big = texture(4)[..., 1]
    noisy = np.clip(big.astype(int) + np.random.default_rng(0).normal(size=big.shape) * 6, 0, 255).astype(np.uint8)
    assert shift(big[:180, :320], noisy[:180, :320]) == (0.0, 0.0)


def test_stripes_along_a_pan_do_not_make_it_stand_still():
    big = texture(5)[..., 1].astype(int)
    stripes = np.clip(128 + 70 * np.sin(np.arange(400) / 3.0)[:, None] + np.zeros((400, 700)), 0, 255)
    big = np.where(np.arange(700)[None] % 350 < 260, stripes, big).astype(np.uint8)  # three quarters are level stripes
    found = pair(*moved(big, -12, 0))
    assert found.x * 320 * 0.25 == pytest.approx(-12, abs=2)
    assert found.still < 0.25


@pytest.mark.parametrize("width", [100, 150])
def test_a_thing_that_crosses_does_not_move_a_static_camera(width):
    before = texture(6)[100:280, 150:470, 1].copy()
    after, thing = before.copy(), texture(7)[:140, :width, 1]
    before[20:160, 60 : 60 + width] = thing
    after[20:160, 76 : 76 + width] = thing
    found = [pair(before, after)] * 6
    assert camera_of(found, SHAKE).tag == "static"
    assert found[0].objects > 0.01


def test_a_thing_that_fills_the_picture_for_a_while_does_not_move_a_standing_camera():
    passing = [row(still=0.6)] * 3 + [row(x=-0.3, explained=0.45)] * 5
    assert camera_of(passing, SHAKE).tag == "static"
    starting = [row(still=0.6)] * 3 + [row(x=-0.3, explained=0.95)] * 5  # a camera that stands and then pans
    assert camera_of(starting, SHAKE).tag == "pan right"


def depths(near, share=0.5):
    """The flow of a camera that goes forward by 2 % of the far depth, `share` of the picture lying nearer by a factor `near`."""
    y, x = np.mgrid[:180, :320].astype(np.float32)
    growth = np.where(x < 320 * share, 0.02 * near, 0.02).astype(np.float32)
    return np.stack([(x - 160) * growth, (y - 90) * growth], -1)


def test_growth_that_differs_is_a_dolly_and_growth_alone_is_a_zoom():
    grey = texture(8)[:180, :320, 1]
    flat, deep = (summarise(depths(near), 0.25, 0.25, grey) for near in (1.0, 3.0))
    assert flat.zoom == pytest.approx(0.08, rel=0.05) and flat.parallax < 0.01
    assert deep.parallax > 0.05
    assert camera_of([flat] * 5, SHAKE).tag == "zoom in"
    assert camera_of([deep] * 5, SHAKE).tag == "dolly in"


def test_what_passes_by_is_no_relief():
    """A zoom past which things move in a third of the pairs, each time through another part of the picture."""
    rows = []
    for k in range(9):
        growth = np.full((CELLS, CELLS), 0.3)
        if k % 3 == 0:
            growth[:, k % CELLS : k % CELLS + 2] = 0.9
        rows.append(row(zoom=0.3, parallax=0.3, growth=growth.ravel()))
    assert relief(rows) < 0.05
    assert camera_of(rows, SHAKE).tag == "zoom in"


@pytest.mark.parametrize("kind", ["static", "pan left", "zoom in", "dolly out", "roll cw", "tilt up"])
def test_rendered_cameras_are_named(kind):
    """One short render of each, through DIS; the benchmark has twenty of each and the files' way through a codec."""
    pytest.importorskip("mujoco")
    import camera as renders

    frames, fps = renders.render(kind, 77)
    flow, rows, step = Flow(), [], max(1, round(fps / 4))
    for i in range(0, min(len(frames), 8 * step), step):
        found = flow.feed(i / fps, cv2.cvtColor(frames[i], cv2.COLOR_RGB2GRAY))
        rows += [found] if found else []
    assert camera_of(rows, SHAKE).tag == kind
