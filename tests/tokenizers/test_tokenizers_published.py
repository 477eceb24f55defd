"""Published weights: every form gives the same tokenizer, which member it is shows in the tensors, layouts round-trip bit for bit."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from armillary import store, tokenizers
from armillary.errors import BadInput
from armillary.tokenizers import Tokenizer, from_published, to_published
from armillary.tokenizers.published import Published, read_published
from armillary.tokenizers.published_keys import CONSTANT, diffusers_keys, from_diffusers, to_diffusers
from armillary.tokenizers.published_member import PUBLISHED, candidates, find_member, member_name, named_in
from armillary.tokenizers.published_write import read_any, write
from armillary.types import LatentStatistics


def narrow(name):
    config = PUBLISHED[name]
    return dataclasses.replace(config, width=4 if config.video else 32, blocks=1)


def fresh(config):
    """NVIDIA's layout of a tokenizer in which no weight has its default value."""
    torch.manual_seed(0)
    own = {k: v + 0.1 * torch.randn_like(v) for k, v in Tokenizer(config).state_dict().items()}
    return to_published(own, config)


def with_unused(tensors, config):
    """As the older repository writes them: every level but one has all three resamplers, whether they are run or not."""
    out = {k: v for k, v in tensors.items() if not CONSTANT.search(k)}
    for part, side, num in (
        ("encoder.down", "down", len(config.mult)),
        ("decoder.up", "up", len(config.decoder_mult or config.mult)),
    ):
        for i in range(num - 1) if side == "down" else range(1, num):
            width = tensors[f"{part}.{i}.block.0.norm2.norm.weight"].shape[0]
            kernels = ((1, 3, 3), (3, 1, 1)) if side == "down" else ((3, 1, 1), (1, 3, 3))
            for n, kernel in enumerate((*kernels, (1, 1, 1)), 1):
                key = f"{part}.{i}.{side}sample.conv{n}.conv3d"
                out.setdefault(f"{key}.weight", torch.randn(width, width, *kernel))
                out.setdefault(f"{key}.bias", torch.randn(width))
    return out


def scripted(tensors, path):
    """A TorchScript archive whose state dict is `tensors`."""

    class Node(nn.Module):
        def forward(self, x):
            return x

    root = Node()
    for key, value in tensors.items():
        *parts, leaf = key.split(".")
        node = root
        for part in parts:
            if part not in node._modules:
                node.add_module(part, Node())
            node = node._modules[part]
        node.register_buffer(leaf, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(root), path)


def halves(tensors):
    encoder = {k: v for k, v in tensors.items() if k.startswith(("encoder.", "quant_conv.", "quantizer."))}
    decoder = {k: v for k, v in tensors.items() if k.startswith(("decoder.", "post_quant_conv."))}
    return encoder, decoder | {f"inv_quant.{k}": v for k, v in tensors.items() if k.startswith("quantizer.")}


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_tensors_say_which_member_they_are_of(name, tmp_path):
    config = narrow(name)
    theirs = fresh(config)
    assert candidates(theirs) == [config], "nothing but the tensors was looked at"
    own = from_published(theirs, config)
    assert same(to_published(own, config), theirs), "both ways, bit for bit"
    others = [PUBLISHED[n] for n in PUBLISHED if n != name]
    for other in others:
        other = dataclasses.replace(other, width=config.width, blocks=1)
        with pytest.raises(BadInput, match=re.escape(member_name(config)) + ".*" + re.escape(member_name(other))):
            find_member(theirs, other, tmp_path)


@pytest.mark.parametrize("name", [n for n in PUBLISHED if PUBLISHED[n].video and "360p" not in n])
def test_where_the_tensors_do_not_say_the_name_does(name, tmp_path):
    config = narrow(name)
    theirs = with_unused(fresh(config), config)
    fitting = candidates(theirs)
    assert config in fitting
    kind = re.sub(r"^([cd]v)", lambda m: m[1].upper(), name)
    assert find_member(theirs, None, tmp_path / f"Cosmos-Tokenizer-{kind}" / "model.pt") == config
    assert find_member(theirs, config, tmp_path / "model.pt") == config
    if len([c for c in fitting if not c.legacy]) > 1:
        with pytest.raises(BadInput, match="alike"):
            find_member(theirs, None, tmp_path / "model.pt")
    if config.temporal > config.patch:
        early = find_member(theirs, None, tmp_path / f"CausalVideo-{kind}" / "model.pt", legacy=True)
        assert early == dataclasses.replace(config, legacy=True)


