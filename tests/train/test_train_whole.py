"""Tokenizer, then world, on drawn squares: what is written loads, and going on from it works."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch

from armillary import tokenizers, worlds
from armillary.data import LatentsConfig, SyntheticConfig
from armillary.errors import BadInput
from armillary.train import OptimConfig, RunConfig, TokenizerRun, WorldRun, train
from armillary.train.checkpoint import newest_checkpoint
from armillary.types import Conditioning

SOURCE = SyntheticConfig(episodes=8, length=12, frames=6, size=(16, 16), held_out=0.3)
SMALL = ("width=16",)
UNET = ("network.fine=16", "network.coarse=32", "network.dim=32", "network.fine_blocks=1", "network.coarse_blocks=1", "past=2")


def run(name, model, data, steps, **more):
    return RunConfig(
        name, model, data, OptimConfig(lr=2e-3, warmup=3), steps=steps, batch=4, ema=0.9, log_every=4, save_every=10, eval_every=10,
        eval_batches=1, threads=1, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tokenizer and a world on it, both hardly trained."""
    root = tmp_path_factory.mktemp("runs")
    config = run("tok", TokenizerRun("frame-c8", overrides=SMALL), dataclasses.replace(SOURCE, frames=3), 30)
    tokenizer = train(config, root / "tok", progress=False)
    data = LatentsConfig(SOURCE, str(tokenizer.model), cache=str(root / "cache"))
    world = train(
        run("world", WorldRun("unet-nano", overrides=UNET, unroll_prob=0.5), data, 30), root / "world", progress=False
    )
    return root, tokenizer, world, data


def test_the_tokenizer_loads_and_has_learned(made):
    _, result, _, _ = made
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in rows if r["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0] and "held-out/psnr" in result.metrics
    tokenizer = tokenizers.load(result.model)
    assert tokenizer.extra["recipe"] == "tok" and tokenizer.extra["steps"] == 30 and len(tokenizer.extra["data"]) == 64
    # What is kept is the average, not the last step.
    found = newest_checkpoint(result.folder / "checkpoints")
    for name, value in found.parts["average"].items():
        assert torch.equal(dict(tokenizer.named_parameters())[name.removeprefix("tokenizer.")], value)


def test_the_world_names_its_tokenizer_and_both_move_together(made, tmp_path):
    root, tokenizer, world, _ = made
    record = json.loads((world.model / "config.json").read_text())
    assert record["setting"]["tokenizer"]["name"] == "../../tok/model"
    shutil.copytree(root, tmp_path / "elsewhere")
    loaded = worlds.load(tmp_path / "elsewhere" / "world" / "model")
    there = tokenizers.load(loaded.tokenizer.name)
    assert there.sha256 == loaded.tokenizer.sha256 == tokenizers.load(tokenizer.model).sha256
    assert str(tmp_path) in loaded.tokenizer.name
    assert loaded.action_spec == SOURCE.build().spec and loaded.setting.text == "hash" and loaded.tokenizer.size == (16, 16)
    given = there.encode(torch.zeros(1, 3, 2, 16, 16)).values
    context, mask = torch.zeros(1, 32, 64), torch.zeros(1, 32, dtype=torch.bool)
    steering = Conditioning(context=context, context_mask=mask, actions=torch.ones(1, 3, 2))
    assert loaded.extend(given, 3, steering, generator=torch.Generator().manual_seed(0)).shape == (1, 16, 3, 2, 2)


def test_a_world_resumed_is_the_same_world(made, monkeypatch):
    root, _, world, data = made
    from armillary.train import loop

    plain = loop._Run.one_step

    def breaks(self, meters):
        if self.step == 17:
            raise KeyboardInterrupt
        plain(self, meters)

    config = run("world", WorldRun("unet-nano", overrides=UNET, unroll_prob=0.5), data, 30)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Run, "one_step", breaks)
        train(config, root / "again", progress=False)
    again = train(config, root / "again", progress=False)
    assert worlds.load(again.model).sha256 == worlds.load(world.model).sha256
    without = {k: v for k, v in again.metrics.items() if k != "seconds"}
    assert without == {k: v for k, v in world.metrics.items() if k != "seconds"}


def test_post_training_goes_on_from_the_weights(made):
    root, tokenizer, world, data = made
    before = worlds.load(world.model).state_dict()
    more = run("more", WorldRun("", start=str(world.model)), data, 2)
    after = worlds.load(train(dataclasses.replace(more, ema=0.0), root / "more", progress=False).model)
    assert torch.equal(after.state_dict()["change_std"], before["change_std"])
    moved = max((after.state_dict()[k] - v).abs().max().item() for k, v in before.items() if v.is_floating_point())
    assert 0 < moved < 0.05
    start = run("tok2", TokenizerRun("", start=str(tokenizer.model)), dataclasses.replace(SOURCE, frames=3), 2)
    result = train(start, root / "tok2", progress=False)
    assert (
        0
        < (tokenizers.load(result.model).quant_conv.weight - tokenizers.load(tokenizer.model).quant_conv.weight).abs().max()
        < 0.05
    )


