"""`armillary train` on a folder of one's own videos: one command, whole files held out, measured at the end beside where it began."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary import media, tokenizers
from armillary.errors import BadInput
from armillary.verbs import train

QUICK = (
    "batch=1",
    "data.size=[32, 32]",
    "optim.warmup=1",
    "save_every=1",
    "eval_every=1",
    "eval_batches=1",
    "threads=1",
    "ahead=0",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Five short films of squares that drift over a slope."""
    folder = tmp_path_factory.mktemp("films")
    for n in range(5):
        frames = np.tile(np.linspace(30 + 20 * n, 200, 40, dtype=np.uint8)[None, None, :, None], (12, 40, 1, 3)).copy()
        for t in range(12):
            frames[t, 4 * n : 4 * n + 12, 2 * t : 2 * t + 12] = (220, 40 * n, 60)
        media.write_video(folder / f"film-{n}.mp4", frames, 10.0)
    return folder


@pytest.mark.parametrize("size", ["video-c4x8x8", "video-d4x8x8", "frame-c8", "frame-d8"])
def test_one_command_from_videos_to_a_measured_tokenizer(videos, tmp_path, size, capsys):
    small = 'model.overrides=["width=8"]'
    told = train(f"{size}-videos", data=videos, out=tmp_path / "first", steps=1, set=(*QUICK, small))
    held = told["held_out"]
    assert told["finished"] and held["model"]["psnr"] > 5 and "start" not in held
    assert len(held["clips"]) == 1, "one file of five is held out, and not by the stretch"
    assert tokenizers.load(told["model"]).config == dataclass_of(size)
    further = train(
        f"{size}-videos", data=videos, out=tmp_path / "further", steps=2, start=told["model"], set=(*QUICK, "optim.lr=1e-4")
    )
    assert further["held_out"]["start"] == held["model"] and further["held_out"]["model"] != held["model"]
    assert json.loads((tmp_path / "further" / "held-out.json").read_text()) == further["held_out"]
    assert ("codes" in held["model"]) == ("d" in size.split("-")[1])
    capsys.readouterr()
    again = train(
        f"{size}-videos", data=videos, out=tmp_path / "further", steps=2, start=told["model"], set=(*QUICK, "optim.lr=1e-4")
    )
    assert again["held_out"] == further["held_out"] and "finished" in capsys.readouterr().err


def dataclass_of(size):
    import dataclasses

    return dataclasses.replace(tokenizers.TOKENIZERS[size], width=8)


def test_what_a_recipe_does_not_take_or_lacks_is_said(videos, tmp_path):
    with pytest.raises(BadInput, match="takes no --tokenizer"):
        train("frame-c8-videos", data=videos, tokenizer="frame-c8-tabletop")
    with pytest.raises(BadInput, match="takes no --more"):
        train("frame-c8-videos", data=videos, more=videos)
    with pytest.raises(BadInput, match=r"--more .*nowhere does not exist"):
        train("unet-tabletop-words", data=videos, more=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="wants --tokenizer"):
        train("unet-videos", data=videos)
    with pytest.raises(BadInput, match="wants --data"):
        train("frame-c8-videos")
