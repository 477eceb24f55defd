"""`tokenize` pads and cuts back and says so once; `tokenize eval` measures a folder and writes its report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from armillary import media, verbs
from armillary.errors import BadInput
from armillary.store import read_json


@pytest.mark.parametrize("key", ["frame", "video"])
def test_any_size_and_length_goes_there_and_back(tiny, frames, tmp_path, key, capsys):
    film = media.write_video(tmp_path / "odd.mp4", frames[:6, :50, :36], 10.0)
    made = verbs.tokenize(film, tokenizer=str(tiny[key]), out=tmp_path / "odd.safetensors", reconstruction=tmp_path / "a.mp4")
    assert (made["frames"], made["size"]) == (6, [50, 36]) and made["shape"][-2:] == [7, 5]
    assert capsys.readouterr().err.count("are padded to") == 1 and len(made["notes"]) == 1
    verbs.tokenize(tmp_path / "odd.safetensors", tokenizer=str(tiny[key]), reconstruction=tmp_path / "b.mp4")
    a, b = (media.read_video(tmp_path / n).frames for n in ("a.mp4", "b.mp4"))
    assert a.shape == (6, 50, 36, 3) and np.array_equal(a, b)


def test_what_fits_is_not_spoken_of(tiny, frames, tmp_path, capsys):
    film = media.write_video(tmp_path / "even.mp4", frames, 10.0)
    made = verbs.tokenize(film, tokenizer=str(tiny["video"]))
    assert made["size"] == [64, 64] and "notes" not in made and "padded" not in capsys.readouterr().err
    assert verbs.tokenize(film, tokenizer=str(tiny["video"]), size=32)["size"] == [32, 32]
    with pytest.raises(BadInput, match="--size"):
        verbs.tokenize(film, tokenizer=str(tiny["video"]), size=-8)


def test_transparency_lies_on_black(tiny, tmp_path):
    picture = np.full((16, 16, 4), 255, np.uint8)
    picture[:8, :, 3] = 0
    Image.fromarray(picture).save(tmp_path / "half.png")
    made = verbs.tokenize(tmp_path / "half.png", tokenizer=str(tiny["frame"]))
    assert made["notes"] == ["What is transparent lies on black."]
    assert media.read_image(tmp_path / "half.png", behind=0)[0, 0].tolist() == [0, 0, 0]
    picture[..., 3] = 255
    Image.fromarray(picture).save(tmp_path / "whole.png")
    assert "notes" not in verbs.tokenize(tmp_path / "whole.png", tokenizer=str(tiny["frame"]))


def test_eval_measures_a_folder_and_writes_its_report(tiny, frames, tmp_path, capsys):
    for i in range(3):
        media.write_video(tmp_path / "films" / f"{i}.mp4", np.roll(frames, 5 * i, axis=2), 10.0)
    (tmp_path / "films" / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "report"
    result = verbs.tokenize_eval(
        str(tiny["video"]), data=tmp_path / "films", also=(str(tiny["frame"]),), out=out, size=32, max_frames=5
    )
    assert result["clips"] == 3 and result["sizes"] == ["32x32"] and result["skipped"][0]["name"] == "broken.mp4"
    names = [c["name"] for c in result["contenders"]]
    assert names[0] == "video" and "H.264 for video" in names and "bicubic for frame" in names
    assert result["contenders"][0]["psnr_95"][0] <= result["contenders"][0]["psnr"]
    assert result["features"]["rfvd"]["name"] == "small" and len(result["features"]["rfvd"]["sha256"]) == 64
    full = read_json(out / "result.json")
    assert len(full["contenders"][0]["clips"]) == 3 and full["tokenizers"]["video"]["sha256"]
    assert "<video" in (out / "report.html").read_text() and "broken.mp4 was left out" in capsys.readouterr().err
    json.dumps(result, allow_nan=False)
    with pytest.raises(BadInput, match="no folder"):
        verbs.tokenize_eval(str(tiny["video"]), data=tmp_path / "nowhere")
