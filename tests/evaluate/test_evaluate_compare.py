"""Tokenizers side by side: baselines keep to their budget, every layout is found, one broken clip stops nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_evaluate_reconstruct import Boxes, Greys, clips

from armillary import features, media, presets
from armillary.errors import BadInput
from armillary.evaluate import pixels
from armillary.evaluate.codecs import bicubic, h264
from armillary.evaluate.compare import compare_tokenizers
from armillary.evaluate.footage import find, layout_of, read_all
from armillary.evaluate.page import render
from armillary.evaluate.present_tokenizers import tokenizer_page
from armillary.types import Video


def moving(t: int = 9, h: int = 48, w: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth texture with a square passing over it."""
    rng = np.random.default_rng(seed)
    ground = media.resize(rng.integers(0, 256, (1, 6, 8, 3)).astype(np.uint8), (h, w))
    frames = np.repeat(ground, t, axis=0)
    for i in range(t):
        frames[i, 8:20, 3 * i : 3 * i + 12] = (240, 40, 20)
    return frames


def video(frames: np.ndarray) -> Video:
    return Video(frames, 10.0, np.arange(len(frames)) / 10)


def test_flicker_is_of_what_stands_still():
    truth = moving().astype(np.float64) / 255
    assert np.nan_to_num(pixels.flicker(truth, truth + 0.1)).max() < 1e-9  # a steady error does not flicker
    blinking = truth + 0.02 * (np.arange(len(truth)) % 2)[:, None, None, None]
    values = pixels.flicker(truth, blinking)
    assert np.isnan(values[0]) and values[1:] == pytest.approx(0.02 * 255)
    rng = np.random.default_rng(0)
    busy = np.concatenate([rng.random((6, 20, 16, 3)), np.full((6, 20, 16, 3), 0.5)], axis=1)  # all moves above, nothing below
    above, below = busy.copy(), busy.copy()
    above[:, :20], below[:, 20:] = rng.random((6, 20, 16, 3)), rng.random((6, 20, 16, 3))
    assert np.nanmax(pixels.flicker(busy, above)) == 0 and np.nanmin(pixels.flicker(busy, below)) > 20


def test_baselines_keep_to_what_they_may_take():
    frames = moving()
    whole = bicubic(frames, frames.size)
    assert np.array_equal(whole.frames, frames) and whole.values == frames.size
    for values in (40, 400, 4000):
        for temporal in (1, 4):
            made = bicubic(frames, values, temporal)
            assert made.values <= values and made.frames.shape == frames.shape and made.bits == 8 * made.values
    few, many = h264(frames, 10.0, 6000), h264(frames, 10.0, 40000)
    assert few.bits <= 6000 and few.bits < many.bits <= 40000 and few.frames.shape == frames.shape
    assert pixels.psnr(frames, few.frames).mean() < pixels.psnr(frames, many.frames).mean()
    again = h264(frames, 10.0, 6000)
    # x264 does not promise the same bits twice, and a quarter step of its factor may then fall to either side.
    assert again.bits <= 6000 and abs(again.bits / few.bits - 1) < 0.1
    assert h264(frames[:, :47, :61], 10.0, 6000).frames.shape == (9, 47, 61, 3)
    assert h264(frames, 10.0, 10).bits > 10  # it cannot do that, and does not say so


def test_tokenizers_stand_side_by_side():
    pool = [(f"clip {i}", video(moving(6 + i, seed=i))) for i in range(4)] + [("odd", video(moving(5, 33, 41)))]
    skipped = [{"name": "gone.mp4", "why": "it is empty"}]
    eyes = features.untrained("small")
    report, shown = compare_tokenizers(
        {"boxes": Boxes(temporal=4), "greys": Greys()},
        iter(pool),
        features=eyes,
        picture_features=eyes,
        worst=2,
        skipped=skipped,
    )
    m = report.metrics
    rows = {c["name"]: c for c in m["contenders"]}
    assert list(rows) == [
        "boxes", "bicubic for boxes", "bicubic, 1 frame of 4, for boxes", "greys", "bicubic for greys", "H.264 for greys",
    ]  # fmt: skip
    assert m["clips"] == 5 and m["skipped"] == skipped and m["features"]["rfvd"]["name"] == "small, untrained"
    for c in m["contenders"]:
        assert len(c["clips"]) == 5 and c["psnr"]["low"] <= c["psnr"]["mean"] <= c["psnr"]["high"]
        assert c["rfvd"]["n"] == 5 and c["rfid"]["n"] == 5 and c["rfvd"]["mean"] > 0
        if c["for"]:
            assert c["bits_per_pixel"] <= rows[c["for"]]["bits_per_pixel"] or c["over_budget"]
    assert rows["greys"]["codes"]["vocab"] == 16 and rows["boxes"]["encode_ms"] > 0
    # 4 bits for each 4x4 cell, of which the odd clip has a few that reach over its edge
    assert 4 / 16 < rows["greys"]["bits_per_pixel"] < 4 / 16 * 1.05
    gain = rows["greys"]["over"]["H.264 for greys"]
    assert gain["mean"] == pytest.approx(rows["greys"]["psnr"]["mean"] - rows["H.264 for greys"]["psnr"]["mean"])
    odd = rows["boxes"]["clips"][-1]
    assert (odd["frames"], odd["height"], odd["width"]) == (5, 33, 41)
    assert len(shown) == 2 and shown[0].psnr <= shown[1].psnr and set(shown[0].made) == set(rows)
    json.dumps(presets.to_json(report), allow_nan=False)
    text = render(tokenizer_page(report, shown, "clips"))
    for said in (
        "rFVD (small, untrained)",
        "Not measured here",
        "gone.mp4",
        "x264 crf",
        "CV8x8x8-720p",
        "Over what it has to beat",
    ):
        assert said in text


