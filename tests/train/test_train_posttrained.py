"""Post-training: what a task adds to a base, what is saved of it, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from armillary import text, tokenizers, worlds
from armillary.data import EpisodesConfig, LatentsConfig
from armillary.data.lerobot.write import LeRobotWriter, write_piece
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.posttrained import Posttrained, load, open_world, write_card
from armillary.sims.rooms import pose_of
from armillary.store import read_json
from armillary.train import OptimConfig, RunConfig, train
from armillary.train.posttrained import PosttrainRun, add_camera, add_instruction, check_actions, check_fit, open_base
from armillary.types import ActionSpec, Camera, Conditioning, Episode
from armillary.worlds.autoregressive.transformer import TransformerConfig
from armillary.worlds.autoregressive.world import AutoregressiveConfig
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
UNET = DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2)
AR = AutoregressiveConfig(TransformerConfig(vocab=0, dim=32, layers=1, heads=2, kv_heads=2, hidden=64), frames=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Episodes of a square that goes where it is sent, seen by a camera that turns; bases `unet`, `told` (with text), `acts` (with text and
    actions) and `ar`."""
    root = tmp_path_factory.mktemp("posttrain")
    with LeRobotWriter(root / "data", 10.0, SPEC, ("front",)) as writer:
        for i in range(6):
            rng = np.random.default_rng(i)
            place, frames, actions = np.array([32.0, 32.0]), [], []
            for _ in range(9):
                frame = np.full((64, 64, 3), 90, np.uint8)
                x, y = place.astype(int)
                frame[y - 6 : y + 6, x - 6 : x + 6] = (220, 40, 30)
                frames.append(frame)
                actions.append(rng.uniform(-1, 1, 2))
                place = np.clip(place + 3 * actions[-1], 8, 56)
            pose = np.stack([pose_of((0, 0.1 * t, 1), 0.05 * t, 0) for t in range(9)])
            lens = np.array([[50.0, 0, 32], [0, 50.0, 32], [0, 0, 1]])
            episode = Episode(
                f"drawn-{i}",
                10.0,
                {"front": np.stack(frames)},
                np.array(actions, np.float32),
                np.zeros((9, 1), np.float32),
                SPEC,
                ("s",),
                instruction=f"push the square {i}",
                cameras=(Camera("front", 64, 64, lens, pose),),
            )
            write_piece(writer.root, i, episode)
        writer.collect()
    torch.manual_seed(0)
    for key, size in (("frame", "frame-c8"), ("video", "video-d4x8x8")):
        tokenizers.save(tokenizers.build(size), root / key)
    width = text.load("hash").dim
    for key, config, tokenizer, told in (
        ("unet", UNET, "frame", ""),
        ("told", UNET, "frame", "hash"),
        ("acts", UNET, "frame", "hash"),
        ("ar", AR, "video", ""),
    ):
        held = tokenizers.load(root / tokenizer)
        c = held.config
        ref = worlds.TokenizerRef(f"../{tokenizer}", held.sha256, held.temporal, held.spatial, c.channels, held.vocab, (64, 64))
        spec = SPEC if key == "acts" else None
        world = worlds.build(config, worlds.Setting(ref, spec, told, width if told else 0, 10.0))
        with torch.no_grad():
            for parameter in world.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        worlds.save(world, root / key)
    return root


def run(folder, base, task, lora=0, **source):
    tokenizer = "video" if base == "ar" else "frame"
    frames = 5
    episodes = EpisodesConfig(
        str(folder / "data"), frames=frames, held_out=0.3, actions=task == "action" or base == "acts", **source
    )
    texts = "hash" if task == "instruction" or base == "told" else ""
    data = LatentsConfig(episodes, str(folder / tokenizer), texts, cache=str(folder / "cache"))
    return RunConfig(
        name="p",
        model=PosttrainRun(task, str(folder / base), lora, unroll_prob=0.0),
        data=data,
        optim=OptimConfig(lr=1e-2, warmup=1),
        steps=3,
        batch=2,
        ema=0.5,
        save_every=2,
        threads=1,
        ahead=0,
    )