def test_a_level_that_doubles_time_early_shows_in_the_newer_layout():
    config = dataclasses.replace(narrow("cv8x8x8"), legacy=True)
    assert candidates(fresh(config)) == [config]


def test_weights_from_before_september_2024_are_said_to_be(tmp_path):
    """Where the older layout leaves both orders open the user says which; where the switch switches nothing it is no error."""
    for name, early in (("cv8x8x8", True), ("cv4x8x8", False)):
        config = narrow(name)
        torch.save(with_unused(fresh(config), config), tmp_path / "model.pt")
        made = tokenizers.published.read_published(tmp_path, config, legacy=True)
        assert made.config == dataclasses.replace(config, legacy=early)


def test_names_of_published_folders_are_read(tmp_path):
    for name, wanted in (
        ("Cosmos-Tokenizer-CV8x8x8", (False, True, 8, 8)),
        ("Cosmos-Tokenize1-DV8x16x16-720p", (True, True, 8, 16)),
        ("models--nvidia--Cosmos-0.1-Tokenizer-CI16x16/snapshots/abc", (False, False, 1, 16)),
        ("something-else-17x256x256", None),
    ):
        assert named_in(tmp_path / name / "encoder.jit") == wanted


@pytest.mark.parametrize("name", ["dv8x16x16", "ci8x8"])
def test_every_form_is_the_same_tokenizer(name, tmp_path):
    config = narrow(name)
    theirs = fresh(config)
    if config.video:
        theirs = with_unused(theirs, config) | {k: v for k, v in theirs.items() if k.startswith("quantizer.")}
    wanted = from_published(theirs, config)
    forms = {}
    for form in ("plain", "nested", "pair", "whole", "safe"):
        forms[form] = tmp_path / form / f"Cosmos-Tokenizer-{name.upper().replace('X', 'x')}"
        forms[form].mkdir(parents=True)
    torch.save(theirs, forms["plain"] / "model.pt")
    wrapped = {f"network.{k}": v for k, v in theirs.items()}
    torch.save({"model": wrapped, "optimizer": {"state": [torch.zeros(3)]}, "step": 7}, forms["nested"] / "model.pt")
    encoder, decoder = halves(theirs)
    scripted(encoder, forms["pair"] / "encoder.jit")
    scripted(decoder, forms["pair"] / "decoder.jit")
    scripted(theirs, forms["whole"] / "autoencoder.jit")
    save_file(theirs, forms["safe"] / "model.safetensors")
    for form, folder in forms.items():
        for path in (folder, *folder.iterdir()):
            held = read_published(path)
            assert held.config == config and same(held.tensors, wanted), (form, path)
            assert [f for f, _ in held.files] == sorted((p.name for p in folder.iterdir()), reverse=True), "in this order"
    assert set(held.unused) == theirs.keys() - fresh(config).keys()
    video = torch.rand(1, 3, 1 + config.temporal, 32, 32) * 2 - 1
    made = tokenizers.load(forms["pair"])
    assert made.sha256 == read_published(forms["pair"]).sha256 and made.name == str(forms["pair"])
    assert torch.equal(made.reconstruct(video), tokenizers.adopt(forms["plain"]).reconstruct(video))


def test_halves_belong_together(tmp_path):
    one, two = (fresh(narrow(n)) for n in ("cv8x8x8", "cv8x16x16"))
    scripted(halves(one)[0], tmp_path / "encoder.jit")
    for path in (tmp_path, tmp_path / "encoder.jit"):
        with pytest.raises(BadInput, match="half"):
            tokenizers.load(path)
    scripted(halves(two)[1], tmp_path / "decoder.jit")
    with pytest.raises(BadInput, match=r"encoder of cv8x8x8.*decoder of cv8x16x16"):
        read_published(tmp_path)
    torch.save(halves(one)[1], tmp_path / "model.pt")
    with pytest.raises(BadInput, match="only the decoder"):
        read_published(tmp_path / "model.pt")


