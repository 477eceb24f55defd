"""Decoding: upright, square, on time; a broken file says what is wrong with it."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.media import Limits, MediaError, Reader, iter_frames, probe, read_video, write_video

DATA = Path(__file__).resolve().parents[2] / "../shared/data/videos"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared developer videos are not here")


def card(h=48, w=64, frames=12):
    """A picture whose four corners differ (red, green, blue, white on grey), with a bar that moves."""
    out = np.full((frames, h, w, 3), 90, np.uint8)
    for colour, (y, x) in zip(((220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)), ((0, 0), (0, 1), (1, 0), (1, 1))):
        out[:, y * (h - 16) : y * (h - 16) + 16, x * (w - 16) : x * (w - 16) + 16] = colour
    for t in range(frames):
        out[t, h // 2 - 2 : h // 2 + 2, 2 * t : 2 * t + 4] = 10
    return out


def corners(frame):
    h, w = frame.shape[:2]
    return [tuple((frame[y, x] > 128).astype(int)) for y, x in ((6, 6), (6, w - 7), (h - 7, 6), (h - 7, w - 7))]


def stored(path, frames, rotation=None, matrix=None, sar=None, pix_fmt="yuv420p", pts=None, codec="libx264"):
    """Write with PyAV alone, so that the reader is not tested against its own writer."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"crf": "4"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (pts[i] if pts else i * 100), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_plain_round_trip_keeps_pixels_times_and_rate(tmp_path):
    frames = card()
    path = stored(tmp_path / "a.mp4", frames)
    video = read_video(path)
    assert video.frames.shape == frames.shape
    assert video.frames.dtype == np.uint8
    np.testing.assert_allclose(video.times, np.arange(12) / 10, atol=1e-6)
    assert video.fps == pytest.approx(10, abs=0.01)
    assert np.abs(video.frames.astype(int) - frames).mean() < 4
    assert corners(video.frames[0]) == corners(frames[0])


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_rotated_file_comes_out_upright(tmp_path, turn):
    """What is stored is turned so that the display matrix undoes it; the corners must be back in place."""
    frames = card()
    counter = 4 - turn // 90
    lying = np.ascontiguousarray(np.rot90(frames, -counter, axes=(1, 2)))
    path = stored(tmp_path / "r.mp4", lying, rotation=360 - turn if turn != 180 else 180)
    info = probe(path)
    video = read_video(path)
    assert (info.height, info.width) == video.frames.shape[1:3]
    # PyAV's set_display_rotation(a) and this reader agree on what a means, whichever of the two quarter turns it is
    upright = corners(video.frames[0]) == corners(frames[0])
    with av.open(str(path)) as container:
        said = next(container.decode(video=0)).rotation
    assert info.rotation == said % 360
    by_hand = np.rot90(lying[0], info.rotation // 90)
    assert corners(video.frames[0]) == corners(by_hand)
    if turn == 180:
        assert upright


def test_a_mirrored_display_matrix_is_undone(tmp_path):
    frames = card()
    matrix = [-(1 << 16), 0, 0, 0, 1 << 16, 0, 64 << 16, 0, 1 << 30]
    try:
        path = stored(tmp_path / "m.mp4", np.ascontiguousarray(frames[:, :, ::-1]), matrix=matrix)
    except (TypeError, ValueError) as error:
        pytest.skip(f"this PyAV cannot write a display matrix: {error}")
    assert probe(path).mirrored
    assert corners(read_video(path).frames[0]) == corners(frames[0])


def test_anamorphic_pixels_become_square(tmp_path):
    path = stored(tmp_path / "s.mp4", card(), sar=Fraction(2, 1))
    assert (probe(path).width, probe(path).height) == (128, 48)
    assert read_video(path).frames.shape[1:] == (48, 128, 3)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "yuv444p"])
def test_other_pixel_formats_convert(tmp_path, pix_fmt):
    frames = card()
    video = read_video(stored(tmp_path / "p.mp4", frames, pix_fmt=pix_fmt))
    error = (video.frames.astype(float) - frames) ** 2
    psnr = 10 * np.log10(255**2 / error.mean())
    assert psnr > 25
    assert corners(video.frames[0]) == corners(frames[0])


def test_variable_frame_times_are_kept_and_spans_are_half_open(tmp_path):
    pts = [0, 40, 140, 150, 300, 420, 500, 780, 790, 900, 1000, 1210]
    path = stored(tmp_path / "v.mkv", card(), pts=pts)
    times = [t for t, _ in iter_frames(path)]
    np.testing.assert_allclose(times, np.array(pts) / 1000, atol=1e-6)
    part = read_video(path, start=0.14, end=0.5)
    np.testing.assert_allclose(part.times, [0.14, 0.15, 0.3, 0.42], atol=1e-6)


def test_seeking_gives_the_same_frames_as_reading_through(tmp_path):
    frames = np.concatenate([card(frames=20)] * 4)
    path = write_video(tmp_path / "g.mp4", frames, 20, gop=12)
    whole = read_video(path)
    for start in (1.2, 1.85, 2.5, 3.9):
        part = read_video(path, start=start, max_frames=3)
        i = int(np.searchsorted(whole.times, start - 1e-6))
        np.testing.assert_array_equal(part.frames, whole.frames[i : i + 3][: len(part.frames)])
        np.testing.assert_allclose(part.times, whole.times[i : i + 3])


