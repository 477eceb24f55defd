"""Embeddings made beforehand are those of the encoder, and nothing else passes for them."""

from __future__ import annotations

import json

import pytest
import torch

from armillary import guard, text, verbs
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.generate import generate

PROMPTS = ["a red block on the table", "two blue balls"]


@pytest.fixture
def cached(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join([*PROMPTS, "", PROMPTS[0]]))
    said = verbs.embed(tmp_path / "prompts.txt", encoder="hash", out=tmp_path / "cache")
    assert (said["prompts"], said["made"]) == (2, 2)
    return tmp_path / "cache"


def test_what_comes_out_is_what_the_encoder_says(cached, tmp_path):
    encoder, known = text.load("hash"), text.load(cached)
    assert isinstance(known, text.TextEncoder) and text.load(known.name).name == known.name
    asked = [PROMPTS[1], "", PROMPTS[0]]
    for ours, theirs in zip(known.encode(asked), encoder.encode(asked), strict=True):
        assert torch.equal(ours, theirs)
    assert [known.count(p) for p in asked] == [encoder.count(p) for p in asked]
    assert torch.allclose(known.pooled(asked).norm(dim=-1), torch.tensor([1.0, 0.0, 1.0]), atol=1e-5)
    assert verbs.embed(tmp_path / "prompts.txt", encoder="hash", out=cached)["made"] == 0


def test_a_world_dreams_the_same_without_its_encoder(cached, tiny, tmp_path):
    options = {"num_frames": 3, "gate": guard.Open(), "steps": 1}
    a = generate(Dreamer(tiny["diffusion"]), PROMPTS[0], negative=PROMPTS[1], **options)
    b = generate(Dreamer(tiny["diffusion"], embeddings=cached), PROMPTS[0], negative=PROMPTS[1], **options)
    assert (a.frames == b.frames).all()
    with pytest.raises(BadInput, match="Did you mean 'a red block on the table'"):
        generate(Dreamer(tiny["diffusion"], embeddings=cached), "a red block on the tables", **options)


def test_what_does_not_belong_together_is_refused(cached, tiny):
    with pytest.raises(BadInput, match="another encoder"):
        verbs.embed(cached.parent / "prompts.txt", encoder="small", out=cached)
    first, second = sorted(cached.glob("*.safetensors"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(BadInput, match="another prompt"):
        text.load(cached).encode(PROMPTS)
    second.write_bytes(second.read_bytes()[:40])
    with pytest.raises(BadInput, match=r"damaged|another prompt"):
        text.load(cached).encode(PROMPTS)
    record = json.loads((cached / "config.json").read_text())
    for wrong in ({"dim": record["dim"] + 1}, {"encoder": "t5"}):
        (cached / "config.json").write_text(json.dumps(record | wrong))
        with pytest.raises(BadInput, match=r"hash|width"):
            Dreamer(tiny["diffusion"], embeddings=cached)
