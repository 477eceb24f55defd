"""A prompt made longer: the guard is asked about both, the world reads the longer one, the sidecar holds both."""

from __future__ import annotations

import numpy as np
import pytest

import armillary
from armillary import guard, verbs
from armillary.errors import BadInput, Blocked, Failed
from armillary.rollout.dreamer import Dreamer
from armillary.types import Verdict


class Longer:
    name = "longer"

    def __init__(self, text="A long text", error=False):
        self.text, self.error, self.seen = text, error, []

    def upsample(self, prompt, image=None, fits=None):
        self.seen.append((prompt, image, fits))
        if self.error:
            raise Failed("nobody answered")
        return self.text


class Gate:
    """Notes what it is asked, and refuses what holds `bad`."""

    def __init__(self):
        self.asked = []

    def check_prompt(self, text):
        self.asked.append(text)
        return (Verdict("words", "ran", "bad" in text, "a bad word"),)

    def check_frames(self, frames, fps):
        return (Verdict("frames", "ran", False),), frames

    def describe(self):
        return {"guard": "test"}


@pytest.fixture(scope="module")
def dreamer(tiny):
    return Dreamer(tiny["autoregressive"])


def dream(dreamer, up, gate=None, **more):
    return armillary.generate(dreamer, "a block", num_frames=5, upsample=up, gate=gate or guard.Open(), **more)


def test_the_world_reads_the_longer_prompt(dreamer):
    up, gate = Longer("a red block on a table"), Gate()
    made = dream(dreamer, up, gate)
    assert gate.asked == ["a block", "a red block on a table"]
    assert made.sidecar["prompt"] == "a block"
    assert made.sidecar["upsampled"] == {"by": "longer", "text": "a red block on a table"}
    same = armillary.generate(dreamer, "a red block on a table", num_frames=5, gate=guard.Open())
    assert (made.frames == same.frames).all() and "upsampled" not in same.sidecar
    assert up.seen[0][1] is None and up.seen[0][2]("word " * 32) and not up.seen[0][2]("word " * 33)


def test_it_sees_the_frame_that_is_given(dreamer):
    up = Longer()
    start = np.full((1, 64, 64, 3), 77, np.uint8)
    dream(dreamer, up, frames=start)
    assert (up.seen[0][1] == start[0]).all()


def test_the_guard_refuses_what_it_makes(dreamer, tmp_path):
    with pytest.raises(Blocked, match="bad word"):
        dream(dreamer, Longer("a bad thing"), Gate(), out=tmp_path / "dream.mp4")
    assert not list(tmp_path.iterdir())


def test_one_that_fails_costs_only_the_longer_prompt(dreamer):
    made = dream(dreamer, Longer(error=True))
    assert made.sidecar["upsampled"] == {"by": "longer", "text": "a block", "error": "nobody answered"}


def test_the_verb_names_upsamplers(tiny, tmp_path):
    world, out = str(tiny["autoregressive"]), tmp_path / "dream.mp4"
    made = verbs.generate(world, prompt="push the red block left", frames=5, upsample=(), guard=False, out=out)
    assert made[0].sidecar["upsampled"]["by"] == "small" and "red block" in made[0].sidecar["upsampled"]["text"]
    with pytest.raises(BadInput, match="one upsampler"):
        verbs.generate(world, prompt="x", upsample=("small", "template"), out=out)
    with pytest.raises(BadInput, match="No upsampler named 'smal'"):
        verbs.generate(world, prompt="x", upsample=("smal",), out=out)
    with pytest.raises(BadInput, match="wants a --prompt"):
        verbs.generate(world, upsample=(), out=out)