def test_what_is_no_published_tokenizer_is_a_sentence(tmp_path):
    torch.save({"model": {"a": 1}}, tmp_path / "model.pt")
    with pytest.raises(BadInput, match="no plain state dict"):
        read_published(tmp_path / "model.pt")
    theirs = fresh(narrow("cv8x8x8"))
    torch.save(theirs, tmp_path / "model.pt")
    with pytest.raises(BadInput, match=r"weights of cv8x8x8 .*said to be of cv8x16x16\."):
        read_published(tmp_path, "cv8x16x16")
    with pytest.raises(BadInput, match="Did you mean 'cv8x8x8'"):
        read_published(tmp_path, "cv8x8x9")
    for lost, words in (("encoder.conv_out.1.conv3d.bias", "incomplete"), ("decoder.mid.block_1.norm1.norm.bias", "1 missing")):
        torch.save({k: v for k, v in theirs.items() if k != lost}, tmp_path / "model.pt")
        with pytest.raises(BadInput, match=words):
            read_published(tmp_path)
    data = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="cut short"):
        tokenizers.load(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        read_published(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"Looked for: model\.pt"):
        read_published(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("cv4x8x8", torch.float32), ("cv8x8x8", torch.bfloat16), ("cv8x16x16", torch.float32), ("cv4x8x8-360p", torch.bfloat16)],
    ids=str,
)
def test_layouts_round_trip_bit_for_bit(name, dtype, tmp_path):
    config = narrow(name)
    theirs = {k: v.to(dtype) if v.is_floating_point() and not CONSTANT.search(k) else v for k, v in fresh(config).items()}
    torch.save(theirs, tmp_path / "model.pt")
    channels = torch.Generator().manual_seed(1)
    mean, std = torch.randn(16, 4, generator=channels), torch.rand(16, 4, generator=channels) + 0.1
    torch.save((mean, std), tmp_path / "mean_std.pt")
    torch.save(torch.stack((mean[:, 0], std[:, 0])), tmp_path / "image_mean_std.pt")
    ours = write(read_any(tmp_path), tmp_path / "ours", "armillary")
    diffusers = write(read_any(ours), tmp_path / "pipeline" / "vae", "diffusers")
    again = write(read_any(diffusers.parent), tmp_path / "again", "armillary")
    back = write(read_any(again), tmp_path / "back", "model-pt")
    assert same(torch.load(back / "model.pt", weights_only=True), theirs)
    assert torch.equal(torch.stack(torch.load(back / "mean_std.pt", weights_only=True)), torch.stack((mean, std)))
    assert (ours / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    kept = load_file(diffusers / "diffusion_pytorch_model.safetensors")
    assert same(to_diffusers(from_diffusers(kept, config), config), kept)
    straight = write(read_any(ours), tmp_path / "straight", "model-pt")
    assert (straight / "image_mean_std.pt").is_file() and not (back / "image_mean_std.pt").is_file(), (
        "diffusers has no place for it"
    )
    record = store.read_json(ours / "config.json")
    assert record["source"]["files"] == [{"file": "model.pt", "sha256": store.sha256_file(tmp_path / "model.pt")}]
    with pytest.raises(BadInput, match="nothing is overwritten"):
        write(read_any(ours), back, "model-pt")


def test_what_a_layout_has_no_place_for_is_said(tmp_path):
    for name, words in (("dv8x8x8", "is discrete"), ("ci8x8", "is of images")):
        config = narrow(name)
        held = Published(tmp_path, (("x", "0" * 64),), config, from_published(fresh(config), config))
        with pytest.raises(BadInput, match=words):
            write(held, tmp_path / "out", "diffusers")
    early = dataclasses.replace(narrow("cv8x8x8"), legacy=True)
    held = Published(tmp_path, (("x", "0" * 64),), early, from_published(fresh(early), early))
    with pytest.raises(BadInput, match="legacy"):
        write(held, tmp_path / "out", "diffusers")
    tokenizers.save(tokenizers.build("frame-c8"), tmp_path / "small")
    for layout in ("diffusers", "model-pt"):
        with pytest.raises(BadInput, match="a shortcut"):
            write(read_any(tmp_path / "small"), tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_a_diffusers_folder_is_held_to_its_config(tmp_path):
    config = narrow("cv8x8x8")
    held = Published(tmp_path, (("x", "0" * 64),), config, from_published(fresh(config), config))
    folder = write(held, tmp_path / "vae", "diffusers")
    record = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"_class_name": "AutoencoderKLWan"}, "describes AutoencoderKLWan"),
        ({"spatial_compression_ratio": 16}, "."),
        ({"encoder_block_out_channels": [4, 8, 16, 17]}, "whole multiples"),
        ({"encoder_block_out_channels": [8, 16, 32, 32]}, "."),
        ({"num_layers": "two"}, "whole positive"),
        ({"latents_mean": ["x"], "latents_std": [1.0]}, "lists of numbers"),
        ({"latents_mean": [0.0] * 15, "latents_std": [1.0] * 15}, "not those of 16 channels"),
        ({"latents_mean": [0.0] * 16, "latents_std": [0.0] * 16}, "not positive"),
    ):
        (folder / "config.json").write_text(json.dumps(record | change))
        with pytest.raises(BadInput, match=words):
            read_published(folder)
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match="said to be cv8x16x16"):
        read_published(folder, "cv8x16x16")
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert set(weights) == set(diffusers_keys(config).values())
    keys = sorted(weights)
    for i, part in enumerate((keys[:50], keys[50:])):
        save_file({k: weights[k] for k in part}, folder / f"diffusion_pytorch_model-0000{i}-of-00002.safetensors")
    where = {k: f"diffusion_pytorch_model-0000{int(i >= 50)}-of-00002.safetensors" for i, k in enumerate(keys)}
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    sharded = read_published(tmp_path)
    assert same(sharded.tensors, held.tensors) and len(sharded.files) == 2


