"""The published diffusion transformer: same numbers from the same weights, same number of parameters."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from armillary.conditioning import ActionCondition, Conditions
from armillary.types import ActionSpec
from armillary.worlds.diffusion.common import Ports
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.published import empty_network
from armillary.worlds.diffusion.published_keys import BESIDE, from_published, key_map
from armillary.worlds.diffusion.published_member import MEMBERS, shape_of
from armillary.worlds.diffusion.world import DIFFUSION


def recorded(shared_data, name):
    """Tensors, config, and the network that its weights say, with the ratios of the config."""
    path = shared_data / "golden" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the sample data")
    t, c = load_file(path), json.loads(path.with_suffix(".json").read_text())["config"]
    weights = {k[8:]: v for k, v in t.items() if k.startswith("weights/")}
    shape = shape_of(weights, "predict1", name)
    ratios = (c["rope_t_extrapolation_ratio"], c["rope_h_extrapolation_ratio"], c["rope_w_extrapolation_ratio"])
    config = dataclasses.replace(shape.network, ratios=ratios)
    assert (config.dim, config.layers, config.heads) == (c["model_channels"], c["num_blocks"], c["num_heads"])
    network = DiT(config, shape.channels, shape.text_dim, shape.action_dim)
    keys = key_map(config, "predict1", actions=bool(shape.action_dim))
    network.load_state_dict({k: v for k, v in from_published(weights, keys, name).items() if k not in BESIDE}, strict=True)
    return t, c, network


@pytest.mark.parametrize("name", ["dit_text2world_7b_like", "dit_text2world_14b_like", "dit_video2world_7b_like"])
@torch.no_grad()
def test_the_same_numbers(shared_data, name):
    t, c, network = recorded(shared_data, name)
    assert network.config.given == (c["in_channels"] == 17)
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


@torch.no_grad()
def test_actions_move_the_shared_vector(shared_data):
    """Of the published action network's two halves only the wider has an effect, in the published code as here."""
    t, _, network = recorded(shared_data, "dit_action_conditioned")
    x = {k[7:]: v for k, v in t.items() if k.startswith("inputs/")}
    given = {"given": x["condition_video_input_mask"], "padding": x["padding_mask"], "fps": torch.full((2,), 5.0)}
    ours = network(x["x"], x["timesteps"], x["crossattn_emb"], actions=x["action"].expand(-1, 2, -1), **given)
    theirs = t["outputs/out_fps5"]
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5
    assert (network(x["x"], x["timesteps"], x["crossattn_emb"], **given) - theirs).abs().max() > 1e-3


@torch.no_grad()
def test_actions_come_in_by_the_port(shared_data):
    """The published action network as an attached condition, and the network without one of its own: the same numbers."""
    t, _, network = recorded(shared_data, "dit_action_conditioned")
    x = {k[7:]: v for k, v in t.items() if k.startswith("inputs/")}
    assert network.action is not None
    width, dim = x["action"].shape[-1], network.config.dim
    spec = ActionSpec(("a",) * width, ("1",) * width, "gripper", 5.0, "delta", (-1.0,) * width, (1.0,) * width)
    spec = dataclasses.replace(spec, mean=(0.0,) * width, std=(1.0,) * width)
    module = ActionCondition(spec, hidden=4 * dim).build(Ports(modulation=3 * dim, context=0, channels=dim, patch=2))
    module.load_state_dict(
        {f"{ours}.{p}": getattr(network.action[i], p) for ours, i in (("up", 0), ("down", 2)) for p in ("weight", "bias")}
    )
    network.action = None
    said = module(Conditions(actions=x["action"]))
    given = {"given": x["condition_video_input_mask"], "padding": x["padding_mask"], "fps": torch.full((2,), 5.0)}
    ours = network(x["x"], x["timesteps"], x["crossattn_emb"], modulation=said.expand(-1, 2, -1), **given)
    theirs = t["outputs/out_fps5"]
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


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


def counted(dim, layers, text, planes, absolute, project=0, action=0, acted=()):
    """From the description alone (spec section 3.2), no code of the network."""
    attention = lambda width: 2 * dim * dim + 2 * width * dim + 2 * 128  # noqa: E731
    block = attention(dim) + attention(text) + 8 * dim * dim + 3 * (256 * dim + 256 * 3 * dim)
    around = 4 * (16 + planes) * dim + 64 * dim + dim + dim * dim + 3 * dim * dim + 256 * dim + 256 * 2 * dim
    actions = sum(action * 4 * dim + 4 * dim + 4 * dim * out + out for out in acted)
    return layers * block + around + absolute * (128 + 120 + 120) * dim + (project + 1) * text * bool(project) + actions


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_has_as_many_parameters_as_its_description_says(name):
    shape, c = MEMBERS[name], MEMBERS[name].network
    read, project = (c.project, shape.text_dim) if c.project else (shape.text_dim, 0)
    acted = [n * c.dim for n in ((1, 3) if c.action_level else (3,) if shape.action_dim else ())]
    said = counted(c.dim, c.layers, read, 1 + c.given, c.absolute, project, shape.action_dim, acted)
    assert sum(p.numel() for p in empty_network(shape).parameters()) == said
    released = {
        "predict1-7b-text2world": 7_236_192_256,
        "predict1-7b-video2world": 7_236_208_640,
        "predict2.5-2b": 2_059_174_912,
    }
    released |= {"predict1-14b-text2world": 14_267_149_312, "predict2.5-14b": 14_368_047_104}
    assert said == released.get(name, said)
