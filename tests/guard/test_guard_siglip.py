"""SigLIP under the frame head: tiny random towers of transformers' own classes, whole models and NaFlex, and folders that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary.cli.main import run
from armillary.errors import BadInput, Failed
from armillary.guard import Gate
from armillary.guard.frames import Frames, FramesConfig
from armillary.guard.head import Head, HeadConfig, load_head, train_head
from armillary.guard.siglip import Siglip
from armillary.media import write_video

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 40, 56, 3), np.uint8)


def test_folders_that_are_none_are_named(tmp_path):
    with pytest.raises(BadInput, match="no model at"):
        Siglip(tmp_path / "gone")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(BadInput, match="type 'clip'"):
        Siglip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(BadInput, match=r"\*\.safetensors"):
        Siglip(tmp_path)


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("transformers", reason='transformers is not installed: pip install "armillary[vlm]"')


@pytest.fixture(scope="module")
def make(hub, tmp_path_factory):
    import torch

    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8}
    texts = {"vocab_size": 32, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}

    def build(kind, seed=0, drop=""):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(kind)
        if kind == "siglip":
            model = hub.SiglipModel(hub.SiglipConfig(vision_config=vision | {"image_size": 32}, text_config=texts))
        elif kind == "tower":
            model = hub.SiglipVisionModel(hub.SiglipVisionConfig(**vision, image_size=32))
        else:
            model = hub.Siglip2Model(hub.Siglip2Config(vision_config=vision | {"num_patches": 16}, text_config=texts))
        model.save_pretrained(folder, state_dict={k: v for k, v in model.state_dict().items() if not drop or drop not in k})
        told = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3, "resample": 2}  # fmt: skip
        own = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
        if kind == "naflex":
            own = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8, "max_num_patches": 16}
        (folder / "preprocessor_config.json").write_text(json.dumps(told | own))
        return folder

    return build


@pytest.mark.parametrize("kind", ["siglip", "tower", "naflex"])
def test_contract(make, kind):
    embedder = Siglip(make(kind), batch=2)
    vectors = embedder.embed(PIXELS)
    assert vectors.shape == (5, 24) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.embed(PIXELS[i : i + 1]) for i in range(5)])
    assert np.allclose(vectors, alone, atol=1e-5), "each from its picture alone"
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3, "pictures differ"
    assert embedder.embed(PIXELS[:0]).shape == (0, 24)
    with pytest.raises(BadInput, match="uint8"):
        embedder.embed(PIXELS.astype(np.float32))


def test_pixels_are_prepared_and_read_as_the_model_itself_does(make, hub):
    import torch
    from PIL import Image

    folder = make("siglip")
    small = [np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in PIXELS]
    pixels = torch.tensor(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        wanted = hub.SiglipModel.from_pretrained(folder).vision_model(pixel_values=pixels).pooler_output
    wanted = torch.nn.functional.normalize(wanted, dim=-1).numpy()
    assert np.abs(Siglip(folder).embed(PIXELS) - wanted).max() < 1e-5


def test_versions_tell_weights_and_preparation_apart(make):
    one, other = make("siglip"), make("siglip", 1)
    first = Siglip(one).version
    assert first == Siglip(one).version != Siglip(other).version and len(first) == 12
    told = json.loads((one / "preprocessor_config.json").read_text())
    (one / "preprocessor_config.json").write_text(json.dumps(told | {"resample": 3}))
    assert Siglip(one).version != first


def test_missing_weights_and_nan_refuse(make):
    lacking = Siglip(make("siglip", drop="vision_model.encoder.layers.0.self_attn.k_proj"))
    with pytest.raises(BadInput, match="lacks weights"):
        lacking.embed(PIXELS)
    broken = Siglip(make("siglip", 3))
    next(p for n, p in broken.pair()[1].named_parameters() if "patch_embedding" in n).fill_(float("nan"))
    with pytest.raises(Failed, match="NaN"):
        broken.embed(PIXELS)
    config = HeadConfig(("gore",), (0.5,), "siglip", broken.version, 24)
    head = Head(config, np.zeros((1, 24)), np.zeros(1), broken)
    verdict = Gate(after=(Frames(head, FramesConfig(required=True)),)).check_frames(PIXELS, 4.0)[0][0]
    assert verdict.state == "failed" and verdict.blocked


def test_a_head_is_trained_on_it_and_refuses_another(make, tmp_path, capsys):
    pytest.importorskip("sklearn")
    embedder = Siglip(make("tower"))
    rng = np.random.default_rng(0)

    def read(clip):
        frames = rng.integers(0, 60, (4, 32, 32, 3), np.uint8)
        if clip.startswith("red"):
            frames[..., 0] += 190
        return frames, 4.0

    labels = [
        {"clip": f"{kind}{i}", "marks": [{"category": "gore", "first": 0, "last": 3}] if kind == "red" else []}
        for kind in ("red", "dark")
        for i in range(4)
    ]
    told = train_head(labels, read, embedder, tmp_path / "head")
    assert told["classes"]["gore"]["recall"] == 1.0
    head = load_head(tmp_path / "head", embedder)
    rail = Frames(head, head.frames_config(required=True))
    assert rail.check(read("red9")[0], 4.0).blocked and not rail.check(read("dark9")[0], 4.0).blocked
    with pytest.raises(BadInput, match="trained on"):
        load_head(tmp_path / "head", Siglip(make("tower", 5)))
    write_video(tmp_path / "red.mp4", np.concatenate([read("red7")[0], read("red8")[0]]), 4.0)
    given = ["guard", "check", "--video", str(tmp_path / "red.mp4"), "--frames-head", str(tmp_path / "head"), "--json"]
    assert run([*given, "--features", str(embedder.folder)]) == 1
    frames = next(v for v in json.loads(capsys.readouterr().out)["verdicts"] if v["rail"] == "frames")
    assert frames["state"] == "ran" and frames["blocked"] and "gore" in frames["reason"]
