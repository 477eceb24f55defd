"""The published stages of a diffusion world, in tiny: each goes on from the one before, and what changes between them costs no weight."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from armillary import media, tokenizers, worlds
from armillary.data import ClipsConfig, LatentsConfig, MixtureConfig
from armillary.errors import BadInput
from armillary.recipes import diffusion
from armillary.train import WorldRun, train
from armillary.types import Conditioning
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.grow import grow

STAGES = ("first", "larger", "video", "cooldown")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Captioned films of squares that drift over a slope, and an untrained tokenizer."""
    folder = tmp_path_factory.mktemp("stages")
    torch.manual_seed(0)
    config = dataclasses.replace(tokenizers.TOKENIZERS["video-c4x8x8"], width=8)
    tokenizers.save(tokenizers.build(config), folder / "tokenizer")
    (folder / "films").mkdir()
    for n in range(5):  # two of them wide, and wider than their bucket
        h, w = (64, 64) if n < 3 else (40, 96)
        frames = np.tile(np.linspace(30 + 20 * n, 200, w, dtype=np.uint8)[None, None, :, None], (21, h, 1, 3)).copy()
        for t in range(len(frames)):
            frames[t, 8 * n : 8 * n + 16, 2 * t : 2 * t + 16] = (220, 40 * n, 60)
        media.write_video(folder / "films" / f"film-{n}.mp4", frames, 10.0)
        (folder / "films" / f"film-{n}.txt").write_text(f"a red square drifts, film {n}")
    return folder


def loaded(folder) -> ClipWorld:
    world = worlds.load(folder)
    assert isinstance(world, ClipWorld)
    return world


@pytest.fixture(scope="module")
def run(places):
    """All four, three steps each: {stage: (config, folder of the weights, rows of its metrics)}."""
    out, start = {}, ""
    for which in STAGES:
        config = diffusion.tiny(
            which, str(places / "films"), tokenizer=str(places / "tokenizer"), start=start, cache=str(places / "cache")
        )
        result = train(config, places / which, progress=False)
        rows = [json.loads(line) for line in (places / which / "metrics.jsonl").read_text().splitlines()]
        start = str(result.model)
        out[which] = (config, start, rows)
    return out


def test_each_stage_goes_on_from_the_one_before(run):
    said = []
    for which in STAGES:
        config, folder, rows = run[which]
        world = loaded(folder)
        assert config.steps == 3 and world.setting.text == "hash"
        losses = [r["loss"] for r in rows if r["kind"] == "train"]
        assert len(losses) == 3 and np.isfinite(losses).all()
        said.append((world.config.clip, world.network.config.given, world.config.objective.by_frames, world.tokenizer.size))
    assert said == [
        (3, False, False, (32, 32)), (5, False, False, (64, 64)), (5, True, True, (64, 64)), (5, True, True, (64, 64)),
    ]  # fmt: skip


def test_images_and_videos_come_by_turns_until_video_is_given(run):
    seen = []
    for which in STAGES:
        batches = run[which][0].data.build("train")
        seen.append([tuple(batches.batch(step, 2, 0).latents.shape[i] for i in (0, 2)) for step in range(4)])
    assert seen[0] == [(2, 3), (6, 1), (2, 3), (6, 1)], "rows, latent frames: an image batch has as many tokens"
    assert seen[1] == [(2, 5), (10, 1)] * 2 and seen[2] == seen[3] == [(2, 5)] * 4


def test_batches_come_in_both_shapes_and_say_what_was_filled_in(run):
    data = run["larger"][0].data.build("train")
    batches = [data.batch(step, 2, 0) for step in range(12)]
    seen = {tuple(b.latents.shape[-2:]): float(b.padding.mean()) for b in batches}
    assert seen.keys() == {(8, 8), (6, 10)}
    assert seen[8, 8] == 0 and seen[6, 10] == pytest.approx(1 - 33 / 48, abs=0.03)


