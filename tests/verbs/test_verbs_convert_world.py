"""`armillary convert` of diffusion worlds: from every published layout to a folder that `worlds.load` reads, and back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from armillary import store, tokenizers, verbs, worlds
from armillary.cli.main import run
from armillary.errors import BadInput
from armillary.store import read_tensors, sha256_file
from armillary.tokenizers.published import Published
from armillary.tokenizers.published_member import PUBLISHED as TOKENIZERS
from armillary.tokenizers.published_write import write as write_tokenizer
from armillary.types import Conditioning, LatentStatistics
from armillary.worlds import TokenizerRef
from armillary.worlds.autoregressive.refine import REFINERS, build_refiner, load_refiner, save_refiner
from armillary.worlds.diffusion import published_member
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.published import PublishedWorld, empty_network, read_world
from armillary.worlds.diffusion.published_keys import key_map, to_published
from armillary.worlds.diffusion.published_member import MEMBERS, Shape, objective_of
from armillary.worlds.diffusion.published_write import write, write_shards
from armillary.worlds.diffusion.unet import UNetConfig

TINY = DiTConfig(48, 2, 2, lora=8, ratios=(2.0, 1.0, 1.0), limit=(16, 8, 8))
LATER = dataclasses.replace(TINY, absolute=False, base_fps=0.0, ratios=(1.0, 3.0, 3.0), limit=DiTConfig.limit)
SHAPES = {
    "tiny-text2world": Shape(dataclasses.replace(TINY, given=False), 16, 24),
    "tiny-video2world": Shape(TINY, 16, 24),
    "tiny-action": Shape(TINY, 16, 24, 7),
    "tiny-later": Shape(LATER, 16, 24),
    "tiny-later-action": Shape(dataclasses.replace(LATER, action_level=True), 16, 24, 14),
    "tiny-2.5": Shape(dataclasses.replace(LATER, project=24), 16, 40),
}


@pytest.fixture(autouse=True)
def _members(monkeypatch):
    for name, shape in SHAPES.items():
        monkeypatch.setitem(published_member.MEMBERS, name, shape)


def weights(shape, dtype=torch.bfloat16):
    g = torch.Generator().manual_seed(1)
    return {k: (0.2 * torch.randn(v.shape, generator=g)).to(dtype) for k, v in empty_network(shape).state_dict().items()}


def nvidia(folder, name, dtype=torch.bfloat16):
    """A released model.pt: nested, with what its code makes anew, what trains alone, and what belongs to no tensor."""
    shape = SHAPES[name]
    layout = "predict1" if shape.network.absolute else "predict2"
    held = to_published(weights(shape, dtype), key_map(shape.network, layout, actions=bool(shape.action_dim)))
    held["pos_embedder.seq"] = torch.arange(128.0)
    if layout == "predict1":
        held |= {
            "logvar.0.freqs": torch.randn(128),
            "logvar.0.phases": torch.randn(128),
            "logvar.1.weight": torch.randn(1, 128),
        }
        if shape.action_dim:
            sizes = {"fc1.weight": (192, 7), "fc1.bias": (192,), "fc2.weight": (48, 192), "fc2.bias": (48,)}
            held |= {f"action_embedder_B_D.{k}": torch.randn(v).to(dtype) for k, v in sizes.items()}
    else:
        held |= {"accum_iteration": torch.tensor(3), "pos_embedder.dim_spatial_range": torch.zeros(4)}
    folder.mkdir(parents=True)
    torch.save({"model": {f"net.{k}": v for k, v in held.items()}, "step": 7}, folder / "model.pt")
    return folder, {k: v for k, v in held.items() if not k.startswith(("pos_embedder", "accum"))}


@pytest.mark.parametrize("name", SHAPES)
def test_nvidias_there_and_back(name, tmp_path, capsys):
    folder, held = nvidia(tmp_path / "released", name)
    if SHAPES[name].action_dim:  # published weights do not say what the numbers are
        with pytest.raises(BadInput, match="spec"):
            verbs.convert(str(folder), out=tmp_path / "ours")
        start = folder
    else:
        assert run(["convert", str(folder), "--out", str(tmp_path / "ours"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["world"] == name and said["precision"].startswith("bfloat16")
        assert said["source"] == [{"file": "model.pt", "sha256": sha256_file(folder / "model.pt")}]
        start = tmp_path / "ours"
    verbs.convert(str(start), out=tmp_path / "back", layout="model-pt")
    back = read_tensors(tmp_path / "back" / "model.pt")
    assert back.keys() == held.keys()
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in held.items())


def test_a_converted_world_dreams_what_the_published_network_says(tmp_path):
    folder, _ = nvidia(tmp_path / "released", "tiny-video2world")
    verbs.convert(str(folder), out=tmp_path / "ours")
    world = worlds.load(tmp_path / "ours")
    assert isinstance(world, ClipWorld)
    assert (world.config.clip, world.config.past, world.setting.text, world.setting.fps) == (16, 2, "t5", 24.0)
    assert {p.dtype for p in world.parameters()} == {torch.float32}, "computed in single precision"
    other = read_world(folder).network().float()
    x, text = torch.randn(1, 16, 3, 4, 4), torch.randn(1, 5, 24)
    with torch.no_grad():
        assert torch.equal(world.network(x, torch.zeros(1), text), other(x, torch.zeros(1), text))
    assert next(worlds.load(tmp_path / "ours", dtype=None).blocks.parameters()).dtype == torch.bfloat16
    with pytest.raises(BadInput, match="names no weights of its tokenizer"):
        from armillary.rollout.dreamer import Dreamer

        Dreamer(world)


def test_a_pipeline_brings_its_tokenizer_and_noise_levels(tmp_path):
    """Latents are normalised for each latent frame, anew at the start of every clip."""
    shape = SHAPES["tiny-video2world"]
    held = PublishedWorld(tmp_path, (("x", "0" * 64),), shape, objective_of(shape.network, None), weights(shape), "armillary")
    write(held, tmp_path / "pipe" / "transformer", "diffusers")
    config = dataclasses.replace(TOKENIZERS["cv8x8x8"], width=4, blocks=1)
    mean, std = torch.randn(16, 4), 1 + torch.rand(16, 4)
    made = Published(tmp_path, (("x", "0" * 64),), config, tokenizers.Tokenizer(config).state_dict(), (), {})
    made = dataclasses.replace(made, statistics={"video": LatentStatistics(mean, std)})
    write_tokenizer(made, tmp_path / "pipe" / "vae", "diffusers")
    scheduler = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.01, "sigma_max": 40.0, "sigma_data": 0.5}
    (tmp_path / "pipe" / "scheduler").mkdir()
    store.write_json(tmp_path / "pipe" / "scheduler" / "scheduler_config.json", scheduler)
    said = verbs.convert(str(tmp_path / "pipe"), out=tmp_path / "ours", size="tiny-video2world")
    assert said["tokenizer"] == str(tmp_path / "pipe" / "vae")
    world = worlds.load(tmp_path / "ours")
    assert isinstance(world, ClipWorld)
    assert (world.config.objective.sigma_min, world.config.objective.sigma_max) == (0.01, 40.0)
    assert torch.equal(world.latent_mean, mean) and world.config.clip == 4
    given, say = torch.randn(1, 16, 6, 4, 4), Conditioning(context=torch.randn(1, 5, 24))
    out = world.extend(given, 3, say, generator=torch.Generator().manual_seed(0), steps=2)
    assert out.shape == (1, 16, 3, 4, 4) and torch.isfinite(out).all()
    assert torch.allclose(world.denormalise(world.normalise(given[:, :, :4])), given[:, :, :4], atol=1e-5)
    store.write_json(tmp_path / "pipe" / "scheduler" / "scheduler_config.json", scheduler | {"rho": 5.0})
    with pytest.raises(BadInput, match=r"rho 5\.0"):
        read_world(tmp_path / "pipe")


def test_shards_are_read_as_one(tmp_path):
    shape = SHAPES["tiny-2.5"]
    held = PublishedWorld(tmp_path, (("x", "0" * 64),), shape, objective_of(shape.network, None), weights(shape), "armillary")
    write(held, tmp_path / "whole", "diffusers")
    (tmp_path / "parts").mkdir()
    write_shards(tmp_path / "parts", read_tensors(tmp_path / "whole" / "diffusion_pytorch_model.safetensors"), 40_000)
    (tmp_path / "parts" / "config.json").write_bytes((tmp_path / "whole" / "config.json").read_bytes())
    again = read_world(tmp_path / "parts")
    assert len(again.files) > 2 and all(torch.equal(again.tensors[k], v) for k, v in held.tensors.items())


def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path, capsys):
    folder, held = nvidia(tmp_path / "released", "tiny-video2world")
    out = tmp_path / "out"
    assert run(["convert", str(folder), "--out", str(out), "--size", "predict1-14b-text2world"]) == 2
    said = capsys.readouterr().err
    assert "tiny-video2world" in said and "predict1-14b-text2world" in said and not out.exists()
    for name, broken in {
        "view": held | {"view_embeddings.weight": torch.zeros(6, 6)},
        "augmented": held | {"augment_sigma_embedder.1.linear_1.weight": torch.zeros(2, 2)},
        "missing": {k: v for k, v in held.items() if k != "affline_norm.weight"},
        "unknown": held | {"blocks.block0.blocks.0.block.attn.to_z.0.weight": torch.zeros(1)},
        "shape": held | {"blocks.block1.blocks.2.block.layer2.weight": torch.zeros(2, 2)},
    }.items():
        torch.save(broken, tmp_path / f"{name}.pt")
    for name, words in {
        "view": "of no network this version has",  # its first layer has no channels for them
        "augmented": "the noise level of given frames",
        "missing": "affline_norm.weight is missing|1 missing",
        "unknown": "to_z",
        "shape": r"1 tensors of another shape; blocks\.1\.mlp\.down\.weight",
    }.items():
        with pytest.raises(BadInput, match=words):
            read_world(tmp_path / f"{name}.pt")
    with pytest.raises(BadInput, match="No published world named"):
        read_world(folder, "predict1-7b-text2wolrd")
    other = Shape(dataclasses.replace(TINY, layers=3), 16, 24)
    torch.save(to_published(weights(other), key_map(other.network, "predict1")), tmp_path / "three.pt")
    with pytest.raises(BadInput, match=r"no published size: 3 blocks of width 48.*predict1-7b-text2world"):
        read_world(tmp_path / "three.pt")
    assert len(MEMBERS) > len(SHAPES)


def test_a_world_in_half_of_its_bytes(tiny, tmp_path):
    source = tiny["diffusion"]
    verbs.convert(str(source), out=tmp_path / "half", precision="float16")
    whole, half = worlds.load(source).state_dict(), worlds.load(tmp_path / "half").state_dict()
    assert whole.keys() == half.keys()
    for key, value in whole.items():
        assert half[key].dtype == value.dtype
        torch.testing.assert_close(
            half[key], value.to(torch.float16).to(value.dtype) if value.ndim > 1 else value, rtol=0, atol=0
        )
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (source, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    record = json.loads((tmp_path / "half" / "config.json").read_text())
    assert record["rounded"] == {"to": "float16", "from": sha256_file(source / "model.safetensors")}
    with pytest.raises(BadInput, match="keeps every bit"):
        verbs.convert(str(source), out=tmp_path / "other", layout="model-pt", precision="float16")
    with pytest.raises(BadInput, match="nothing is overwritten"):
        verbs.convert(str(source), out=tmp_path / "half", precision="bfloat16")


def test_a_tokenizer_and_a_diffusion_decoder_in_half_of_their_bytes(tiny, tmp_path):
    torch.manual_seed(0)
    size = (32, 32)
    refs = TokenizerRef("letters", "a" * 64, 4, 8, 2, 6, size), TokenizerRef("alone", "b" * 64, 1, 4, 3, 0, size)
    network = UNetConfig(fine=32, coarse=32, fine_blocks=1, coarse_blocks=1, heads=2, dim=32)
    nano = REFINERS["stream-nano"]
    refiner = build_refiner(dataclasses.replace(nano, world=dataclasses.replace(nano.world, network=network)), *refs)
    save_refiner(refiner, tmp_path / "refiner", extra={"recipe": "r"})
    for source, load in ((tmp_path / "refiner", load_refiner), (tiny["frame"], tokenizers.load)):
        out = tmp_path / f"half-{source.name}"
        said = verbs.convert(str(source), out=out, precision="float16")
        assert said["precision"] == "float16" and said["out"] == str(out)
        whole, half = load(source).state_dict(), load(out).state_dict()
        for key, value in whole.items():
            wanted = value.to(torch.float16).to(value.dtype) if value.ndim > 1 else value
            torch.testing.assert_close(half[key], wanted, rtol=0, atol=0)
        records = [json.loads((folder / "config.json").read_text()) for folder in (source, out)]
        assert records[1]["rounded"] == {"to": "float16", "from": records[0]["sha256"]}
        assert all(records[1][k] == v for k, v in records[0].items() if k != "sha256")
