"""`armillary convert` from a shell: published weights in, a checkpoint folder out that other verbs take, and back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from armillary import tokenizers, verbs
from armillary.cli.main import run
from armillary.errors import BadInput
from armillary.store import sha256_file
from armillary.tokenizers import Tokenizer, to_published
from armillary.tokenizers.published_member import PUBLISHED


@pytest.fixture
def published(tmp_path):
    config = dataclasses.replace(PUBLISHED["cv8x8x8"], width=4, blocks=1)
    torch.manual_seed(0)
    folder = tmp_path / "Cosmos-Tokenize1-CV8x8x8-720p"
    folder.mkdir()
    torch.save(to_published(Tokenizer(config).state_dict(), config), folder / "model.pt")
    torch.save((torch.zeros(16, 4), torch.ones(16, 4)), folder / "mean_std.pt")
    return folder


def test_there_and_back(published, tmp_path, capsys):
    assert run(["convert", str(published), "--out", str(tmp_path / "ours"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["source"] == [{"file": "model.pt", "sha256": sha256_file(published / "model.pt")}]
    assert said["tokenizer"].startswith("cv8x8x8") and said["statistics"] == {"video": "4 latent frames"}
    for layout, name in (("model-pt", "theirs"), ("diffusers", "vae")):
        assert run(["convert", str(tmp_path / "ours"), "--out", str(tmp_path / name), "--as", layout, "--json"]) == 0
        capsys.readouterr()
        again = verbs.convert(str(tmp_path / name), out=tmp_path / f"{name}-ours")
        assert again["parameters"] == said["parameters"]
        assert (tmp_path / f"{name}-ours" / "model.safetensors").read_bytes() == (
            tmp_path / "ours" / "model.safetensors"
        ).read_bytes()


def test_other_verbs_take_either_folder(published, tmp_path, frames):
    from armillary import media

    film = media.write_video(tmp_path / "clip.mp4", frames, 10)
    verbs.convert(str(published), out=tmp_path / "ours")
    made = []
    for name in (published, tmp_path / "ours"):
        made.append(verbs.tokenize(film, tokenizer=str(name), out=tmp_path / "z.safetensors"))
        assert made[-1]["shape"] == [1, 16, 2, 8, 8]
    assert made[0]["psnr"] == made[1]["psnr"]
    assert verbs.info(str(published))["tokenizer"].startswith("cv8x8x8")
    assert verbs.info(str(tmp_path / "ours"))["source"]["files"][0]["sha256"] == tokenizers.load(published).sha256


def test_bad_input_writes_nothing(published, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["convert", str(published), "--out", str(out), "--size", "cv8x16x16", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]
    assert "cv8x8x8" in said and "cv8x16x16" in said and not out.exists()
    with pytest.raises(BadInput, match="exists"):
        verbs.convert(str(published), out=published)
    data = (published / "model.pt").read_bytes()
    (published / "model.pt").write_bytes(data[:-100])
    assert run(["convert", str(published), "--out", str(out)]) == 2
    assert "cut short or damaged" in capsys.readouterr().err and not out.exists()
    with pytest.raises(BadInput, match="No tokenizer named"):
        verbs.convert("frame-c8-tabletob", out=out)