def said(pair, seed=3):
    """Everything that any task could say."""
    generator = torch.Generator().manual_seed(seed)
    k = pair.tokenizer.temporal
    path = torch.tensor(np.stack([pose_of((0, 0.2 * t, 1), 0.2 * t, 0) for t in range(1 + 2 * k)])).float()[None]
    return Conditioning(
        actions=torch.rand(1, 2 * k, 2, generator=generator) if pair.action_spec is not None else None,
        context=torch.randn(1, 3, text.load("hash").dim, generator=generator) if pair.setting.text else None,
        poses=path,
    )


def given(pair):
    rng = torch.Generator().manual_seed(1)
    ref = pair.tokenizer
    if ref.vocab:
        return torch.randint(0, ref.vocab, (1, 1, 8, 8), generator=rng)
    return torch.randn(1, ref.channels, 2, 8, 8, generator=rng)


def frames_of(pair, conditioning=None):
    return pair.extend(given(pair), 2, conditioning or said(pair), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize(
    ("base", "task"),
    [
        ("unet", "action"),
        ("unet", "camera"),
        ("unet", "instruction"),
        ("told", "instruction"),
        ("ar", "action"),
        ("ar", "instruction"),
    ],
)
def test_untrained_it_is_the_base_trained_it_comes_back_from_its_folder(folder, tmp_path, base, task, lora):
    config = run(folder, base, task, lora)
    data = config.data.build("train")
    torch.manual_seed(0)
    model = config.model.build(data)
    bare = open_base(str(folder / base))
    spoken = Conditioning(context=said(model.pair).context if bare.setting.text else None)
    assert torch.equal(frames_of(model.pair.eval()), frames_of(bare, spoken)), "identity at the beginning"
    if lora:
        kept = model.state_dict()
        assert kept and not any(n.endswith(("network.enter.weight", "embed.weight")) for n in kept)

    result = train(config, tmp_path / "run", progress=False)
    made = open_world(result.model)
    whole_and_plain = not lora and (base == "told" or base == "ar")
    assert isinstance(made, Posttrained) != whole_and_plain
    record = read_json(result.model / "config.json")
    assert record["task"] == task and record["base"]["sha256"] == bare.sha256
    assert (made.action_spec is not None) == (task == "action")
    if base != "ar":
        assert not torch.equal(frames_of(made), frames_of(bare, spoken)), "three steps at a high rate change something"
    dreamer = Dreamer(result.model)
    frames = np.full((1 if base == "ar" else 2, 64, 64, 3), 120, np.uint8)
    k = dreamer.temporal
    actions = np.ones((2 * k, 2), np.float32) if task == "action" else None
    assert dreamer.dream(frames, 2 * k, prompt="push", actions=actions).shape == (2 * k, 64, 64, 3)
    live = dreamer.live(dreamer.encode(frames), dreamer.condition(["push"]))
    for _ in range(2):  # as an environment steps it
        one = dreamer.condition(["push"], actions=None if actions is None else actions[:k])
        assert live.more(1, one, torch.Generator().manual_seed(0)).shape[-3] == 1


@pytest.mark.parametrize("lora", [0, 2])
def test_a_world_that_takes_actions_gets_a_hand_that_chooses_them(folder, tmp_path, lora):
    config = run(folder, "acts", "instruction", lora)
    torch.manual_seed(0)
    pair, bare = config.model.build(config.data.build("train")).pair, open_base(str(folder / "acts"))
    spoken = Conditioning(actions=torch.rand(1, 2, 2), context=said(pair).context)
    assert torch.equal(frames_of(pair.world.eval(), spoken), frames_of(bare, spoken)), "the world is the base at the beginning"

    result = train(config, tmp_path / "run", progress=False)
    assert "hand" in result.metrics and ("error" in result.metrics) == bool(lora), "the world learns only by its adapters"
    made = open_world(result.model)
    assert isinstance(made, Posttrained) and made.hand is not None and made.action_spec is None
    assert made.world.action_spec is not None and made.setting.text == "hash"
    assert not torch.equal(made.hand.enter.weight, pair.hand.enter.weight), "the hand that was trained came back"
    same = torch.equal(frames_of(made.world, spoken), frames_of(bare, spoken))
    assert same == (not lora), "but for adapters the base stays as it is"
    frames = np.full((2, 64, 64, 3), 120, np.uint8)
    dreamer = Dreamer(result.model)
    assert dreamer.dream(frames, 3, prompt="push").shape == (3, 64, 64, 3)
    with pytest.raises(BadInput, match="moves its hand itself"):
        dreamer.dream(frames, 2, prompt="push", actions=np.ones((2, 2), np.float32))


def test_a_stopped_run_goes_on_as_if_it_had_not_been(folder, tmp_path):
    config = dataclasses.replace(run(folder, "unet", "action", 2), steps=4)
    whole = train(config, tmp_path / "whole", progress=False)
    train(config, tmp_path / "again", progress=False)
    for name in ("model", "result.json"):  # as a kill after the checkpoint of step 2 leaves it
        path = tmp_path / "again" / name
        [p.unlink() for p in path.glob("*")] if path.is_dir() else path.unlink()
    last = tmp_path / "again" / "checkpoints" / "step-000004"
    [p.unlink() for p in last.glob("*")]
    last.rmdir()
    (tmp_path / "again" / "model").rmdir()
    again = train(config, tmp_path / "again", progress=False)
    a, b = (load(r.model).state_dict() for r in (whole, again))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_verdict_is_written_into_the_checkpoint_and_said_on_loading(folder, tmp_path, capsys):
    result = train(run(folder, "unet", "action", 2), tmp_path / "run", progress=False)
    write_card(result.model, {"gate": {"verdict": "ACTION-BLIND"}})
    open_world(result.model)
    assert "ACTION-BLIND" in capsys.readouterr().err


def test_adapters_want_the_base_they_were_trained_on(folder, tmp_path):
    result = train(run(folder, "unet", "camera", 2), tmp_path / "run", progress=False)
    record = read_json(result.model / "config.json")
    write_card(result.model, {"base": {**record["base"], "sha256": "0" * 64}})
    with pytest.raises(BadInput, match="was trained on world"):
        load(result.model)


def test_what_does_not_fit_is_named(folder):
    world = open_base(str(folder / "unet"))
    acting = worlds.build(UNET, dataclasses.replace(world.setting, actions=SPEC))
    acting.name = "arm"
    data = run(folder, "unet", "action").data.source.build("train")
    wide = ActionSpec(tuple("abcdefg"), ("1",) * 7, "gripper", 10.0, "delta", (-1.0,) * 7, (1.0,) * 7)
    with pytest.raises(BadInput, match=r"width 2 != 7 \(bridge\)"):
        check_actions(acting, "arm", wide)
    with pytest.raises(BadInput, match=r"rate: 10.0 != 5.0"):
        check_actions(acting, "arm", dataclasses.replace(SPEC, rate=5.0))
    with pytest.raises(BadInput, match="no actions"):
        check_actions(world, "unet", None)
    data.fps = 5.0
    with pytest.raises(BadInput, match="dreams 10 frames a second; the data have 5"):
        check_fit(world, "unet", data)
    data.fps, data.views = 10.0, 3
    with pytest.raises(BadInput, match=r"takes 1 camera.* the data show 3"):
        check_fit(open_base(str(folder / "ar")), "ar", data)
    check_fit(world, "unet", data)  # a U-Net takes several
    data.views = 1
    with pytest.raises(BadInput, match=r"wants actions .* a path stands for them"):
        add_camera(acting, data)
    with pytest.raises(BadInput, match="no channels port"):
        add_camera(open_base(str(folder / "ar")), data)
    with pytest.raises(BadInput, match=r"wants actions .* A live world that reads text learns to choose them"):
        add_instruction(acting, data)
    data.entries[1] = dataclasses.replace(data.entries[1], texts=())
    data.text, data.text_dim = "hash", text.load("hash").dim
    with pytest.raises(BadInput, match="1 episodes have no instruction"):
        add_instruction(world, data)
    bent = data.entries[0].cameras[0]
    data.entries[0] = dataclasses.replace(data.entries[0], cameras=(dataclasses.replace(bent, pose=bent.pose * 1.2),))
    with pytest.raises(BadInput, match="is no rigid body"):
        add_camera(world, data)
