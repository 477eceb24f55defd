"""Heads, refiners and the stages of an autoregressive world through the real training loop, in tiny."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from armillary import tokenizers, worlds
from armillary.data import LatentsConfig, SyntheticConfig
from armillary.errors import BadInput
from armillary.evaluate.reconstruct import reconstructor
from armillary.recipes import autoregressive as recipes
from armillary.rollout.dreamer import Dreamer
from armillary.train import OptimConfig, RunConfig, WorldRun, train
from armillary.train.derived import HeadsRun, RefinerRun
from armillary.worlds.autoregressive.heads import HeadsConfig, load_heads
from armillary.worlds.autoregressive.refine import load_refiner
from armillary.worlds.autoregressive.world import AutoregressiveWorld

SMALL = ("network.dim=48", "network.layers=2", "network.heads=4", "network.hidden=64")
WINDOW = SyntheticConfig(episodes=6, length=40, frames=17, size=(32, 32))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A discrete and a continuous tokenizer, untrained, and a folder for the rest."""
    folder = tmp_path_factory.mktemp("derived")
    torch.manual_seed(0)
    for name in ("video-d4x8x8", "video-c4x8x8"):
        config = dataclasses.replace(tokenizers.TOKENIZERS[name], width=16)
        tokenizers.save(tokenizers.build(config), folder / name)
    return folder


def encoded(places, source=WINDOW, text=""):
    return LatentsConfig(source, tokenizer=str(places / "video-d4x8x8"), text=text, cache=str(places / "cache"))


def run(places, name, model, data, steps=6):
    config = RunConfig(
        name, model, data, OptimConfig(lr=3e-3, warmup=2), steps=steps, batch=4, ema=0.5, log_every=3, save_every=3, threads=1
    )
    train(config, places / name)
    return places / name / "model"


@pytest.fixture(scope="module")
def world(places):
    return run(places, "world", WorldRun("ar-nano", overrides=SMALL), encoded(places))


def test_heads_are_trained_for_a_world_and_used(places, world):
    model = HeadsRun(str(world), HeadsConfig(3, own=True))
    folder = run(places, "heads", model, encoded(places))
    held = worlds.load(world)
    assert isinstance(held, AutoregressiveWorld)
    heads = load_heads(folder, held)
    assert heads.head is not None and heads.mix.weight.abs().sum() > 0
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    dreams = [Dreamer(held).dream(frames, 8, actions=np.zeros((8, 2)), seed=3, **more) for more in ({}, {"heads": str(folder)})]
    assert np.array_equal(*dreams)
    with pytest.raises(BadInput, match="name it in"):
        HeadsRun().build(encoded(places).build())


def test_a_refiner_is_trained_on_pixels_and_draws_a_dream(places, world):
    model = RefinerRun(
        "refine-nano",
        overrides=("network.dim=32", "network.layers=2", "network.heads=2", "network.lora=8", "clip=3", "overlap=1"),
        tokens=str(places / "video-d4x8x8"),
        latents=str(places / "video-c4x8x8"),
    )
    folder = run(places, "refiner", model, dataclasses.replace(WINDOW, frames=9))
    refiner = load_refiner(folder)
    assert refiner.latent_std.min() > 0 and not torch.allclose(refiner.latent_std, torch.ones(16))
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    dreamer, plain = Dreamer(world, refiner=str(folder)), Dreamer(world)
    drawn, again, bare = (d.dream(frames, 8, actions=np.zeros((8, 2)), seed=3) for d in (dreamer, dreamer, plain))
    assert drawn.shape == bare.shape == (8, 32, 32, 3)
    assert np.array_equal(drawn, again) and not np.array_equal(drawn, bare)
    on = dataclasses.replace(model, size="", overrides=(), start=str(folder))
    assert torch.equal(on.build(dataclasses.replace(WINDOW, frames=9).build()).refiner.latent_std, refiner.latent_std)
    with pytest.raises(BadInput, match="up to 9 frames"):
        on.build(WINDOW.build())
    other = dataclasses.replace(refiner.tokens, sha256="f" * 64)
    refiner.tokens = other
    with pytest.raises(BadInput, match="reads tokens of"):
        Dreamer(world, refiner=refiner)


def test_a_streaming_refiner_goes_on_from_the_frames_that_are_given(places, world):
    tokenizers.save(tokenizers.build(dataclasses.replace(tokenizers.TOKENIZERS["frame-c8"], width=16)), places / "frame-c8")
    model = RefinerRun(
        "stream-nano",
        overrides=("world.network.fine=16", "world.network.coarse=16", "world.network.dim=16", "clip=3"),
        tokens=str(places / "video-d4x8x8"),
        latents=str(places / "frame-c8"),
    )
    folder = run(places, "stream", model, dataclasses.replace(WINDOW, frames=9))
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    dreamer = Dreamer(world, refiner=str(folder))
    drawn, again = (dreamer.dream(frames, 8, actions=np.zeros((8, 2)), seed=3) for _ in range(2))
    assert drawn.shape == (8, 32, 32, 3) and np.array_equal(drawn, again)
    own = reconstructor(dreamer.finer)(frames)
    given, blind = dreamer.decode(dreamer.encode(frames), given=frames), dreamer.decode(dreamer.encode(frames))
    assert np.abs(given.astype(int) - own.astype(int)).max() <= 1, "what is given is shown as the continuous tokenizer shows it"
    assert not np.array_equal(given, blind)


def test_the_stages_of_the_published_run_go_on_from_each_other(places):
    start, said = "", []
    for which in ("first", "longer", "text", "cooldown"):
        stage = recipes.stage(
            which, "clips", size="ar-nano", tokenizer="t", fold=(4, 8), pixels=(32, 32), start=start, encoder="hash"
        )
        assert isinstance(stage.model, WorldRun) and isinstance(stage.data, LatentsConfig)
        model = stage.model if start else dataclasses.replace(stage.model, overrides=(*stage.model.overrides, *SMALL))
        data = encoded(places, dataclasses.replace(WINDOW, frames=stage.data.source.frames), stage.data.text)
        small = dataclasses.replace(
            stage, model=model, data=data, device="cpu", precision="float32", steps=3, batch=2, threads=1, ema=0.5
        )
        small = dataclasses.replace(small, optim=dataclasses.replace(stage.optim, warmup=min(1, stage.optim.warmup)))
        train(small, places / which)
        start = str(places / which / "model")
        world = worlds.load(start)
        assert isinstance(world, AutoregressiveWorld)
        said.append((world.config.frames, world.config.network.yarn is not None, world.setting.text))
    assert said == [(5, False, ""), (9, True, ""), (9, True, "hash"), (9, True, "hash")]
