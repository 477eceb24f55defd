"""`armillary posttrain` and `armillary eval control`: checked first, judged last, marked when they do not follow, and taken up again."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from armillary import tokenizers, worlds
from armillary.cli.main import run
from armillary.data.base import unit
from armillary.data.lerobot.write import LeRobotWriter, write_piece
from armillary.recipes.posttrain import POSTTRAIN
from armillary.sims.rooms import pose_of
from armillary.store import read_json
from armillary.types import ActionSpec, Camera, Episode
from armillary.verbs._posttrain import check
from armillary.verbs._posttrain_plan import share_of
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
WIDE = ActionSpec(tuple("abcdefg"), ("1",) * 7, "gripper", 10.0, "delta", (-1.0,) * 7, (1.0,) * 7)
UNET = DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2)


def write(folder, spec=SPEC, fps=10.0, said="push it", episodes=5, posed=False):
    rng = np.random.default_rng(0)
    with LeRobotWriter(folder, fps, spec, ("front",)) as writer:
        for i in range(episodes):
            frames = rng.integers(0, 255, (7, 64, 64, 3), dtype=np.uint8)
            actions = rng.uniform(-1, 1, (7, spec.dim)).astype(np.float32)
            states = np.zeros((7, 1), np.float32)
            pose = np.stack([pose_of((0, 0.1 * t, 1), 0.05 * t * (-1) ** i, 0) for t in range(7)])
            lens = np.array([[50.0, 0, 32], [0, 50.0, 32], [0, 0, 1]])
            cameras = (Camera("front", 64, 64, lens, pose),) if posed else ()
            seen, told = {"front": frames}, {"instruction": said, "cameras": cameras}
            write_piece(writer.root, i, Episode(f"real-{i}", fps, seen, actions, states, spec, ("s",), **told))
        writer.collect()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("posttrain")
    torch.manual_seed(0)
    tokenizers.save(tokenizers.build("frame-c8"), root / "frame")
    held = tokenizers.load(root / "frame")
    ref = worlds.TokenizerRef("../frame", held.sha256, 1, 8, held.config.channels, 0, (64, 64))
    setting = worlds.Setting(ref, None, "", 0, 10.0)
    worlds.save(worlds.build(UNET, setting), root / "base")
    worlds.save(worlds.build(UNET, dataclasses.replace(setting, actions=SPEC)), root / "acts")
    write(root / "data")
    return root


def asked(folder, capsys, *arguments):
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out), out.err


def test_an_action_world_is_trained_judged_and_marked_blind(folder, tmp_path, capsys):
    """Frames that are noise have nothing to do with actions: the gate says so, in JSON, in the exit code and in the checkpoint."""
    arguments = (
        "posttrain", "action", "--data", folder / "data", "--base", folder / "base", "--lora", 2, "--steps", 2, "--out", tmp_path / "run",
        "--cache", tmp_path / "cache", "--episodes", 2,
    )  # fmt: skip
    code, said, err = asked(folder, capsys, *arguments)
    assert set(said) >= {"world", "gate", "evaluation", "baseline"} and {"verdict", "figures"} <= set(said["gate"]), said
    assert said["gate"]["verdict"] == "ACTION-BLIND" and code == 1
    assert (
        "Plan: cpu, float32, 2 rows at once" in err
        and "Cost: about" in err
        and err.index("Cost") < err.index("train posttrain-action")
    )
    assert said["gate"]["figures"]["judge"] == "probe" and set(said["gate"]["figures"]["variants"]) == {
        "swapped",
        "null",
        "reversed",
        "scaled",
    }
    for name in ("psnr", "ssim", "latent_l2", "fvd", "psnr_over_copy", "psnr_over_shuffled"):
        assert name in said["evaluation"]
    assert {"copy", "shuffled", "base"} <= set(said["baseline"])
    record = read_json(tmp_path / "run" / "model" / "config.json")
    assert record["gate"]["verdict"] == "ACTION-BLIND" and record["task"] == "action"
    assert "**ACTION-BLIND**" in (tmp_path / "run" / "model" / "README.md").read_text()

    again, same, err = asked(folder, capsys, *arguments)
    assert again == 1 and same == said and "Cost" not in err, "what is finished is not done again"

    code, other, _ = asked(
        folder, capsys, "eval", "control", "--world", said["world"], "--data", folder / "data", "--episodes", 2, "--steps", 2
    )
    assert code == 1 and set(other) >= {"world", "gate", "evaluation", "baseline"} and other["task"] == "action"
    assert "base" in other["baseline"], "the base is found by the checkpoint"


def test_posed_data_are_checked_before_they_are_encoded(folder, tmp_path):
    data, base = write(tmp_path / "data", posed=True), str(folder / "base")
    config = check(POSTTRAIN["camera"](str(data), start=base, held_out=share_of(5), longest=7), base, 0)
    assert config.batch == 2 and config.data.source.frames == 7


@pytest.mark.parametrize("count", [2, 3, 5, 13, 80, 400])
def test_enough_is_held_out_and_not_too_much(count):
    share = share_of(count)
    held = sum(unit(f"episode_{i:06d}") < share for i in range(count))
    assert held == {2: 1, 3: 1, 5: 2, 13: 6, 80: 24, 400: 24}[count]


@pytest.mark.parametrize(
    ("task", "base", "changes", "words"),
    [
        ("action", "acts", {"spec": WIDE}, r"width 2 != 7 \(bridge\)"),
        ("action", "base", {"spec": dataclasses.replace(SPEC, rate=5.0), "fps": 5.0}, "dreams 10 frames a second; the data have 5"),
        ("camera", "base", {}, "does not say where its camera was"),
        ("instruction", "base", {"said": ""}, "5 episodes|episodes have no instruction"),
        ("instruction", "acts", {}, "A live world that reads text learns to choose them"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_anything_is_trained(folder, tmp_path, capsys, task, base, changes, words):
    data = write(tmp_path / "data", **changes) if changes else folder / "data"
    code, said, _ = asked(
        folder,
        capsys,
        "posttrain",
        task,
        "--data",
        data,
        "--base",
        folder / base,
        "--out",
        tmp_path / "run",
        "--cache",
        tmp_path / "c",
    )
    assert code == 2
    assert re.search(words, said["error"]), said["error"]
    assert not (tmp_path / "run" / "config.json").exists() and not (tmp_path / "c").exists()


def test_numbers_and_names_that_cannot_be(folder, tmp_path, capsys):
    common = ("--data", folder / "data", "--out", tmp_path / "run")
    code, said, _ = asked(folder, capsys, "posttrain", "action", *common, "--base", folder / "base", "--batch", 64)
    assert code == 2 and "fewer than a batch of 64" in said["error"]
    code, said, _ = asked(folder, capsys, "posttrain", "action", *common, "--base", folder / "base", "--steps", 0)
    assert code == 2 and "--steps is at least 1" in said["error"]
    code, said, _ = asked(folder, capsys, "posttrain", "action", *common, "--base", "nothing")
    assert code == 2
    code, said, _ = asked(folder, capsys, "eval", "control", "--world", folder / "base", "--data", folder / "data")
    assert code == 2 and "nothing to control" in said["error"]
    code, said, _ = asked(
        folder, capsys, "eval", "control", "--world", folder / "base", "--data", folder / "data", "--task", "action"
    )
    assert code == 2 and "takes no actions" in said["error"]
