"""Which frame is shown when, from packets and by decoding, and where a point of a picture goes when the picture is cropped and scaled."""

from __future__ import annotations

import numpy as np
import pytest

from armillary import media
from armillary.data.moments import covering, fitted, frame_times, nearest, shown_at


def film(path, levels, **more):
    frames = [np.full((32, 48, 3), level, np.uint8) for level in levels]
    return media.write_video(path, frames, 10, **more)


@pytest.mark.parametrize("times", [None, [0.0, 0.1, 0.15, 0.6, 3.4, 3.5]])
def test_times_from_packets_are_those_of_the_frames(tmp_path, times):
    path = film(tmp_path / "a.mp4", [20, 60, 100, 140, 180, 220], times=times)
    np.testing.assert_allclose(frame_times(path), media.read_video(path).times, atol=1e-9)


def test_a_file_that_ends_early_is_told_from_its_packets(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    path = media.write_video(tmp_path / "a.mp4", noise, 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(media.MediaError, match="cut short"):
        frame_times(path)


def test_the_frame_on_screen_wherever_one_begins(tmp_path):
    """A frame that stays for three seconds is there also for who looks only at the end of them."""
    path = film(tmp_path / "a.mp4", [20, 80, 140, 200], times=[0.0, 0.1, 3.1, 3.2])
    ticks = np.array([0.0, 0.05, 0.1, 1.0, 2.9, 3.1, 3.3, 9.0])
    whole = shown_at(path, ticks, (16, 24)).mean((1, 2, 3))
    np.testing.assert_allclose(whole, [20, 20, 80, 80, 80, 140, 200, 200], atol=2)
    for k in range(len(ticks)):
        np.testing.assert_array_equal(shown_at(path, ticks[k:], (16, 24)).mean((1, 2, 3)), whole[k:])


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (61, 97)])
@pytest.mark.parametrize("size", [(24, 40), (40, 24), (30, 30), (50, 20)])
@pytest.mark.parametrize("video", [False, True])
def test_a_point_goes_where_its_intrinsics_say(tmp_path, shape, size, video):
    """A picture whose brightness says the column (or row): what is seen at a ray before is seen at the same ray after."""
    h, w = shape
    rows, columns = np.mgrid[0:h, 0:w]
    k = np.array([[70.0, 0, 0.4 * w], [0, 80.0, 0.55 * h], [0, 0, 1]])
    for axis, levels in ((0, columns), (1, rows)):
        frame = np.repeat(2 * levels[None, ..., None], 3, 3).astype(np.uint8)
        out = media.fit(media.resize(frame, covering(shape, size)), size) if video else media.fit(frame, size)
        new = fitted(k, shape, shape, size, video)
        at = np.arange(size[1 - axis]) + 0.5
        place = (at - new[axis, 2]) / new[axis, axis] * k[axis, axis] + k[axis, 2]  # where that ray met the picture before
        seen = out[0, size[0] // 2, :, 0] if axis == 0 else out[0, :, size[1] // 2, 0]
        np.testing.assert_allclose(seen[2:-2], 2 * (place - 0.5)[2:-2], atol=1.01)


def test_intrinsics_may_be_fractions_or_of_another_size():
    k = np.array([[0.7, 0, 0.4], [0, 0.9, 0.5], [0, 0, 1]])
    pixels = np.diag([200.0, 100.0, 1.0]) @ k
    np.testing.assert_allclose(
        fitted(k, (1, 1), (100, 200), (32, 48), True), fitted(pixels, (100, 200), (100, 200), (32, 48), True)
    )
    larger = np.diag([4.0, 4.0, 1.0]) @ pixels
    np.testing.assert_allclose(
        fitted(larger, (400, 800), (100, 200), (32, 48), False), fitted(pixels, (100, 200), (100, 200), (32, 48), False)
    )


def test_nearest_prefers_the_earlier_of_two():
    times = np.array([0.0, 1.0, 4.0])
    assert nearest(times, np.array([-3, 0.5, 0.51, 2.5, 2.6, 9])).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest(times[:1], np.array([5.0])).tolist() == [0]
