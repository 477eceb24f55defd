"""Technical checks and the frame classifier's sampling and aggregation."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.guard import Gate
from armillary.guard.frames import UNAVAILABLE, Frames, FramesConfig, sample_indices
from armillary.guard.technical import Technical, TechnicalConfig, flashes_per_second, luminance

RNG = np.random.default_rng(0)


def moving(t=20, h=48, w=64):
    x = np.arange(w)[None, None, :] + 2 * np.arange(t)[:, None, None]
    picture = 120 + 60 * np.sin(x / 9.0) + np.arange(h)[None, :, None] / 2
    return np.repeat(picture[..., None], 3, 3).astype(np.uint8)


def strobe(flashes, fps=30, seconds=1.0, area=1.0, low=0, high=255):
    """A video whose upper `area` alternates so that `flashes` pairs of changes fall in a second."""
    t = int(fps * seconds) + 1
    frames = np.full((t, 48, 64, 3), 60, np.uint8)
    rows = round(area * 44)
    phase = (np.floor(np.arange(t) * 2 * flashes / fps) % 2).astype(bool)
    frames[:, :rows] = np.where(phase, high, low).astype(np.uint8)[:, None, None, None]
    frames[:, 44:] = RNG.integers(0, 255, (4, 64, 3), np.uint8)  # a still texture, so that no frame is flat
    return frames


def test_a_moving_picture_passes():
    assert not Technical().check(moving(), 10.0).blocked


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), "empty"), (np.zeros((4, 8, 8, 3), np.uint8), "black"),
        (np.full((4, 8, 8, 3), 255, np.uint8), "white"),
        (np.full((4, 8, 8, 3), 90, np.uint8), "flat"), (np.zeros((4, 8, 8), np.uint8), "t h w 3"), (np.zeros((4, 8, 8, 3), np.int64),
        "int64"),
        (np.full((4, 8, 8, 3), np.nan, np.float32), "NaN"),
    ],
)  # fmt: skip
def test_no_video_is_refused(frames, told):
    finding = Technical().check(frames, 10.0)
    assert finding.blocked and told in finding.reason


def test_one_nan_is_found_and_named():
    frames = moving().astype(np.float32) / 255
    assert not Technical().check(frames, 10.0).blocked
    frames[7, 3, 3, 1] = np.inf
    finding = Technical().check(frames, 10.0)
    assert finding.blocked and "first: 7" in finding.reason


def test_frozen_is_recorded_and_blocked_only_on_request():
    frames = np.repeat(moving(1), 8, 0)
    finding = Technical().check(frames, 10.0)
    assert not finding.blocked and "frozen" in finding.reason
    assert Technical(TechnicalConfig(block_frozen=True)).check(frames, 10.0).blocked


@pytest.mark.parametrize(("flashes", "blocked"), [(1, False), (2, False), (3, False), (5, True), (10, True)])
def test_strobe_boundary(flashes, blocked):
    assert Technical().check(strobe(flashes), 30.0).blocked is blocked


@pytest.mark.parametrize(("area", "blocked"), [(0.1, False), (0.24, False), (0.5, True)])
def test_strobe_area(area, blocked):
    assert Technical().check(strobe(10, area=area), 30.0).blocked is blocked


@pytest.mark.parametrize(("low", "blocked"), [((70, 70, 70), True), ((0, 0, 0), True), ((132, 0, 0), False)])
def test_red_flashes_count_at_equal_luminance(low, blocked):
    """A saturated red against a grey of nearly its luminance is no general flash, and one all the same."""
    frames = strobe(10)
    bright = frames[:, :1, :1].astype(int).sum(-1, keepdims=True) > 300
    frames[:, :44] = np.where(bright, (140, 0, 0), low).astype(np.uint8)
    assert flashes_per_second(luminance(frames), 30.0, TechnicalConfig()) == 0, "not told by luminance"
    assert Technical().check(frames, 30.0).blocked is blocked
    assert not Technical().check(frames[:8], 30.0).blocked, "two flashes in a quarter of a second are allowed"


def test_faint_and_bright_changes_are_no_flashes():
    assert not Technical().check(strobe(10, low=100, high=120), 30.0).blocked
    assert not Technical().check(strobe(10, low=232, high=255), 30.0).blocked  # both states above luminance 0.8


def test_spread_out_flashes_pass_and_ramps_count_once():
    light = luminance(strobe(2, seconds=5.0))
    assert flashes_per_second(light, 30.0, TechnicalConfig()) <= 3
    ramp = np.linspace(0, 1, 31)[:, None, None] * np.ones((1, 4, 4))
    assert flashes_per_second(np.concatenate([ramp, ramp[::-1]]), 30.0, TechnicalConfig()) <= 1


def test_luminance_of_known_colours():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[0, :, :, 1] = 255
    assert np.allclose(luminance(frames), 0.7152, atol=1e-4)


def test_bad_rate_fails_closed():
    verdict = Gate(after=(Technical(),)).check_frames(moving(), 0.0)[0][0]
    assert verdict.state == "failed" and verdict.blocked


class Scripted:
    """Scores by frame number, which is written into pixel (0, 0)."""

    name, version, classes = "scripted", "1", ("violence", "sexual")

    def __init__(self, scores):
        self.table, self.seen = scores, []

    def scores(self, frames):
        numbers = [int(f[0, 0, 0]) for f in frames]
        self.seen += numbers
        return np.array([self.table.get(n, (0.0, 0.0)) for n in numbers])


def numbered(t):
    frames = np.zeros((t, 4, 4, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(t)
    return frames


def run(scores, t=100, fps=4.0, **config):
    classifier = Scripted(scores)
    return Frames(classifier, FramesConfig(**config)).check(numbered(t), fps), classifier


@pytest.mark.parametrize(("bad", "blocked"), [(0, False), (9, False), (10, False), (11, True)])
def test_share_boundary(bad, blocked):
    finding, _ = run({i: (0.6, 0.0) for i in range(bad)})
    assert finding.blocked is blocked


@pytest.mark.parametrize(("score", "blocked"), [(0.89, False), (0.9, True), (1.0, True)])
def test_one_sure_frame_blocks(score, blocked):
    finding, _ = run({57: (0.0, score)})
    assert finding.blocked is blocked and (not blocked or "frame 57" in finding.reason)


def test_thresholds_per_class():
    scores = {i: (0.4, 0.4) for i in range(50)}
    assert not run(scores)[0].blocked
    finding, _ = run(scores, thresholds={"sexual": 0.3})
    assert finding.blocked and "sexual" in finding.reason and "violence" not in finding.reason
    with pytest.raises(BadInput, match="gore"):
        run({}, thresholds={"gore": 0.5})


@pytest.mark.parametrize(("frames", "fps"), [(1, 24.0), (2, 1.0), (121, 24.0), (50, 0.5), (30, 3.0)])
def test_sampling(frames, fps):
    chosen = sample_indices(frames, fps, 4.0)
    assert chosen[0] == 0 and chosen[-1] == frames - 1 and len(set(chosen)) == len(chosen)
    assert max(np.diff(chosen), default=0) <= max(1, fps / 4.0)


def test_batches_do_not_matter():
    scores = {i: (0.6, 0.2) for i in range(0, 100, 9)}
    assert run(scores, batch=1)[0] == run(scores, batch=7)[0] == run(scores, batch=1000)[0]


@pytest.mark.parametrize(
    "answer",
    [np.full((4, 2), np.nan), np.zeros((3, 2)), np.full((4, 2), 1.5), RuntimeError("cuda")],
    ids=["nan", "shape", "range", "dies"],
)
def test_broken_classifiers_block(answer):
    class Broken(Scripted):
        def scores(self, frames):
            if isinstance(answer, Exception):
                raise answer
            return answer

    verdict = Gate(after=(Frames(Broken({})),)).check_frames(numbered(4), 4.0)[0][0]
    assert verdict.state == "failed" and verdict.blocked


def test_without_a_classifier_it_says_so():
    finding = Frames().check(numbered(3), 4.0)
    assert finding.skipped and not finding.blocked and finding.reason == UNAVAILABLE
    verdict = Gate(after=(Frames(config=FramesConfig(required=True)),)).check_frames(numbered(3), 4.0)[0][0]
    assert verdict.state == "failed" and verdict.blocked and verdict.reason.endswith(UNAVAILABLE)
