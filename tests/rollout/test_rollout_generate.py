"""Generating: what is refused, what is recorded, and that the same seed gives the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import armillary
from armillary import guard, media
from armillary.errors import BadInput, Blocked
from armillary.rollout.dreamer import Dreamer
from armillary.types import Verdict


@pytest.fixture(scope="module")
def dreamers(tiny):
    return {k: Dreamer(tiny[k]) for k in ("diffusion", "autoregressive")}


OPEN = guard.Open()


@pytest.mark.parametrize("family", ["diffusion", "autoregressive"])
def test_same_seed_same_bytes(dreamers, frames, family, tmp_path):
    steps = {"steps": 4} if family == "diffusion" else {}  # one step is nearly the mean, whatever the seed
    made = [
        armillary.generate(
            dreamers[family],
            "a red square",
            frames=frames[:5],
            num_frames=9,
            seed=s,
            gate=OPEN,
            out=tmp_path / f"{n}.mp4",
            **steps,
        )
        for n, s in enumerate((3, 3, 4))
    ]
    assert made[0].frames.shape == (9, 64, 64, 3)
    assert np.array_equal(made[0].frames, made[1].frames) and not np.array_equal(made[0].frames, made[2].frames)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    assert np.array_equal(made[0].frames[: made[0].num_given], frames[: made[0].num_given])
    sidecar = json.loads((tmp_path / "0.json").read_text())
    assert sidecar["seed"] == 3 and sidecar["world"]["sha256"] == dreamers[family].world.sha256
    assert sidecar["provenance"]["pixels"]["sha256"] == guard.sha256_pixels(made[0].frames)
    assert sidecar["provenance"]["verdicts"][0]["rail"] == "open"
    assert guard.verify(tmp_path / "0.mp4")["ok"]


def test_from_a_prompt_alone_and_from_an_image(dreamers, frames, tmp_path):
    made = armillary.generate(dreamers["diffusion"], "a red square", num_frames=4, gate=OPEN, sampling={"first_steps": 2})
    assert made.frames.shape == (4, 64, 64, 3) and made.num_given == 0
    media.write_image(tmp_path / "start.png", np.repeat(np.repeat(frames[0], 3, 0), 4, 1))  # 192 x 256, to be cropped
    made = armillary.generate(dreamers["diffusion"], image=tmp_path / "start.png", num_frames=4, gate=OPEN)
    assert made.frames.shape == (4, 64, 64, 3) and made.num_given == 1


def test_another_size_than_the_world_was_trained_on(tiny, frames, tmp_path):
    said = {"num_frames": 4, "gate": OPEN, "out": tmp_path / "wide.mp4", "size": (48, 96)}
    made = armillary.generate(tiny["diffusion"], frames=frames[:2], **said)
    assert made.frames.shape == (4, 48, 96, 3)
    assert json.loads((tmp_path / "wide.json").read_text())["size"] == [48, 96]
    painted = Dreamer(tiny["diffusion"], size=(48, 96)).dream(
        None, 1, prompt="a red square", actions=np.zeros((0, 2)), first_steps=1
    )
    assert painted.shape == (1, 48, 96, 3)


@pytest.mark.parametrize("family, size, said", [
    ("diffusion", (50, 96), "multiples of 8, as 48 x 96; 50 x 96 was asked for"),
    ("diffusion", (0, 96), "multiples of 8, as 8 x 96"),
    ("autoregressive", (48, 96), "64 x 64 pixels and no other size"),
])  # fmt: skip
def test_a_size_that_cannot_be_is_refused(tiny, family, size, said):
    with pytest.raises(BadInput, match=said):
        Dreamer(tiny[family], size=size)


def test_a_dreamer_keeps_its_size(dreamers, frames):
    with pytest.raises(BadInput, match="make it with Dreamer"):
        armillary.generate(dreamers["diffusion"], frames=frames[:2], num_frames=4, gate=OPEN, size=(48, 96))


def test_a_painter_makes_the_first_frame_and_another_world_goes_on(dreamers, frames, tmp_path):
    painter = dreamers["diffusion"]
    words: dict = {"prompt": "a red square", "num_frames": 9, "gate": OPEN, "seed": 5}
    made = armillary.generate(dreamers["autoregressive"], first=painter, out=tmp_path / "a.mp4", **words)
    alone = armillary.generate(painter, sampling={"cut": True}, **words | {"num_frames": 2})
    assert made.num_given == 1 and np.array_equal(made.frames[0], alone.frames[0])
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert sidecar["first"]["sha256"] == painter.world.sha256
    assert sidecar["given"] == {"frames": 1, "source": "painted"}
    # Where there are frames nothing is painted.
    made = armillary.generate(dreamers["autoregressive"], first=painter, frames=frames[:1], **words)
    assert np.array_equal(made.frames[0], frames[0]) and "first" not in made.sidecar


def test_temporal_tokenizer_rounds_the_length_up(dreamers, frames):
    made = armillary.generate(dreamers["autoregressive"], frames=frames[:3], num_frames=8, gate=OPEN)
    assert made.num_given == 1 and len(made.frames) == 9


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "Nothing to dream from"),
        ({"prompt": "x" * 3000}, "2000"),
        ({"prompt": "a\x00b"}, ""),
        ({"image": "missing.png"}, "missing.png"),
        ({"video": "missing.mp4"}, "missing.mp4"),
        ({"image": "a.png", "video": "b.mp4"}, "one start"),
        ({"prompt": "a", "actions": np.zeros((33, 3))}, "width 2"),
        ({"prompt": "a", "actions": np.full((33, 2), 9.0)}, "must lie in"),
        ({"prompt": "a", "actions": np.full((33, 2), np.nan)}, "finite"),
        ({"prompt": "a", "actions": np.zeros((2, 2))}, "33 actions"),
        ({"prompt": "a", "actions": "plai"}, "Did you mean 'play'"),
        ({"prompt": "a", "num_frames": 1}, "2 to 10000"),
        ({"prompt": "a", "out": "dream.txt"}, "dream.mp4"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(dreamers, given, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as error:
        armillary.generate(dreamers["diffusion"], gate=OPEN, **given)
    assert word in str(error.value)
    assert not list(tmp_path.iterdir())


class Refusing(guard.Open):
    """A gate that refuses on one side."""

    def __init__(self, before: bool) -> None:
        self.before = before

    def check_prompt(self, text):
        return (Verdict("scripted", "ran", self.before, "because"),)

    def check_frames(self, frames, fps):
        return (Verdict("scripted", "failed", not self.before, "model missing"),), frames


@pytest.mark.parametrize("before", [True, False])
def test_a_refusal_writes_nothing(dreamers, before, tmp_path):
    with pytest.raises(Blocked):
        armillary.generate(
            dreamers["diffusion"], "a", num_frames=3, gate=Refusing(before), out=tmp_path / "d.mp4", sampling={"first_steps": 1}
        )
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_an_error(tiny):
    import torch

    from armillary import tokenizers

    torch.manual_seed(1)
    other = tokenizers.build("frame-c8").eval()
    with pytest.raises(BadInput, match="sha256"):
        Dreamer(tiny["diffusion"], other)