def test_a_smaller_size_is_an_average_and_not_a_sample(tmp_path):
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    frames = np.repeat(np.repeat(checks[None, :, :, None], 3, 3), 4, 0).astype(np.uint8)
    path = stored(tmp_path / "c.mp4", frames, pix_fmt="yuv444p")
    small = read_video(path, size=(8, 8)).frames
    assert small.shape == (4, 8, 8, 3)
    assert np.abs(small.astype(int) - 127).max() < 20


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", "empty_file"), (b"just words\n" * 200, "invalid_container"), (bytes(range(256)) * 40, "invalid_container")],
)
def test_what_is_no_video_says_so(tmp_path, content, kind):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.kind == kind
    assert isinstance(caught.value, BadInput)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.kind) == (str(caught.value), kind)


def test_missing_files_folders_and_playlists_are_refused(tmp_path):
    secret = stored(tmp_path / "secret.mp4", card())
    lists = {
        "list.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError) as caught:
            read_video(tmp_path / name)
        assert caught.value.kind == "invalid_container"
    for path in (tmp_path, tmp_path / "no.mp4", "http://127.0.0.1:9/x.mp4", "a\x00b.mp4"):
        with pytest.raises(MediaError) as caught:
            probe(path)
        assert caught.value.kind == "not_found"


def test_strange_names_are_only_names(tmp_path):
    for name in ("-rf.mp4", "a%03d.mp4", "new\nline.mp4", "pipe:1.mp4", "🎬 ü.mp4", "concat:x|y.mp4"):
        path = tmp_path / name
        path.write_bytes(stored(tmp_path / "plain.mp4", card(frames=2)).read_bytes())
        assert len(read_video(path).frames) == 2


def test_limits_come_before_decoding(tmp_path):
    path = stored(tmp_path / "a.mp4", card())
    for limits in (Limits(pixels=100), Limits(seconds=0.5), Limits(frames=3)):
        with pytest.raises(MediaError) as caught:
            probe(path, limits)
        assert caught.value.kind == "limit_exceeded"
    with pytest.raises(MediaError) as caught:
        read_video(path, limits=Limits(bytes=5 * 48 * 64 * 3))
    assert caught.value.kind == "limit_exceeded"
    assert len(read_video(path, max_frames=5, limits=Limits(bytes=5 * 48 * 64 * 3)).frames) == 5


def test_a_truncated_file_gives_what_decodes_or_raises(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (30, 48, 64, 3), np.uint8)
    whole = write_video(tmp_path / "w.mp4", frames, 10, gop=5)
    data = whole.read_bytes()
    cut = tmp_path / "t.mp4"
    cut.write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(MediaError) as caught:
        read_video(cut)
    assert caught.value.kind == "decode_error"
    kept = read_video(cut, on_error="keep")
    assert 5 <= len(kept.frames) < 30
    np.testing.assert_array_equal(kept.frames, read_video(whole).frames[: len(kept.frames)])


def test_frames_after_a_broken_packet_are_left_out_until_a_key_frame(tmp_path):
    frames = np.concatenate([card(frames=20)] * 3)
    whole = write_video(tmp_path / "w.mkv", frames, 20, gop=10)
    good = read_video(whole)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as held:
        packets = [bytes(p) for p in held.demux(video=0) if p.size and not p.is_keyframe]
    # The largest packet between two key frames, and nothing of what the container says around it.
    packet = max(packets[15:45], key=len)
    at = data.index(packet) + 5
    data[at : at + len(packet) - 5] = bytes(len(packet) - 5)
    broken = tmp_path / "b.mkv"
    broken.write_bytes(bytes(data))
    with Reader(broken) as reader:
        times = [t for t, _ in reader.frames()]
        assert reader.lost > 0
    kept = read_video(broken, on_error="keep")
    assert len(kept.frames) == len(times) < 60
    index = np.searchsorted(good.times, kept.times - 1e-3)
    same = [np.array_equal(a, good.frames[i]) for a, i in zip(kept.frames, index)]
    assert np.mean(same) > 0.9


@needs_data
def test_developer_videos():
    kinds = {}
    for name in ("edge_empty_a.mp4", "edge_text_named_a.mp4", "edge_truncated_no_moov_a.mp4", "edge_audio_only_a.mp4"):
        with pytest.raises(MediaError) as caught:
            probe(DATA / name)
        kinds[name] = caught.value.kind
    assert list(kinds.values()) == ["empty_file", "invalid_container", "invalid_container", "no_video_stream"]
    turned = probe(DATA / "edge_rot90.mov")
    assert (turned.width, turned.height, turned.rotation) == (320, 568, 270)
    truth = json.loads((DATA / "ground_truth.json").read_text())["edge_variable_frame_rate_a.mp4"]["pts_ms"]
    times = [t for t, _ in iter_frames(DATA / "edge_variable_frame_rate_a.mp4", size=(8, 8))]
    np.testing.assert_allclose(times, np.array(truth) / 1000, atol=2e-3)
    assert probe(DATA / "edge_failing_audio_plane.mp4").has_audio
    assert probe(DATA / "edge_h264_10bit.mp4").bit_depth == 10