def test_statistics_travel_with_the_tokenizer(tmp_path):
    config = narrow("cv8x8x8")
    torch.save(fresh(config), tmp_path / "model.pt")
    mean, std = torch.randn(16, 3), torch.rand(16, 3) + 0.5
    torch.save([mean.flatten(), std.flatten()], tmp_path / "mean_std.pt")
    torch.save((mean[:, 0], std[:, 0]), tmp_path / "image_mean_std.pt")
    write(read_any(tmp_path), tmp_path / "ours", "armillary")
    latents = torch.randn(2, 16, 2, 4, 4)
    for tokenizer in (tokenizers.load(tmp_path), tokenizers.load(tmp_path / "ours")):
        held, image = tokenizers.statistics(tokenizer), tokenizers.statistics(tokenizer, "image")
        assert torch.equal(held.mean, mean) and torch.equal(held.std, std) and image.mean.shape == (16, 1)
        normal = held.normalise(latents)
        assert torch.equal(normal[:, 5, 1], (latents[:, 5, 1] - mean[5, 1]) / std[5, 1])
        torch.testing.assert_close(held.denormalise(normal), latents)
        assert image.normalise(latents).shape == latents.shape
        with pytest.raises(ValueError, match="of 3 latent frames"):
            held.normalise(torch.randn(1, 16, 4, 2, 2))
    tokenizers.save(tokenizers.build("frame-c8"), tmp_path / "bare")
    with pytest.raises(BadInput, match="without statistics of video"):
        tokenizers.statistics(tokenizers.load(tmp_path / "bare"))
    for wrong in (torch.ones(3), (torch.ones(4, 16), torch.ones(4, 16)), (mean, -std), (mean, std * float("nan")), {"a": mean}):
        torch.save(wrong, tmp_path / "mean_std.pt")
        with pytest.raises(BadInput, match="mean_std"):
            read_published(tmp_path)


def test_statistics_are_a_noun():
    held = LatentStatistics(torch.zeros(16, 1), torch.full((16, 1), 2.0))
    assert torch.equal(held.normalise(torch.ones(1, 16, 9, 1, 1)), torch.full((1, 16, 9, 1, 1), 0.5))


GOLDEN = sorted(
    f"tok_{n}" for n in ("dv4x8x8_360p_z256_patch2", "cv4x8x8_360p_patch2", "di8x8_360p_patch2", "ci16x16_360p_patch2")
)


@pytest.mark.parametrize("name", GOLDEN)
def test_recorded_weights_of_the_newer_code_round_trip(name, shared_data):
    """Not only the weights: constants too are written as that code keeps them (its codebook was left out of the recording)."""
    file = shared_data / "golden" / f"{name}.safetensors"
    if not file.is_file():
        pytest.skip("this recording is not in the sample data")
    theirs = {k.removeprefix("weights/"): v for k, v in load_file(file).items() if k.startswith("weights/")}
    config = find_member(theirs, None, file)
    back = to_published(from_published(theirs, config), config)
    back.pop("quantizer.implicit_codebook", None)
    assert same(back, theirs)