def test_without_features_or_baselines_the_rest_is_measured():
    report, shown = compare_tokenizers({"boxes": Boxes()}, [("a", video(clips()["moving"]))], baselines=False)
    (only,) = report.metrics["contenders"]
    assert only["rfvd"]["mean"] is None and only["psnr"]["n"] == 1 and report.metrics["features"]["rfid"] is None
    assert "rFVD (" not in render(tokenizer_page(report, shown, "x"))
    with pytest.raises(BadInput, match="No tokenizer"):
        compare_tokenizers({}, [])
    with pytest.raises(BadInput, match=r"No clip could be read; 1 were tried. The first: x: broken"):
        compare_tokenizers({"boxes": Boxes()}, [], skipped=[{"name": "x", "why": "broken"}])


def test_every_layout_is_found_and_read(tmp_path):
    frames = moving(3, 32, 48)
    davis = tmp_path / "davis" / "JPEGImages"
    for resolution, size in (("480p", (32, 48)), ("1080p", (64, 96)), ("Full-Resolution", (64, 98))):
        for i, frame in enumerate(media.resize(frames, size)):
            media_path = davis / resolution / "bear" / f"{i:05d}.jpg"
            media_path.parent.mkdir(parents=True, exist_ok=True)
            media.write_image(media_path, frame)
    coco = tmp_path / "coco" / "val2017"
    coco.mkdir(parents=True)
    for i in range(5):
        media.write_image(coco / f"{i}.jpg", frames[0])
    films = tmp_path / "films" / "sub"
    films.mkdir(parents=True)
    media.write_video(films / "a.mp4", frames, 10.0)
    (films / "b.mp4").write_bytes(b"")
    assert [layout_of(tmp_path / n) for n in ("davis", "coco", "films")] == ["davis", "images", "videos"]
    skipped: list[dict[str, str]] = []
    read = {n: list(read_all(find(tmp_path / n), skipped=skipped)) for n in ("davis", "coco", "films")}
    assert [(n, v.frames.shape) for n, v in read["davis"]] == [("bear", (3, 64, 98, 3))]
    assert len(read["coco"]) == 5 and read["coco"][0][1].frames.shape == (1, 32, 48, 3)
    assert [n for n, _ in read["films"]] == ["sub/a.mp4"] and skipped[0]["name"] == "sub/b.mp4" and "empty" in skipped[0]["why"]
    name, clip = next(read_all(find(davis / "480p", "davis"), size=16, max_frames=2))
    assert name == "bear" and clip.frames.shape == (2, 16, 16, 3)
    some = [f.name for f in find(tmp_path / "coco", most=2, seed=1)]
    assert len(some) == 2 and some == sorted(some) == [f.name for f in find(tmp_path / "coco", most=2, seed=1)]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match="nothing to measure on"):
        layout_of(empty)
    with pytest.raises(BadInput, match="Did you mean 'davis'"):
        find(tmp_path / "coco", "dawis")


def test_padding_is_not_measured():
    """A tokenizer that is exact gives the ceiling on any size."""

    class Exact(Boxes):
        def encode(self, video):
            from armillary.types import Latents

            assert video.shape[3] % 4 == 0 and video.shape[4] % 4 == 0
            return Latents(video)

        def decode(self, latents):
            return latents.values

    report, _ = compare_tokenizers({"exact": Exact()}, [("odd", video(moving(4, 31, 27)))], baselines=False)
    assert report.metrics["contenders"][0]["psnr"]["mean"] == pixels.CEILING
