"""Post-training to drive: a camera is told the way by its own rays where all drives have one rig; the world comes back from its folder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")
pytest.importorskip("pyarrow")

from armillary import tokenizers, worlds
from armillary.conditioning import RaysCondition, TrajectoryCondition
from armillary.data import DrivingConfig, LatentsConfig
from armillary.data.record import record
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.drive import drive
from armillary.train import OptimConfig, RunConfig, train
from armillary.train.posttrained import PosttrainRun, add_driving, open_base
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

VIEWS, SIZE = ("front", "left"), (32, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three recorded drives and a base of random weights."""
    root = tmp_path_factory.mktemp("driving")
    record("driving", root / "drives", 3, seed=3, frames=8, policy="swerve", cameras=VIEWS, size=32, workers=1)
    torch.manual_seed(0)
    tokenizers.save(tokenizers.build("frame-c8"), root / "frame")
    held = tokenizers.load(root / "frame")
    ref = worlds.TokenizerRef("../frame", held.sha256, held.temporal, held.spatial, held.config.channels, held.vocab, SIZE)
    world = worlds.build(
        DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2, clip=6), worlds.Setting(ref, None, "", 0, 10.0)
    )
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    worlds.save(world, root / "base")
    return root


def latents(root):
    source = DrivingConfig(str(root / "drives"), views=VIEWS, frames=5, size=SIZE, held_out=0.3, actions=False)
    return LatentsConfig(source, str(root / "frame"), cache=str(root / "cache"))


def test_a_way_is_followed_by_rays_and_the_world_comes_back(root, tmp_path):
    config = RunConfig(
        name="p",
        model=PosttrainRun("driving", str(root / "base"), unroll_prob=0.0),
        data=latents(root),
        optim=OptimConfig(lr=1e-2, warmup=1),
        steps=3,
        batch=2,
        ema=0.5,
        threads=1,
        ahead=0,
    )
    result = train(config, tmp_path / "run", progress=False)
    dreamer = Dreamer(result.model)
    assert type(dreamer.world.configs["trajectory"]) is RaysCondition and len(dreamer.world.configs["trajectory"].rig) == 2
    given = np.full((2, 1, *SIZE, 3), 120, np.uint8)
    ahead = np.zeros((64, 3), np.float32)
    ahead[:, 0] = 0.8 * np.arange(1, 65)
    made = {
        name: drive(dreamer, given, 5, trajectory=way) for name, way in (("ahead", ahead), ("still", 0 * ahead), ("none", None))
    }
    assert made["ahead"].shape == (2, 5, *SIZE, 3)
    assert not np.array_equal(made["ahead"], made["still"]) and not np.array_equal(made["still"], made["none"])


def test_where_rigs_differ_the_way_is_told_as_numbers(root, capsys):
    world, data = open_base(str(root / "base")), latents(root).build("train")
    assert type(add_driving(world, data).conditions["trajectory"]) is RaysCondition
    entries = data.source.entries
    first = entries[0].cameras[0]
    moved = first.pose.copy()
    moved[..., :3, 3] += 0.5
    entries[0] = dataclasses.replace(entries[0], cameras=(dataclasses.replace(first, pose=moved), *entries[0].cameras[1:]))
    assert type(add_driving(world, data).conditions["trajectory"]) is TrajectoryCondition
    assert "told as numbers" in capsys.readouterr().err
