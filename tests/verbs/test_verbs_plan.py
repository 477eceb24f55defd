"""`doctor --plan` before anything loads, and `info` of sizes and published worlds."""

from __future__ import annotations

import json

import pytest
import torch

from armillary import verbs
from armillary.cli.main import run
from armillary.errors import BadInput
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.published import empty_network
from armillary.worlds.diffusion.published_keys import key_map, to_published
from armillary.worlds.diffusion.published_member import MEMBERS, Shape


def test_a_plan_on_the_command_line(capsys):
    assert run(["doctor", "--plan", "dit-nano", "--gpu", "24", "--frames", "9", "--size", "64", "64", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["device GiB"] == 24 and all(row["fits"] == "yes" for row in told["ways"])
    assert told["next"] == "armillary generate WORLD" and "9 frames of 64 x 64" in told["video"]
    assert told["evaluations"] == "70 (2 clips of 35 steps)"
    assert run(["doctor", "--plan", "dit-nano", "--gpu", "0.001"]) == 0
    assert "Nothing fits" in capsys.readouterr().out
    assert run(["doctor", "--plan", "dit-nan", "--json"]) == 2
    assert "Did you mean 'dit-nano'" in json.loads(capsys.readouterr().out)["error"]


def test_a_training_plan_falls_and_names_its_flags(tiny):
    told = verbs.doctor(plan=str(tiny["diffusion"]), gpu=24, train=True, batch=2)
    held = {p["part"]: p for p in told["parts"]}
    assert held["optimizer"]["weights GiB"] == pytest.approx(2 * held["average"]["weights GiB"], abs=2e-4)
    assert held["one step"]["working GiB"] > 0
    taken = {row["flags"]: row["GiB"] for row in told["ways"]}
    whole, adapted = taken["--set precision=bfloat16"], taken["--set precision=bfloat16 --set model.lora=16"]
    assert adapted < whole <= taken[""] * 1.05
    assert taken["--set precision=bfloat16 --set parallel.checkpointing=full"] <= whole
    assert taken["--set precision=bfloat16 --set model.lora=16 --set parallel.checkpointing=full"] <= adapted
    with pytest.raises(BadInput, match="at least 1"):
        verbs.doctor(plan="unet-nano", batch=0)


@pytest.mark.parametrize(
    ("name", "parameters", "what"),
    [
        ("dit-7b", 7_236_208_640, "world size"),
        ("predict1-7b-text2world", 7_236_192_256, "published world"),
        ("cv8x8x8", None, "tokenizer size"),
        ("ar-nano", None, "world size"),
    ],
)
def test_a_size_by_its_name(name, parameters, what):
    told = verbs.info(name)
    assert told["what"] == what and told["config"]
    assert told["parameters"] == parameters if parameters else told["parameters"] > 100_000


def test_everything_that_has_a_name_is_listed():
    told = verbs.info()
    assert set(MEMBERS) == set(told["published worlds"]) and "dit-7b" in told["world sizes"]


def test_an_adapter_and_its_world(tiny, tmp_path):
    from armillary import worlds

    adapted = worlds.Adapted(worlds.load(tiny["diffusion"]), 2)
    told = verbs.info(str(adapted.save(tmp_path / "adapter", str(tiny["diffusion"]))))
    assert told["what"] == "adapter" and told["base"]["sha256"] == adapted.sha256 and told["config"]["rank"] == 2
    plan = verbs.doctor(plan=str(tmp_path / "adapter"), gpu=8)
    assert plan["parts"][0]["part"] == "world"


def test_published_weights_are_told_without_being_read(tmp_path, monkeypatch):
    shape = Shape(DiTConfig(48, 2, 2, lora=8, ratios=(2.0, 1.0, 1.0), limit=(16, 8, 8)), 16, 24)
    monkeypatch.setitem(MEMBERS, "tiny-video2world", shape)
    weights = {k: torch.zeros(v.shape, dtype=torch.bfloat16) for k, v in empty_network(shape).state_dict().items()}
    torch.save(to_published(weights, key_map(shape.network, "predict1")), tmp_path / "model.pt")
    for path in (tmp_path, tmp_path / "model.pt"):
        told = verbs.info(str(path))
        assert told["what"] == "published world" and told["world"] == "tiny-video2world" and told["precision"] == "bfloat16"
        assert told["parameters"] == sum(v.numel() for v in weights.values())
    plan = verbs.doctor(plan=str(tmp_path), gpu=8, frames=9, size=(64, 64))
    assert any(p["part"] == "world" for p in plan["parts"])
