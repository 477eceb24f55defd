"""Parts come and go; a dream is the same wherever its parts wait, and says what would fit where memory does not suffice."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armillary import guard, worlds
from armillary.cli.main import run
from armillary.errors import BadInput, Failed
from armillary.rollout import placement
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.generate import generate
from armillary.rollout.placement import Placement, called_on, visiting


def away(t):
    """Elsewhere: on this machine told by the precision."""
    return t.double()


def test_a_visit_leaves_the_very_tensors_that_were_here():
    layer = nn.Linear(3, 3)
    before = [t.data_ptr() for t in layer.parameters()]
    with pytest.raises(KeyError), visiting(list(layer.parameters()), away):
        assert layer.weight.dtype == torch.float64
        raise KeyError
    assert [t.data_ptr() for t in layer.parameters()] == before


def test_blocks_are_there_one_at_a_time():
    there = []

    class Block(nn.Linear):
        def forward(self, x):
            there.append([b.weight.dtype == torch.float64 for b in blocks])
            return x

    blocks = nn.ModuleList(Block(2, 2) for _ in range(3))
    with contextlib.ExitStack() as stack:
        for block in blocks:
            stack.enter_context(called_on(block, away))
        for _ in range(2):
            for block in blocks:
                block(torch.zeros(1, 2))
    blocks[0](torch.zeros(1, 2))
    assert there == [[i == j for j in range(3)] for i in range(3)] * 2 + [[False] * 3]


@pytest.mark.parametrize("kind", ["diffusion", "autoregressive"])
def test_the_same_dream_wherever_its_parts_wait(tiny, frames, kind, monkeypatch):
    visits, now = [], []
    plain = placement.visiting

    @contextlib.contextmanager
    def noted(tensors, bring):
        now.append(sum(t.numel() for t in tensors))
        visits.append(tuple(now))
        with plain(tensors, bring):
            yield
        now.pop()

    monkeypatch.setattr(placement, "visiting", noted)
    actions = np.zeros((4, 2), np.float32) if kind == "diffusion" else None
    start = frames[:1]

    def dreamt(**how):
        dreamer = Dreamer(tiny[kind], placement=Placement(**how))
        return dreamer.dream(start, 4, prompt="a red square", actions=actions)

    whole = dreamt()
    assert not visits
    parts = dreamt(offload="parts")
    assert np.array_equal(whole, parts)
    world = sum(t.numel() for t in (*worlds.load(tiny[kind]).parameters(), *worlds.load(tiny[kind]).buffers()))
    assert [len(v) for v in visits] == [1, 1, 1], "tokenizer, world, tokenizer, never two at once"
    assert visits[1] == (world,) and visits[0] == visits[2] != visits[1]
    if kind == "diffusion":
        visits.clear()
        assert np.array_equal(whole, dreamt(offload="blocks"))
        inner = [v for v in visits if len(v) == 2]
        assert len(inner) % 7 == 0 and inner and all(sum(v) < world for v in visits)
    else:
        with pytest.raises(BadInput, match="--offload parts would work"):
            dreamt(offload="blocks")


@pytest.mark.parametrize("kind", ["diffusion", "autoregressive"])
def test_half_precision_dreams(tiny, frames, kind):
    dreamer = Dreamer(tiny[kind], placement=Placement(precision="bfloat16"))
    network = dreamer.world.network
    assert isinstance(network, nn.Module) and {p.dtype for p in network.parameters()} == {torch.bfloat16}
    whole = Dreamer(tiny[kind])
    if kind == "diffusion":
        ours, theirs = dreamer.world.latent_std, whole.world.latent_std
        assert isinstance(ours, Tensor) and isinstance(theirs, Tensor) and torch.equal(ours, theirs), "normalisers stay exact"
    actions = np.zeros((4, 2), np.float32) if kind == "diffusion" else None
    made, exact = (d.dream(frames[:1], 4, prompt="a red square", actions=actions) for d in (dreamer, whole))
    assert made.shape == exact.shape
    if kind == "diffusion":
        assert np.abs(made.astype(int) - exact.astype(int)).mean() < 8


def test_a_device_that_is_not_there_is_said(tiny):
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="no cuda device"):
            Dreamer(tiny["diffusion"], placement=Placement("cuda"))
    with pytest.raises(BadInput, match="wants cpu, cuda"):
        Dreamer(tiny["diffusion"], placement=Placement("gpu"))


def test_too_little_memory_says_what_fits_and_writes_nothing(tiny, tmp_path, monkeypatch):
    dreamer = Dreamer(tiny["diffusion"])

    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(dreamer.world, "extend", short)
    dreamer.evaluations = lambda *_: 1  # type: ignore[method-assign]
    with pytest.raises(Failed, match=r"Not enough memory on cpu for 9 frames of 64 x 64.*GiB with --offload parts"):
        generate(dreamer, "a red square", num_frames=9, gate=guard.Open(), out=tmp_path / "dream.mp4")
    assert not list(tmp_path.iterdir())

    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(dreamer.world, "extend", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(dreamer, "a red square", num_frames=9, gate=guard.Open())


def test_the_sidecar_makes_it_again(tiny, frames, tmp_path, capsys):
    from armillary import media

    start = media.write_video(tmp_path / "start.mp4", frames, 10.0)
    first = tmp_path / "first.mp4"
    plan = np.linspace(-1, 1, 24).reshape(12, 2)
    generate(tiny["diffusion"], "a red square", video=start, actions=plan, num_frames=13, num_given=3, seed=5, steps=2, guidance=1.5,
             negative="blur", sampling={"level": 0.1}, gate=guard.Open(), out=first)  # fmt: skip
    assert "dream" in capsys.readouterr().err, "a bar with what is left"
    said = json.loads(first.with_suffix(".json").read_text())
    assert said["ran"] == {"device": "cpu", "precision": "float32"}
    sampling = dict(said["sampling"])
    again = tmp_path / "again.mp4"
    generate(tiny["diffusion"], said["prompt"], video=said["given"]["source"], num_given=said["given"]["frames"],
             actions=np.array(said["actions"]["values"]), num_frames=said["num_frames"], seed=said["seed"], negative=said["negative"],
             sampling=sampling, gate=guard.Open(), out=again)  # fmt: skip
    assert again.read_bytes() == first.read_bytes()


def test_an_adapter_is_worn_from_the_command_line(tiny, tmp_path, capsys):
    adapted = worlds.Adapted(worlds.load(tiny["diffusion"]), 2)
    folder = adapted.save(tmp_path / "adapter", str(tiny["diffusion"]))
    told = []
    for world, flags in ((str(tiny["diffusion"]), ("--adapter", str(folder), "--offload", "parts")), (str(folder), ())):
        out = tmp_path / f"{len(told)}.mp4"
        line = [
            "generate",
            world,
            "--prompt",
            "a red square",
            "--frames",
            "5",
            "--out",
            str(out),
            "--no-guard",
            "--json",
            *flags,
        ]
        assert run(line) == 0
        told += json.loads(capsys.readouterr().out)["result"]
        assert told[-1]["path"] == str(out) and told[-1]["adapters"] == ["adapter"]
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
