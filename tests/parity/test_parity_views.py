"""The published six-camera networks: the same numbers from the same weights, views and trajectory going in by the ports."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from armillary.conditioning import TrajectoryCondition, ViewsCondition, attach
from armillary.conditioning.base import Conditions
from armillary.errors import BadInput
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.common import with_clip
from armillary.worlds.diffusion.fast import FastDiT
from armillary.worlds.diffusion.published import read_world
from armillary.worlds.diffusion.published_member import config_of, objective_of, shape_of
from armillary.worlds.diffusion.published_views import parted

CASES = ["dit_text2world_multiview", "dit_video2world_multiview", "dit_text2world_multiview_trajectory"]


def recorded(shared_data, name, tmp_path):
    """Inputs, outputs, and a world of ours with the conditions attached, all weights read by `read_world`."""
    path = shared_data / "golden" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the sample data")
    t, c = load_file(path), json.loads(path.with_suffix(".json").read_text())["config"]
    weights = {k[8:]: v for k, v in t.items() if k.startswith("weights/")}
    rest, _ = parted(weights, 4, name)
    shape = shape_of(rest, "predict1", name, c["n_views"])
    save_file(weights, tmp_path / "model.safetensors")
    read = read_world(tmp_path / "model.safetensors", shape)
    assert read.shape.views == 6 and read.shape.network.sincos
    ref = TokenizerRef("synthetic", "0" * 64, 8, 8, 16, 0, (48, 64))
    world = config_of(shape, objective_of(shape.network, None)).build(Setting(ref, None, "t5", shape.text_dim, 24.0))
    world.network = read.network()
    conditions = {"views": ViewsCondition(6, dim=c["view_condition_dim"], repeats=True)}
    if "traj_condition_dim" in c:
        conditions["trajectory"] = TrajectoryCondition(dim=c["traj_condition_dim"])
    pair = attach(world, conditions).requires_grad_(False)
    pair.conditions.load_state_dict(read.views, strict=True)
    return t, pair


def arguments(t, pair, **changed):
    """What the ports say, and the network's other arguments."""
    x = {k[7:]: v for k, v in t.items() if k.startswith("inputs/")} | changed
    way = x["trajectory"].unflatten(1, (64, 3)) if "trajectory" in x else None
    frames = x["x"].shape[2] // 6
    said = Conditions(views=6, repeats=x["frame_repeat"], trajectory=way, frames=frames)
    ports = pair._ports(said, frames, begins=True)
    network = pair.world.network
    grid = network.grid(*x["x"].shape[2:], 0, 6)
    given = {
        "context": x["crossattn_emb"].unflatten(1, (6, -1)),
        "given": x.get("condition_video_input_mask"),
        "padding": x["padding_mask"],
        "channels": with_clip(ports.channels, ports.clip_channels, grid, pair.ports.channels),
        "views": 6,
    }
    return (x["x"], x["timesteps"]), given


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_same_numbers_through_the_ports(shared_data, tmp_path, name):
    t, pair = recorded(shared_data, name, tmp_path)
    network = pair.world.network
    for key in (k for k in t if k.startswith("outputs/")):
        fps = torch.full((2,), float(key.removeprefix("outputs/out_fps")))
        first, more = arguments(t, pair)
        for answer in (network, FastDiT(network)):
            error = float((answer(*first, **more, fps=fps) - t[key]).abs().max() / t[key].abs().max())
            assert error < 1e-5, (key, type(answer).__name__, error)
    changes = {"crossattn_emb": t["inputs/crossattn_emb"].roll(5, 1), "frame_repeat": t["inputs/frame_repeat"] + 1}
    if "inputs/trajectory" in t:
        changes["trajectory"] = -t["inputs/trajectory"]
    for name, value in changes.items():
        first, more = arguments(t, pair, **{name: value})
        assert (network(*first, **more, fps=fps) - t[key]).abs().max() > 1e-2, f"{name} is heard"


def test_a_first_layer_without_room_is_refused():
    with pytest.raises(BadInput, match="leave no room for views"):
        parted({"view_embeddings.weight": torch.zeros(6, 6), "x_embedder.proj.1.weight": torch.zeros(8, 24)}, 4, "it")
