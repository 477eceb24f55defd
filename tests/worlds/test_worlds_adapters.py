"""Adapters on every kind of network; a run of them is resumed, small, loaded by itself, and merged."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from armillary import tokenizers, verbs, worlds
from armillary.data import LatentsConfig, SyntheticConfig
from armillary.errors import BadInput
from armillary.nn import lora
from armillary.rollout.generate import generate
from armillary.train import OptimConfig, RunConfig, TokenizerRun, WorldRun, train
from armillary.train.config import as_json, differences
from armillary.types import Conditioning

SOURCE = SyntheticConfig(episodes=6, length=12, frames=9, size=(16, 16), held_out=0.3)
SIZES = {
    "unet-nano": ("network.fine=16", "network.coarse=32", "network.dim=32", "network.fine_blocks=1", "network.coarse_blocks=1"),
    "dit-nano": ("network.dim=36", "network.layers=2", "network.heads=2", "network.lora=8", "clip=4"),
    "ar-nano": (
        "network.head_dim=16",
        "network.heads=2",
        "network.kv_heads=1",
        "network.dim=32",
        "network.layers=2",
        "frames=3",
    ),
}


def weights(result):
    assert result.model is not None
    return result.model


def run(name, model, data, steps=3, **more):
    optim = OptimConfig(lr=5e-3, warmup=1)
    return RunConfig(
        name, model, data, optim, steps=steps, batch=2, ema=0.5, log_every=1, save_every=1, threads=1, ahead=0, **more
    )


@pytest.fixture(scope="module", params=SIZES)
def made(request, tmp_path_factory):
    """(size, folder, world's run, data) of one that was trained for a moment."""
    root = tmp_path_factory.mktemp(request.param)
    size = "video-d4x8x8" if request.param.startswith("ar") else "frame-c8"
    pixels = SOURCE if size.startswith("video") else dataclasses.replace(SOURCE, frames=3)
    tokenizer = train(run("t", TokenizerRun(size, overrides=("width=16",)), pixels, 1), root / "tok", progress=False)
    source = SOURCE if size.startswith("video") else dataclasses.replace(SOURCE, frames=4)
    data = LatentsConfig(source, str(weights(tokenizer)), cache=str(root / "cache"))
    world = train(run("w", WorldRun(request.param, overrides=SIZES[request.param]), data, 2), root / "world", progress=False)
    return request.param, root, world, data


def dreamt(world):
    ref = world.tokenizer
    given = torch.zeros(1, 1, 2, 2, dtype=torch.long) if ref.vocab else torch.zeros(1, 16, 1, 2, 2)
    actions = torch.zeros(1, 2 * ref.temporal, world.action_spec.dim) if world.action_spec else None
    return world.extend(given, 2, Conditioning(actions=actions), generator=torch.Generator().manual_seed(0))


def test_an_adapter_is_trained_kept_and_put_on(made, tmp_path, monkeypatch):
    size, root, world, data = made
    start = worlds.load(weights(world))
    config = run("a", WorldRun("", start=str(weights(world)), lora=2), data)
    result = train(config, root / "adapter", progress=False)
    whole = sum(f.stat().st_size for f in next((root / "world" / "checkpoints").glob("step-*")).glob("*.safetensors"))
    mine = sum(f.stat().st_size for f in next((root / "adapter" / "checkpoints").glob("step-*")).glob("*.safetensors"))
    assert mine < whole / 2, "a checkpoint of a run on adapters holds them and not the world"

    # By itself, and by name on its base: the same world, and another one than the base.
    alone, named = worlds.load(weights(result)), worlds.load(weights(world), adapters=[weights(result)])
    assert [a.sha256 for a in alone.adapters] == [a.sha256 for a in named.adapters] and alone.sha256 == start.sha256
    changed = [k for k, v in start.state_dict().items() if not torch.equal(v, alone.state_dict()[k])]
    assert changed and all(torch.equal(v, named.state_dict()[k]) for k, v in alone.state_dict().items())
    assert all(k.endswith("weight") and ("blocks" in k or "mixer" in k) for k in changed)

    # What is kept is the average, and beside the weights it says what it says inside them.
    adapted = worlds.Adapted(worlds.load(weights(world)), 2)
    lora.load_state(adapted.world, dict(load(weights(result))))
    assert torch.equal(dreamt(adapted), dreamt(alone))

    shutil.copytree(root, tmp_path / "elsewhere")
    assert [a.sha256 for a in worlds.load(tmp_path / "elsewhere" / "adapter" / "model").adapters] == [alone.adapters[0].sha256]

    told = verbs.convert(str(weights(result)), out=tmp_path / "elsewhere" / "merged")
    merged = worlds.load(told["out"])
    assert all(torch.equal(v, merged.state_dict()[k]) for k, v in alone.state_dict().items()) and not merged.adapters
    assert tokenizers.load(merged.tokenizer.name).sha256 == start.tokenizer.sha256
    with pytest.raises(BadInput, match=r"is an adapter of .*; this is 'merged'"):
        worlds.load(told["out"], adapters=[weights(result)])
    with pytest.raises(BadInput, match="is an adapter itself"):
        WorldRun("", start=str(weights(result)), lora=2).build(data.build())
    with pytest.raises(BadInput, match=r"without model\.start"):
        WorldRun(size, overrides=SIZES[size], lora=2).build(data.build())

    # Stopped and gone on: the same adapter.
    from armillary.train import loop

    plain = loop._Run.one_step

    def breaks(self, meters):
        if self.step == 2:
            raise KeyboardInterrupt
        plain(self, meters)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Run, "one_step", breaks)
        train(config, root / "again", progress=False)
    again = train(config, root / "again", progress=False)
    assert worlds.load(weights(again)).adapters[0].sha256 == alone.adapters[0].sha256


def load(folder):
    from armillary.store import load_folder

    return load_folder(folder, "adapter").tensors


def test_a_dream_says_which_adapter_it_wore(made):
    _, root, world, data = made
    result = train(run("a", WorldRun("", start=str(weights(world)), lora=2), data), root / "adapter", progress=False)
    first = generate(worlds.load(weights(result)), "a red square", num_frames=5, gate=_open())
    assert first.sidecar["world"]["adapters"][0]["sha256"] == worlds.load(weights(result)).adapters[0].sha256
    bare = generate(worlds.load(weights(world)), "a red square", num_frames=5, gate=_open())
    assert "adapters" not in bare.sidecar["world"]


def _open():
    from armillary import guard

    return guard.Open()


def test_runs_begun_before_there_were_adapters_go_on(made):
    _, _, _, data = made
    config = as_json(run("w", WorldRun("unet-nano"), data))
    older = {**config, "model": {k: v for k, v in config["model"].items() if not k.startswith("lora")}}
    assert not differences(config, older)
    wanted = as_json(run("w", WorldRun("", start="x", lora=4), data))
    assert any("model.lora: 4 here, None there" in d for d in differences(wanted, older))
