"""Bars, repeats and the learned judges that are given as files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene

from armillary.curate.analyse import Look, Segment
from armillary.curate.filters.black import Black, BlackConfig, bar_area, bar_word, bars, repeats, telecined
from armillary.curate.filters.judges import Head, Perceptual
from armillary.curate.filters.quality import Quality, QualityConfig
from armillary.curate.measure import measure
from armillary.curate.stage import Context
from armillary.errors import BadInput
from armillary.media import VideoInfo
from armillary.types import Clip

cv2 = pytest.importorskip("cv2")
save_file = pytest.importorskip("safetensors.numpy").save_file


def context_of(frames, fps=10.0):
    """A segment of frames with looks twice a second."""
    n, (h, w) = len(frames), frames.shape[1:3]
    grey = frames.astype(np.float32).mean(3)
    change = np.r_[0.0, np.abs(np.diff(grey, axis=0)).mean((1, 2))].astype(np.float32)
    peak = np.r_[0.0, np.abs(np.diff(grey, axis=0)).max((1, 2))].astype(np.float32)
    step = max(1, round(fps / 2))
    looks = tuple(
        Look(i / fps, frames[i], measure(cv2.cvtColor(frames[i], cv2.COLOR_RGB2GRAY)), None) for i in range(0, n, step)
    )
    info = VideoInfo("x.mp4", w, h, fps, n, n / fps, "h264", "yuv420p")
    segment = Segment(
        info, np.arange(n) / fps, n / fps, change, peak, grey.mean((1, 2)), grey.std((1, 2)), np.zeros(n, bool), (), (), looks
    )
    return Context(segment, Path("x.mp4"), "x.mp4", "", Path())


def clip_of(context):
    info = context.segment.info
    return Clip("x", "x.mp4", 0.0, context.segment.end, width=info.width, height=info.height)


def framed(frames, top=0.0, bottom=0.0, left=0.0, right=0.0):
    out, (h, w) = frames.copy(), frames.shape[1:3]
    out[:, : round(top * h)] = out[:, h - round(bottom * h) :] = 0
    out[:, :, : round(left * w)] = out[:, :, w - round(right * w) :] = 0
    return out


@pytest.mark.parametrize(
    ("sides", "word"),
    [
        ({"top": 0.12, "bottom": 0.12}, "letterbox"),
        ({"left": 0.2, "right": 0.2}, "pillarbox"),
        ({"top": 0.1, "bottom": 0.1, "left": 0.1, "right": 0.1}, "windowbox"),
        ({"top": 0.3}, ""),  # a night sky
        ({}, ""),
    ],
)
def test_bars_are_named_measured_and_rejected(sides, word):
    context = context_of(framed(scene(1, 20, 200, 320), **sides))
    clip = Black().process([clip_of(context)], context)[0]
    assert clip.tags.get("bars", "") == word
    for side in ("top", "bottom", "left", "right"):
        assert clip.scores[f"bars_{side}"] == pytest.approx(sides.get(side, 0.0), abs=0.02)
    assert [r.by for r in clip.rejected] == (["black"] if word else [])


def test_a_dark_moment_does_not_make_bars():
    bright, dark = scene(2, 1, 200, 320)[0], np.zeros((200, 320, 3), np.uint8)
    measures = [measure(p[..., 1].copy()) for p in (bright, dark, bright)]
    assert bar_area(bars(measures)) == 0.0 and bar_word(bars(measures)) == ""


def test_repeats_are_counted_and_a_cadence_is_recognised():
    c, times = BlackConfig(), np.arange(100) / 30
    telecine = np.where(np.arange(100) % 5 == 4, 0.0, 6.0)
    twos = np.where(np.arange(100) % 2, 0.0, 6.0)
    assert repeats(telecine, times, c) == pytest.approx(0.2, abs=0.02) and telecined(telecine, times, c)
    assert repeats(twos, times, c) == pytest.approx(0.5, abs=0.02) and not telecined(twos, times, c)
    assert repeats(np.full(100, 6.0), times, c) == 0.0
    halt = np.where(np.arange(100) < 50, 0.0, 6.0)  # 1.7 s of standing still is frozen, not repeated
    assert repeats(halt, times, c) == 0.0


def test_a_slow_film_in_a_fast_file_is_rejected():
    frames = scene(3, 8, 120, 200)[np.arange(80) // 10]  # 10 of 10 the same, 0.33 s each
    context = context_of(frames, 30.0)
    clip = Black().process([clip_of(context)], context)[0]
    assert clip.scores["repeats"] == pytest.approx(0.9, abs=0.02) and clip.scores["frozen"] == 0.0
    assert [r.by for r in clip.rejected] == ["black"]


@pytest.fixture
def context():
    return context_of(scene(4, 20, 120, 200))


def test_without_judges_there_is_no_score(context):
    clip = Quality().process([clip_of(context)], context)[0]
    assert "aesthetic" not in clip.scores and "perceptual" not in clip.scores and not clip.rejected


def test_an_aesthetic_head_scores_embeddings(tmp_path, context):
    from armillary.curate.embed import DIM, embed

    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(16, DIM)).astype(np.float32), rng.normal(size=(1, 16)).astype(np.float32)
    bias = np.full(1, 5.0, np.float32)
    save_file(
        {"0.weight": one, "0.bias": np.zeros(16, np.float32), "2.weight": two, "2.bias": bias}, tmp_path / "relu.safetensors"
    )
    save_file(
        {"0.weight": one, "2.weight": two, "2.bias": bias}, tmp_path / "none.safetensors", metadata={"activation": "none"}
    )
    vector = embed([context.segment.looks[0].rgb])
    assert Head(tmp_path / "relu.safetensors")(vector) == pytest.approx(
        float((two @ np.maximum(one @ vector, 0) + 5)[0]), abs=1e-4
    )
    assert Head(tmp_path / "none.safetensors")(vector) == pytest.approx(float((two @ (one @ vector) + 5)[0]), abs=1e-4)
    for least, rejected in ((-99.0, []), (99.0, ["quality"])):
        config = QualityConfig(aesthetic=str(tmp_path / "relu.safetensors"), min_aesthetic=least)
        clip = Quality(config).process([clip_of(context)], context)[0]
        assert np.isfinite(clip.scores["aesthetic"]) and [r.by for r in clip.rejected] == rejected


def test_heads_that_do_not_fit_say_so(tmp_path):
    with pytest.raises(BadInput, match="no quality head at"):
        Quality(QualityConfig(aesthetic=str(tmp_path / "missing.safetensors")))
    with pytest.raises(BadInput, match=r"is a \.safetensors file"):
        Quality(QualityConfig(aesthetic=str(tmp_path / "head.pth")))
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(BadInput, match="no whole safetensors"):
        Head(tmp_path / "torn.safetensors")
    save_file({"weight": np.zeros((1, 768), np.float32), "bias": np.zeros(1, np.float32)}, tmp_path / "clip.safetensors")
    with pytest.raises(BadInput, match=r"768 numbers.*quality\.embedder"):
        Quality(QualityConfig(aesthetic=str(tmp_path / "clip.safetensors")))
    with pytest.raises(BadInput, match=r"no model at"):
        Quality(QualityConfig(aesthetic=str(tmp_path / "clip.safetensors"), embedder=str(tmp_path / "nowhere")))
    save_file({"weight": np.zeros((3, 8), np.float32)}, tmp_path / "three.safetensors")
    with pytest.raises(BadInput, match="end in one score"):
        Head(tmp_path / "three.safetensors")


def onnx_mean(path, channels=3):
    """A network whose score is the mean of its input."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("ReduceMean", ["picture"], ["score"], keepdims=0)
    picture = helper.make_tensor_value_info("picture", kind, ["b", channels, "h", "w"])
    graph = helper.make_graph([node], "mean", [picture], [helper.make_tensor_value_info("score", kind, [])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))


def test_a_perceptual_model_scores_pictures(tmp_path, context):
    pytest.importorskip("onnxruntime")
    onnx_mean(tmp_path / "mean.onnx")
    config = QualityConfig(perceptual=str(tmp_path / "mean.onnx"), min_perceptual=0.99)
    clip = Quality(config).process([clip_of(context)], context)[0]
    looks = [context.segment.looks[i].rgb for i in (0, 2, 3)]
    assert clip.scores["perceptual"] == pytest.approx(np.mean([p.mean() / 255 for p in looks]), abs=0.01)
    assert [r.by for r in clip.rejected] == ["quality"]


def test_perceptual_models_that_do_not_fit_say_so(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(BadInput, match="no perceptual model"):
        Perceptual(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(BadInput, match="cannot be read"):
        Perceptual(tmp_path / "text.onnx")
    onnx_mean(tmp_path / "one.onnx", channels=1)
    with pytest.raises(BadInput, match="b 3 h w"):
        Perceptual(tmp_path / "one.onnx")