def test_what_does_not_belong_together_is_said(made):
    root, tokenizer, world, data = made
    with pytest.raises(BadInput, match="learns from pixels"):
        TokenizerRun("frame-c8").build(data.build())
    with pytest.raises(BadInput, match="learns from latents"):
        WorldRun("unet-nano").build(SOURCE.build())
    with pytest.raises(BadInput, match="Did you mean 'frame-c8'"):
        TokenizerRun("frame-c9").build(SOURCE.build())
    with pytest.raises(BadInput, match=r"1 \+ 4 x k frames"):
        TokenizerRun("video-d4x8x8").build(SOURCE.build())
    with pytest.raises(BadInput, match="is not of size"):
        TokenizerRun("frame-c8", start=str(tokenizer.model)).build(SOURCE.build())
    with pytest.raises(BadInput, match="keeps its size"):
        WorldRun("unet-nano", start=str(world.model)).build(data.build())
    with pytest.raises(BadInput, match="setting of"):
        WorldRun("unet-nano", overrides=("pst=3",)).build(data.build())
    silent = dataclasses.replace(data, text="")
    with pytest.raises(BadInput, match="text encoder"):
        WorldRun("", start=str(world.model)).build(silent.build())
    other = train(
        run("other", TokenizerRun("frame-c8", overrides=SMALL), dataclasses.replace(SOURCE, frames=3), 1),
        root / "other",
        progress=False,
    )
    with pytest.raises(BadInput, match="was trained on tokenizer"):
        WorldRun("", start=str(world.model)).build(dataclasses.replace(data, tokenizer=str(other.model)).build())


def test_a_causal_transformer_learns_and_goes_frame_by_frame(made, tmp_path):
    _, _, _, data = made
    small = ("network.dim=36", "network.layers=1", "network.heads=3", "network.lora=8", "network.window=3", "past=2", "clip=6")
    result = train(run("causal", WorldRun("dit-nano-causal", overrides=small), data, 10), tmp_path, progress=False)
    world = worlds.load(result.model)
    assert world.config.network.causal and "held-out/loss" in result.metrics
    latents = data.build("train").batch(0, 2, 0).latents
    told = Conditioning(actions=torch.zeros(2, 3, world.action_spec.dim))
    dreamed = world.extend(latents[:, :, :2], 3, told, generator=torch.Generator().manual_seed(0), steps=2)
    assert dreamed.shape == (2, latents.shape[1], 3, *latents.shape[3:]) and torch.isfinite(dreamed).all()


def test_an_autoregressive_world_on_video_tokens(tmp_path):
    source = dataclasses.replace(SOURCE, frames=9)
    tokenizer = train(run("vt", TokenizerRun("video-d4x8x8", overrides=SMALL), source, 2), tmp_path / "tok", progress=False)
    data = LatentsConfig(source, str(tokenizer.model), cache=str(tmp_path / "cache"))
    small = ("network.head_dim=16", "network.heads=2", "network.kv_heads=1", "network.dim=32", "network.layers=2", "frames=3")
    model = WorldRun("ar-nano", overrides=small)
    result = train(run("ar", model, data, 12), tmp_path / "world", progress=False)
    world = worlds.load(result.model)
    assert world.family == "autoregressive" and world.tokenizer.vocab == 1000 and world.tokenizer.temporal == 4
    with pytest.raises(BadInput, match="push forward"):
        dataclasses.replace(model, unroll_prob=0.5).build(data.build())


def test_a_kept_encoder_gives_the_same_latents_and_its_world_goes_on(made):
    root, tokenizer, world, data = made
    before = tokenizers.load(tokenizer.model)
    pixels = dataclasses.replace(SOURCE, frames=3)
    tuned = train(
        run("tune", TokenizerRun("", start=str(tokenizer.model), freeze="encoder"), pixels, 6), root / "tune", progress=False
    )
    after = tokenizers.load(tuned.model)
    video = pixels.build("held-out").batch(0, 2, 0).video
    assert torch.equal(before.encode(video).values, after.encode(video).values)
    assert not torch.equal(before.reconstruct(video), after.reconstruct(video))
    assert after.extra["encoder_of"] == before.sha256
    on = dataclasses.replace(data, tokenizer=str(tuned.model))
    further = train(run("further", WorldRun("", start=str(world.model)), on, 3), root / "further", progress=False)
    assert worlds.load(further.model).tokenizer.sha256 == after.sha256
    moved = train(run("moved", TokenizerRun("", start=str(tokenizer.model)), pixels, 3), root / "moved", progress=False)
    with pytest.raises(BadInput, match="was trained on tokenizer"):
        train(
            run("lost", WorldRun("", start=str(world.model)), dataclasses.replace(data, tokenizer=str(moved.model)), 3),
            root / "lost",
        )
    with pytest.raises(BadInput, match=r"without model\.start"):
        train(run("none", TokenizerRun("frame-c8", overrides=SMALL, freeze="encoder"), pixels, 3), root / "none")