def test_the_plane_of_what_was_filled_in_reaches_the_network(run):
    world = loaded(run["larger"][1])
    torch.nn.init.normal_(world.network.final.weight)
    data = run["larger"][0].data.build("train")
    wide = next(b for b in (data.batch(step, 2, 0) for step in range(20)) if b.padding.any() and b.latents.shape[2] > 1)
    losses = [
        float(world(batch, torch.Generator().manual_seed(0))[0].detach())
        for batch in (wide, dataclasses.replace(wide, padding=torch.zeros_like(wide.padding)))
    ]
    assert losses[0] != losses[1]


def test_the_rate_falls_to_zero_in_the_last(run):
    rates = {which: [r["lr"] for r in run[which][2] if r["kind"] == "train"] for which in STAGES}
    assert rates["larger"][-1] == pytest.approx(1e-3)
    assert rates["cooldown"][0] == pytest.approx(1e-3) and rates["cooldown"] == sorted(rates["cooldown"], reverse=True)
    assert rates["cooldown"][-1] < 0.5e-3


def test_a_text_world_is_given_nothing_and_a_video_world_goes_on(run):
    context = Conditioning(context=torch.zeros(1, 2, 64))
    generator = torch.Generator().manual_seed(0)
    given = torch.zeros(1, 16, 1, 8, 8)
    with pytest.raises(BadInput, match="text to world only"):
        loaded(run["larger"][1]).extend(given, 2, context, generator=generator, steps=2)
    assert loaded(run["video"][1]).extend(given, 2, context, generator=generator, steps=2).shape[2] == 2


def test_the_new_plane_is_silent_and_every_weight_is_kept(run):
    before = loaded(run["larger"][1])
    after = grow(before, ("network.given=true", "clip=7"))
    assert isinstance(after, ClipWorld)
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys() and all(torch.equal(old[k], new[k]) for k in old if k != "network.patch.weight")
    assert after.config.clip == 7 and after.name == before.name and after.sha256 == before.sha256
    x, level = torch.randn(2, 16, 3, 4, 4), torch.randn(2)
    context, marked = torch.randn(2, 5, 64), torch.ones(2, 1, 3, 4, 4)
    torch.nn.init.normal_(before.network.final.weight)  # three steps of training leave it next to nothing; the two share it
    plain = before.network(x, level, context, padding=torch.ones(2, 1, 4, 4))
    silent = after.network(x, level, context, given=marked, padding=torch.ones(2, 1, 4, 4))
    torch.testing.assert_close(silent, plain, rtol=1e-5, atol=1e-6)
    with torch.no_grad():  # and once it has weights it is heard
        after.network.patch.weight[:, 16] = 1.0
    assert not torch.allclose(after.network(x, level, context, given=marked, padding=torch.ones(2, 1, 4, 4)), plain)


def test_what_would_cost_a_weight_is_refused(run):
    world = loaded(run["video"][1])
    for change in ("network.given=false", "network.layers=2", "objective.uncertainty=0", "columns=3"):
        with pytest.raises(BadInput, match="What may change is no weight"):
            grow(world, (change,))


def test_published_numbers():
    tokens = {}
    for which in STAGES:
        config = diffusion.stage(which, "clips")
        assert isinstance(config.data, MixtureConfig) and config.data.buckets
        for latents in reversed(config.data.sources):
            assert isinstance(latents, LatentsConfig)
            source = latents.source
            assert isinstance(source, ClipsConfig) and isinstance(config.model, WorldRun)
            assert source.size[0] % 16 == source.size[1] % 16 == 0 and media.aspect_of(*source.size[::-1]) == source.aspect
            tokens[which, source.aspect] = (1 + (source.frames - 1) // 8) * (source.size[0] // 16) * (source.size[1] // 16)
        assert (config.optim.lr, config.optim.weight_decay, config.optim.eps) == (2**-15, 0.1, 1e-10)
        assert f"clip={1 + (source.frames - 1) // 8}" in config.model.overrides
    assert tokens["first", "4x3"] == 10_240 and all(tokens[which, "16x9"] == 56_320 for which in STAGES[1:])
    assert len(tokens) == 20 and all(abs(n / (10_240 if w == "first" else 56_320) - 1) < 0.02 for (w, _), n in tokens.items())
    assert diffusion.stage("first", "clips", size="dit-14b").optim.lr == 2**-16
