"""The published diffusion transformer: same numbers from the same weights, same number of parameters."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from armillary.errors import BadInput
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.published import from_published
from armillary.worlds.diffusion.world import DIFFUSION


@pytest.mark.parametrize("name", ["dit_text2world_7b_like", "dit_text2world_14b_like", "dit_video2world_7b_like"])
@torch.no_grad()
def test_the_same_numbers(shared_data, name):
    path = shared_data / "golden" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the sample data")
    t, c = load_file(path), json.loads(path.with_suffix(".json").read_text())["config"]
    ratios = (c["rope_t_extrapolation_ratio"], c["rope_h_extrapolation_ratio"], c["rope_w_extrapolation_ratio"])
    config = DiTConfig(
        c["model_channels"], c["num_blocks"], c["num_heads"], c["adaln_lora_dim"], given=c["in_channels"] == 17, ratios=ratios
    )
    network = DiT(config, c["out_channels"], c["crossattn_emb_channels"])
    network.load_state_dict(from_published({k[8:]: v for k, v in t.items() if k.startswith("weights/")}), strict=True)
    x = {k[7:]: v for k, v in t.items() if k.startswith("inputs/")}
    outs = {}
    for fps in (24, 16):
        outs[fps] = network(
            x["x"],
            x["timesteps"],
            x["crossattn_emb"],
            given=x.get("condition_video_input_mask"),
            padding=x["padding_mask"],
            fps=torch.full((2,), float(fps)),
        )
        theirs = t[f"outputs/out_fps{fps}"]
        error = float((outs[fps] - theirs).abs().max() / theirs.abs().max())
        assert error < 1e-5, error
    assert (outs[24] - outs[16]).abs().max() > 1e-2, "the frame rate must matter"


@pytest.mark.parametrize(
    ("name", "given", "count"),
    [
        ("dit-7b", False, 7_236_192_256),
        ("dit-7b", True, 7_236_208_640),
        ("dit-14b", False, 14_267_149_312),
        ("dit-2b", True, 1_956_413_440),
    ],
)
def test_the_same_number_of_parameters(name, given, count):
    network = DIFFUSION[name].network
    assert isinstance(network, DiTConfig)
    with torch.device("meta"):
        made = DiT(dataclasses.replace(network, given=given), 16, 1024)
    assert sum(p.numel() for p in made.parameters()) == count


def test_names_of_a_published_checkpoint_are_read_strictly():
    x = torch.zeros(1)
    names = {
        "net.blocks.block27.blocks.1.block.attn.to_k.1.weight": "blocks.27.cross.norm_k.weight",
        "net.blocks.block3.blocks.2.adaLN_modulation.2.weight": "blocks.3.mlp_mod.up.weight",
        "extra_pos_embedder.pos_emb_h": "absolute.h",
    }
    assert list(from_published(dict.fromkeys(names, x))) == list(names.values())
    assert from_published({"net.logvar.0.freqs": x, "net.pos_embedder.seq": x, "net.x_embedder._extra_state": x}) == {}
    with pytest.raises(BadInput, match="to_z"):
        from_published({"blocks.block0.blocks.0.block.attn.to_z.0.weight": x})
