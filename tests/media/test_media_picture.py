"""Images, resizing, tensors, buckets, and the encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from armillary.errors import BadInput, Failed
from armillary.media import (
    MediaError,
    bucket_of,
    fit,
    probe,
    read_image,
    read_video,
    resize,
    to_frames,
    to_tensor,
    write_image,
    write_video,
)
from armillary.media.buckets import aspect_of, length_of
from armillary.media.encode import rate


def smooth(t=6, h=40, w=56):
    y, x = np.mgrid[:h, :w]
    return np.stack([np.stack([x * 3 % 256, y * 4 % 256, (x + y + 5 * k) % 256], -1) for k in range(t)]).astype(np.uint8)


def test_whole_shrinks_are_exact_box_means():
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 36, 3), np.uint8)
    boxes = frames.reshape(3, 12, 2, 18, 2, 3).astype(float).mean((2, 4))
    assert np.abs(resize(frames, (12, 18)) - boxes).max() <= 0.5
    uneven = frames.reshape(3, 8, 3, 9, 4, 3).astype(float).mean((2, 4))
    assert np.abs(resize(frames, (8, 9)) - uneven).max() <= 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 255))
def test_resizing_keeps_a_flat_colour_and_the_shape(h, w, value):
    out = resize(np.full((2, 17, 23, 3), value, np.uint8), (h, w))
    assert out.shape == (2, h, w, 3)
    assert (out == value).all()


def test_growing_is_bilinear_and_mixed_axes_are_each_their_own():
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 3, 2)[None].repeat(8, 1)
    wide = resize(ramp, (8, 32))[0, 0, :, 0].astype(int)
    assert (np.diff(wide) >= 0).all() and (np.diff(wide) <= 6).all()
    both = resize(np.random.default_rng(1).integers(0, 256, (1, 40, 10, 3), np.uint8), (10, 40))
    assert both.shape == (1, 10, 40, 3)


def test_resize_refuses_what_it_cannot_do():
    with pytest.raises(BadInput):
        resize(np.zeros((2, 4, 4, 3), np.float32), (2, 2))  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        resize(np.zeros((2, 4, 4, 3), np.uint8), (0, 2))


def test_fit_crops_about_the_centre():
    frames = np.zeros((1, 20, 60, 3), np.uint8)
    frames[:, :, 20:40] = 200
    assert (fit(frames, (10, 10)) == 200).all()
    tall = frames.transpose(0, 2, 1, 3)
    assert (fit(tall, (10, 10)) == 200).all()


def test_tensors_go_there_and_back_without_loss():
    frames = np.random.default_rng(2).integers(0, 256, (5, 8, 9, 3), np.uint8)
    tensor = to_tensor(frames)
    assert tensor.shape == (1, 3, 5, 8, 9)
    assert tensor.min() >= -1 and tensor.max() <= 1
    np.testing.assert_array_equal(to_frames(tensor), frames)
    np.testing.assert_array_equal(to_frames(tensor[0] * 1.0), frames)
    assert (to_frames(torch.full((3, 1, 2, 2), 7.0)) == 255).all()


def test_tensors_that_are_no_picture_are_refused():
    with pytest.raises(Failed):
        to_frames(torch.full((1, 3, 1, 2, 2), float("nan")))
    with pytest.raises(BadInput):
        to_frames(torch.zeros(2, 3, 1, 2, 2))
    with pytest.raises(BadInput):
        to_tensor(np.zeros((8, 8, 3), np.uint8))


def test_images_are_turned_flattened_and_brought_to_eight_bits(tmp_path):
    picture = smooth(1)[0]
    assert np.array_equal(read_image(write_image(tmp_path / "a.png", picture)), picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    Image.fromarray(picture).save(tmp_path / "t.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "t.png"), np.rot90(picture, -1))
    glass = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])
    Image.fromarray(glass).save(tmp_path / "g.png")
    assert (read_image(tmp_path / "g.png") == 128).all()
    deep = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    eight = read_image(tmp_path / "d.png")
    assert eight.shape == (40, 56, 3) and np.abs(eight[..., 0] - deep / 257).max() <= 0.51


def test_images_that_cannot_be_read_say_why(tmp_path):
    (tmp_path / "e.png").write_bytes(b"")
    (tmp_path / "w.png").write_bytes(b"words")
    write_image(tmp_path / "ok.png", smooth(1, 200, 200)[0])
    (tmp_path / "cut.png").write_bytes((tmp_path / "ok.png").read_bytes()[:200])
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    kinds = []
    for name in ("none.png", "e.png", "w.png", "cut.png", "huge.png"):
        with pytest.raises(MediaError) as caught:
            read_image(tmp_path / name)
        kinds.append(caught.value.kind)
    assert kinds == ["not_found", "empty_file", "invalid_container", "decode_error", "limit_exceeded"]


def test_the_same_frames_give_the_same_file(tmp_path):
    frames = smooth(20)
    a = write_video(tmp_path / "a.mp4", frames, 29.97)
    b = write_video(tmp_path / "b.mp4", iter(list(frames)), 29.97)
    assert a.read_bytes() == b.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    video = read_video(a)
    assert np.abs(video.frames.astype(int) - frames).mean() < 6
    assert video.fps == pytest.approx(30000 / 1001)


def test_odd_sizes_grow_by_their_last_row_and_column(tmp_path):
    video = read_video(write_video(tmp_path / "o.mp4", smooth(3, 41, 57), 10))
    assert video.frames.shape == (3, 42, 58, 3)


def test_given_times_are_written(tmp_path):
    times = [0.0, 0.05, 0.2, 0.22, 0.9, 1.0]
    video = read_video(write_video(tmp_path / "v.mp4", smooth(6), 10, times=[5 + t for t in times]))
    np.testing.assert_allclose(video.times - video.times[0], times, atol=1e-3)


def test_a_failed_write_leaves_nothing(tmp_path):
    def broken():
        yield smooth(1)[0]
        raise RuntimeError("the source broke off")

    for frames in ([], [np.zeros((4, 4), np.uint8)], [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)]):
        with pytest.raises(BadInput):
            write_video(tmp_path / "x.mp4", frames, 10)
    with pytest.raises(RuntimeError):
        write_video(tmp_path / "x.mp4", broken(), 10)
    for bad in ({"codec": "h264"}, {"fps": 0}, {"path": tmp_path / "x.txt"}):
        with pytest.raises(BadInput):
            write_video(**{"path": tmp_path / "x.mp4", "frames": smooth(2), "fps": 10, **bad})
    assert list(tmp_path.iterdir()) == []


def test_gop_bounds_the_distance_of_key_frames(tmp_path):
    import av

    def keys(path):
        with av.open(str(path)) as container:
            return [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]

    close = keys(write_video(tmp_path / "k.mp4", smooth(20), 10, gop=5))
    assert np.diff([*close, 2.0]).max() <= 0.5 + 1e-6
    assert len(keys(write_video(tmp_path / "f.mp4", smooth(20), 10))) < len(close)


def test_rates_are_named_as_containers_do():
    assert [str(rate(x)) for x in (30, 29.97, 23.976, 59.94, 12.5, 10.0)] == [
        "30", "30000/1001", "24000/1001", "60000/1001", "25/2", "10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("w", "h", "seconds", "name"),
    [
        (1280, 720, 7.0, "720p_16x9_5-10s"),
        (1920, 1080, 5.0, "1080p_16x9_5-10s"),
        (882, 1568, 30.0, "720p_9x16_30s-"),
        (640, 480, 2.0, "480p_4x3_2-5s"),
        (34, 58, 1.0, "tiny_9x16_0-2s"),
        (256, 256, 29.99, "256p_1x1_10-30s"),
    ],
)
def test_buckets(w, h, seconds, name):
    assert bucket_of(w, h, seconds).name == name


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0, 1e4))
def test_every_clip_has_a_bucket(w, h, seconds):
    assert aspect_of(w, h) in ("9x16", "3x4", "1x1", "4x3", "16x9")
    assert length_of(seconds)
    assert bucket_of(w, h, seconds).name.count("_") == 2


def test_probe_agrees_with_what_was_written(tmp_path):
    info = probe(write_video(tmp_path / "p.mp4", smooth(30), 15))
    assert (info.width, info.height, info.fps, info.num_frames) == (56, 40, 15.0, 30)
    assert info.duration == pytest.approx(2.0)
    assert (info.codec, info.pix_fmt, info.rotation, info.has_audio) == ("h264", "yuv420p", 0, False)
