"""The pieces of the loop: schedule, average, optimizer state, random numbers, meters, config."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from train_fakes import TinyRun, tiny

from armillary.data import EpisodesConfig, LatentsConfig, SyntheticConfig
from armillary.errors import BadInput, MissingExtra
from armillary.presets import from_json, override, to_json
from armillary.train import METERS, OptimConfig, RunConfig, TokenizerRun, WorldRun, train
from armillary.train.config import check, differences
from armillary.train.ema import Average
from armillary.train.loop import step_rng
from armillary.train.meters import JsonLines, rows_of
from armillary.train.models import relative_name
from armillary.train.optim import load_optimizer, lr_at, make_optimizer, optimizer_tensors


@given(
    steps=st.integers(1, 500),
    warmup=st.integers(0, 100),
    kind=st.sampled_from(["cosine", "linear", "constant"]),
    floor=st.floats(0, 1e-4),
)
@settings(max_examples=60, deadline=None)
def test_schedule_rises_then_never_rises(steps, warmup, kind, floor):
    config = OptimConfig(lr=1e-3, warmup=warmup, schedule=kind, min_lr=floor)
    rates = [lr_at(config, i, steps) for i in range(steps)]
    assert all(0 < r <= 1e-3 * (1 + 1e-12) for r in rates)
    assert rates[:warmup] == sorted(set(rates[:warmup]))
    assert all(a >= b - 1e-15 for a, b in itertools.pairwise(rates[warmup:]))
    if warmup and steps >= warmup:
        assert rates[warmup - 1] == pytest.approx(1e-3)


def test_schedule_values():
    config = OptimConfig(lr=1.0, warmup=10, min_lr=0.1)
    assert lr_at(config, 0, 110) == 0.1 and lr_at(config, 9, 110) == 1.0 and lr_at(config, 10, 110) == 1.0
    assert lr_at(config, 60, 110) == pytest.approx(0.55) and lr_at(config, 110, 110) == pytest.approx(0.1)


def test_average_is_the_written_sum():
    model = nn.Linear(3, 2)
    average, expected = Average(model, 0.9), {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(200):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p, generator=None) * 0.1)
        average.update(model, step)
        d = min(0.9, (1 + step) / (10 + step))
        expected = {k: d * expected[k] + (1 - d) * v for k, v in model.state_dict().items()}
    for name, value in expected.items():
        torch.testing.assert_close(average.tensors[name], value, rtol=1e-5, atol=1e-6)


def test_average_swaps_and_gives_back_even_after_an_error():
    model = nn.Linear(3, 2)
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.add_(1)
    own = model.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.swapped(model):
        assert torch.equal(model.weight, average.tensors["weight"]) and not torch.equal(model.weight, own)
        raise ZeroDivisionError
    assert torch.equal(model.weight, own)


def test_optimizer_state_goes_and_comes_back():
    def stepped(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)
    optimizer = make_optimizer(model, OptimConfig(lr=0.1))
    stepped(model, optimizer)
    state, weights = optimizer_tensors(optimizer, model), {k: v.clone() for k, v in model.state_dict().items()}
    assert {k.split("/")[0] for k in state} == {"0.weight", "1.weight", "1.bias"}
    state = {k: v.clone() for k, v in state.items()}
    stepped(model, optimizer)
    after = {k: v.clone() for k, v in model.state_dict().items()}

    model.load_state_dict(weights)
    fresh = make_optimizer(model, OptimConfig(lr=0.1))
    load_optimizer(fresh, model, state)
    stepped(model, fresh)
    assert all(torch.equal(v, after[k]) for k, v in model.state_dict().items())
    with pytest.raises(BadInput, match="fits no parameter"):
        load_optimizer(fresh, model, {"2.weight/exp_avg": torch.zeros(1)})


def test_convolutions_that_lie_channels_last_go_on_exactly():
    """The fused step walks a parameter and its state by address: state that came back in another order would be another's."""

    def stepped(net, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            net(torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
            optimizer.step()

    def made():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 3, 2)).to(memory_format=torch.channels_last)
        return net, make_optimizer(net, OptimConfig(lr=0.1))

    whole, steady = made()
    stepped(whole, steady, range(6))
    first, cut = made()
    stepped(first, cut, range(3))
    kept = {k: v.contiguous() for k, v in optimizer_tensors(cut, first).items()}  # as a file keeps them
    second, again = made()
    second.load_state_dict(first.state_dict())
    load_optimizer(again, second, kept)
    stepped(second, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_weight_decay_spares_gains_and_biases():
    optimizer = make_optimizer(nn.Linear(3, 2), OptimConfig(weight_decay=0.3))
    assert [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in optimizer.param_groups] == [(0.3, [2]), (0.0, [1])]
    with pytest.raises(BadInput, match="nothing to train"):
        make_optimizer(nn.Linear(3, 2).requires_grad_(False), OptimConfig())


def test_step_rng_is_a_function_of_all_three():
    def draw(*key):
        return torch.rand(3, generator=step_rng(*key)).tolist()

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert len({tuple(draw(a, b, c)) for a in (0, 1) for b in (0, 1, 11) for c in (0, 1)}) == 12


def test_metrics_file_drops_what_came_after_and_a_torn_line(tmp_path):
    meter = JsonLines(tmp_path)
    for step in (1, 2, 3):
        meter.write({"step": step, "kind": "train", "loss": float("inf") if step == 2 else 0.5})
    meter.close()
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 4, "los')
    assert [r["step"] for r in rows_of(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    JsonLines(tmp_path, 2).close()
    kept = rows_of(tmp_path / "metrics.jsonl")
    assert [r["loss"] for r in kept] == [0.5, "inf"]
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_every_meter_takes_rows_or_says_what_to_install(tmp_path):
    for name, kind in METERS.items():
        try:
            meter = kind(tmp_path / name, 0) if (tmp_path / name).mkdir() is None else None
        except MissingExtra as error:
            assert "pip install" in str(error)
            continue
        meter.write({"step": 1, "kind": "train", "loss": 1.0})
        meter.close()
        assert any((tmp_path / name).rglob("*"))


def test_config_goes_through_json_and_takes_overrides():
    config = RunConfig("x", WorldRun("unet-nano"), LatentsConfig(EpisodesConfig("some/where", size=(32, 48)), "tok"), steps=7)
    assert from_json(RunConfig, json.loads(json.dumps(to_json(config)))) == config
    changed = override(
        config, ["optim.lr=3e-4", "data.source.size=[16, 16]", "optim.schedule=linear", 'model.overrides=["past=2"]']
    )
    assert changed.optim.lr == 3e-4 and changed.data.source.size == (16, 16) and changed.model.overrides == ("past=2",)  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="steps"):
        override(config, ["step=3"])
    with pytest.raises(BadInput, match="cosine"):
        override(config, ["optim.schedule=cosin"])
    for data in (SyntheticConfig(), config.data):
        other = RunConfig("y", TokenizerRun(), data)
        assert from_json(RunConfig, to_json(other)) == other


def test_numbers_that_cannot_work_are_named():
    for changes, word in [
        ({"steps": 0}, "steps"),
        ({"ema": 1.0}, "ema"),
        ({"batch": 0}, "batch"),
        ({"meters": ("tensorbord",)}, "tensorboard"),
    ]:
        with pytest.raises(BadInput, match=word):
            check(tiny(**changes))
    with pytest.raises(BadInput, match="lr"):
        check(tiny(optim=OptimConfig(lr=-1.0)))


def test_a_device_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadInput, match="device"):
        train(tiny(device="gpu-please"), tmp_path / "a", progress=False)
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="no cuda device"):
            train(tiny(device="cuda"), tmp_path / "b", progress=False)


def test_global_settings_of_torch_are_given_back(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    train(tiny(steps=2, threads=2, eval_every=0), tmp_path / "run", progress=False)
    assert before[:2] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert torch.equal(before[2], torch.get_rng_state())


def test_differences_go_deep_and_leave_free_settings_out():
    a, b = to_json(tiny()), to_json(tiny(model=TinyRun(3), threads=5, keep=9))
    assert differences(a, b) == ["model.width: 6 here, 3 there"]


def test_names_of_tokenizers_as_seen_from_a_world(tmp_path):
    assert relative_name("frame-c8", tmp_path / "w") == "frame-c8"
    assert relative_name(str(tmp_path / "tok" / "model"), tmp_path / "run" / "model") == "../../tok/model"
    assert relative_name(str(tmp_path / "run" / "model" / "tok"), tmp_path / "run" / "model") == "./tok"
