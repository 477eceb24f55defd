"""`armillary convert` of autoregressive worlds: from every released layout to a folder that `worlds.load` reads, and back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from armillary import verbs, worlds
from armillary.errors import BadInput
from armillary.store import read_tensors, sha256_file
from armillary.worlds.autoregressive import convert
from armillary.worlds.autoregressive.published import split, to_published
from armillary.worlds.autoregressive.transformer import TransformerConfig
from armillary.worlds.autoregressive.world import AutoregressiveConfig

BASE = TransformerConfig(vocab=64_000, dim=32, layers=2, heads=4, kv_heads=2, hidden=32, begin=False)
TOLD = dataclasses.replace(BASE, vocab=64_000, context_dim=12, absolute=True, begin=True)
SIZES = {"ar-small": AutoregressiveConfig(BASE, 3, 4, 6), "ar-told": AutoregressiveConfig(TOLD, 3, 4, 6)}


@pytest.fixture(autouse=True)
def _members(monkeypatch):
    for name, config in SIZES.items():
        monkeypatch.setitem(convert.MEMBERS, name, config)


def weights(name):
    g = torch.Generator().manual_seed(1)
    shapes = {k: v.shape for k, v in convert.empty(SIZES[name]).state_dict().items()}
    return {k: (0.2 * torch.randn(shape, generator=g)).bfloat16() for k, shape in shapes.items()}


def nvidia(folder, name, ranks=1):
    folder.mkdir()
    network = SIZES[name].network
    if ranks > 1:
        for rank, shard in enumerate(split(network, weights(name), ranks)):
            torch.save(shard, folder / f"model_model_mp_{rank}.pt")
    else:
        torch.save({"model": {f"model.{k}": v for k, v in to_published(network, weights(name)).items()}}, folder / "model.pt")
    return folder


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("ranks", [1, 2])
def test_there_and_back_bit_for_bit(tmp_path, name, ranks):
    found = verbs.convert(str(nvidia(tmp_path / "nv", name, ranks)), out=tmp_path / "ours")
    assert found["world"] == name and found["precision"] == "bfloat16" and len(found["source"]) == ranks
    world = worlds.load(tmp_path / "ours", dtype=None)
    own = world.state_dict()
    assert all(torch.equal(own[f"network.{k}"], v) for k, v in weights(name).items())
    assert world.config == SIZES[name]
    verbs.convert(str(tmp_path / "ours"), out=tmp_path / "back", layout="model-pt")
    back = read_tensors(tmp_path / "back" / "model.pt")
    wanted = to_published(SIZES[name].network, weights(name))
    assert back.keys() == wanted.keys() and all(torch.equal(back[k], v) for k, v in wanted.items())
    source = json.loads((tmp_path / "ours" / "config.json").read_text())["source"]
    assert source["files"][0]["sha256"] == sha256_file(
        next((tmp_path / "nv").glob("*.pt")) if ranks == 1 else tmp_path / "nv/model_model_mp_0.pt"
    )


def test_a_world_as_published_goes_on(tmp_path):
    verbs.convert(str(nvidia(tmp_path / "nv", "ar-told")), out=tmp_path / "ours")
    world = worlds.load(tmp_path / "ours")
    from armillary.types import Conditioning

    given = torch.zeros((1, 1, 4, 6), dtype=torch.long)
    text = Conditioning(context=torch.randn(1, 5, 12), context_mask=torch.ones(1, 5, dtype=torch.bool))
    made = world.extend(given, 1, text, generator=torch.Generator().manual_seed(0))
    assert made.shape == (1, 1, 4, 6) and int(made.max()) < 64_000


def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path):
    folder, out = nvidia(tmp_path / "nv", "ar-small"), tmp_path / "out"
    with pytest.raises(BadInput, match="ar-told"):
        verbs.convert(str(folder), out=out, size="ar-told")
    with pytest.raises(BadInput, match="Did you mean 'ar-small'"):
        verbs.convert(str(folder), out=out, size="ar-smal")
    with pytest.raises(BadInput, match="no autoregressive worlds"):
        verbs.convert(str(folder), out=out, layout="diffusers")
    with pytest.raises(BadInput, match="64000 tokens; tokenizer"):
        verbs.convert(str(folder), out=out, tokenizer="video-d4x8x8-tabletop")
    with pytest.raises(BadInput, match="--legacy"):
        verbs.convert(str(folder), out=out, legacy=True)
    held = to_published(SIZES["ar-small"].network, weights("ar-small"))
    torch.save({k: v for k, v in held.items() if "layers.1.attention.wq" not in k}, tmp_path / "cut.pt")
    with pytest.raises(BadInput, match=r"no released size.*ar-small: .*1 missing"):
        verbs.convert(str(tmp_path / "cut.pt"), out=out)
    shards = nvidia(tmp_path / "shards", "ar-small", 2)
    (shards / "model_model_mp_0.pt").unlink()
    with pytest.raises(BadInput, match="number 0 is missing"):
        verbs.convert(str(shards), out=out)
    assert not out.exists()
