"""Every line of DATASETS opens both splits and keeps the dataset contract."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from armillary import media, tokenizers
from armillary.data import (
    DATASETS,
    VIEWS,
    ClipsConfig,
    DrivingConfig,
    EpisodesConfig,
    LatentsConfig,
    MixtureConfig,
    PosedConfig,
    SyntheticConfig,
    write_drive,
)
from armillary.presets import from_json, to_json
from armillary.types import ActionSpec, Batch, Camera, Episode

DRAWN = SyntheticConfig(episodes=8, length=12, frames=5, size=(16, 16), held_out=0.3)


BEARINGS = (0, -60, 60, 180, -120, 120)  # of VIEWS, degrees to the right


def looking(bearing):
    """Camera-to-vehicle: x ahead, y to the left, z up."""
    a = np.deg2rad(bearing)
    pose = np.eye(4)
    pose[:3, 2], pose[:3, 0], pose[:3, 1] = (np.cos(a), -np.sin(a), 0), (-np.sin(a), -np.cos(a), 0), (0, 0, -1)
    return pose


def make(name, root):
    """A small config of every kind."""
    if name == "clips":
        for i in range(4):
            media.write_video(root / f"{i}.mp4", [np.full((16, 16, 3), 40 * i + t, np.uint8) for t in range(12)], 10)
        return ClipsConfig(str(root), frames=5, size=(16, 16), held_out=0.3)
    if name == "episodes":
        pytest.importorskip("pyarrow")
        from armillary.data.lerobot.write import LeRobotWriter

        spec = ActionSpec(("x",), ("1",), "world", 10.0, "delta", (-1.0,), (1.0,))
        with LeRobotWriter(root / "set", 10.0, spec, ("front",), state_names=("s",)) as writer:
            for i in range(4):
                frames = np.full((8, 16, 16, 3), 30 * i, np.uint8)
                writer.add(
                    Episode(
                        f"e{i}",
                        10.0,
                        {"front": frames},
                        np.ones((8, 1), np.float32),
                        np.zeros((8, 1), np.float32),
                        spec,
                        ("s",),
                        instruction="go",
                    )
                )
        return EpisodesConfig(str(root / "set"), frames=5, size=(16, 16), held_out=0.3)
    if name == "posed":
        for i in range(4):
            rows = [f"{t * 100_000} 1 1 0.5 0.5 0 0 1 0 0 {t} 0 1 0 0 0 0 1 0" for t in range(8)]
            (root / f"p{i}.txt").write_text("\n".join([f"https://somewhere/{i}", *rows]))
            media.write_video(root / f"p{i}.mp4", [np.full((16, 16, 3), 40 * i + t, np.uint8) for t in range(8)], 10)
        return PosedConfig(str(root), frames=5, size=(16, 16), held_out=0.3)
    if name == "driving":
        spec = ActionSpec(("x",), ("1",), "ego", 10.0, "delta", (-1.0,), (1.0,))
        for i in range(4):
            frames = {v: np.full((8, 16, 16, 3), 30 * i, np.uint8) for v in VIEWS}
            cameras = tuple(Camera(v, 16, 16, np.diag([9.0, 9.0, 1.0]), looking(angle)) for v, angle in zip(VIEWS, BEARINGS))
            zero = np.zeros((8, 1), np.float32)
            episode = Episode(f"d{i}", 10.0, frames, zero, zero, spec, cameras=cameras)
            write_drive(root / f"d{i}", episode, np.tile(np.eye(4), (8, 1, 1)))
        return DrivingConfig(str(root), frames=5, size=(16, 16), held_out=0.3)
    if name == "latents":
        torch.manual_seed(0)
        small = tokenizers.TokenizerConfig(
            temporal=1, video=False, channels=4, patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1
        )
        tokenizers.save(tokenizers.build(small), root / "tok")
        return LatentsConfig(DRAWN, str(root / "tok"), cache=str(root / "cache"))
    if name == "mixture":
        return MixtureConfig((DRAWN, dataclasses.replace(DRAWN, seed=1)), (1.0, 2.0))
    return DRAWN


@pytest.mark.parametrize("name", DATASETS)
def test_contract(name, tmp_path):
    config = make(name, tmp_path)
    assert isinstance(config, DATASETS[name])
    assert from_json(DATASETS[name], json.loads(json.dumps(to_json(config)))) == config
    train, held = config.build("train"), config.build("held-out")
    assert len(train) > 0 and len(held) > 0 and train.hash == held.hash and len(train.hash) == 64
    assert (
        (train.split, held.split) == ("train", "held-out")
        and train.frames == 5
        and tuple(train.size) == (16, 16)
        and train.fps > 0
    )
    seen = {k.split("@")[0] for s in range(12) for k in train.batch(s, 4, 0).keys}
    assert seen.isdisjoint(k.split("@")[0] for s in range(12) for k in held.batch(s, 4, 0).keys)
    whole, again = train.batch(3, 4, 7), config.build("train").batch(3, 4, 7)
    assert isinstance(whole, Batch) and whole.size == 4 == len(whole.keys) == len(whole.text) and whole.keys == again.keys
    parts = [train.batch(3, 2, 7, rank, 2) for rank in (0, 1)]
    tensors = [f.name for f in dataclasses.fields(Batch) if isinstance(getattr(whole, f.name), torch.Tensor)]
    assert train.fields == held.fields and {*train.fields} - {"view_text"} <= {*tensors} and whole.views == train.views
    seen = next(x for x in (whole.video, whole.latents, whole.tokens) if x is not None)
    assert whole.grid.v == train.views and whole.grid.v * whole.grid.t == seen.shape[-3]
    for field in tensors:
        value = getattr(whole, field)
        assert torch.equal(value, getattr(again, field)) and torch.equal(value, torch.cat([getattr(p, field) for p in parts]))
    assert (whole.actions is None) == (train.spec is None)
    if train.spec is not None:
        assert whole.actions.shape == (4, 5, train.spec.dim)
