"""Tokenizers' own runs: the adversarial stage resumes exactly, and every stage and published size takes steps at a tiny width."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from armillary import features, tokenizers
from armillary.data import MixtureConfig, SyntheticConfig
from armillary.recipes import RECIPES
from armillary.tokenizers import ObjectiveConfig
from armillary.tokenizers.objective import RivalConfig
from armillary.train import OptimConfig, RunConfig, TokenizerRun, loop, train
from armillary.train.checkpoint import newest_checkpoint
from armillary.train.meters import rows_of

SOURCE = SyntheticConfig(episodes=6, length=12, frames=9, size=(16, 16), held_out=0.3)
PUBLISHED = [n for n, make in RECIPES.items() if n in tokenizers.TOKENIZERS] + [
    "tokenizer-first", "tokenizer-motion", "tokenizer-texture", "tokenizer-adversary",
]  # fmt: skip


def adversarial(**changes):
    objective = ObjectiveConfig(adversary=0.5, rival=RivalConfig(width=8))
    run = RunConfig(
        "rival",
        TokenizerRun("video-d4x8x8", overrides=("width=8",), objective=objective),
        SOURCE,
        OptimConfig(lr=2e-3, warmup=2),
        steps=8,
        batch=2,
        ema=0.9,
        log_every=1,
        save_every=3,
        eval_every=4,
        eval_batches=1,
        threads=1,
        ahead=0,
    )
    return dataclasses.replace(run, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(adversarial(), tmp_path_factory.mktemp("whole") / "run", progress=False)


def test_the_rival_learns_beside_and_is_reported(whole):
    rows = [r for r in rows_of(whole.folder / "metrics.jsonl") if r["kind"] == "train"]
    assert len(rows) == 8 and {"rival_loss", "rival_right", "rival_slope", "rival_grad_norm", "adversary"} <= rows[0].keys()
    assert rows[-1]["rival_loss"] != rows[0]["rival_loss"]
    found = newest_checkpoint(whole.folder / "checkpoints")
    assert {k.split("/")[-1] for k in found.parts["rival"]} == {"exp_avg", "exp_avg_sq", "step"}
    assert any(k.startswith("rival.") for k in found.parts["model"])
    assert not any("rival" in k for k in found.parts["average"]) and not any("rival" in k for k in found.parts["optimizer"])
    assert not any("rival" in k for k in tokenizers.load(whole.model).state_dict())


@pytest.mark.parametrize("stop", [2, 5])
def test_an_adversarial_run_resumed_is_the_same_run(whole, tmp_path, monkeypatch, stop):
    plain = loop._Run.one_step

    def breaks(self, meters):
        if self.step == stop:
            raise KeyboardInterrupt
        plain(self, meters)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Run, "one_step", breaks)
        train(adversarial(), tmp_path / "run", progress=False)
    again = train(adversarial(), tmp_path / "run", progress=False)
    assert tokenizers.load(again.model).sha256 == tokenizers.load(whole.model).sha256
    one, other = (newest_checkpoint(r.folder / "checkpoints").parts for r in (again, whole))
    for part in ("model", "optimizer", "rival", "average"):
        assert all(torch.equal(v, other[part][k]) for k, v in one[part].items()), part


def test_a_rival_without_a_number_skips_the_step_for_both(tmp_path, monkeypatch):
    from armillary.tokenizers.objective.adversary import Rival

    plain, calls = Rival.loss, []

    def breaks(self, made, true):
        calls.append(1)
        loss, metrics = plain(self, made, true)
        return (loss * float("nan") if len(calls) == 2 else loss), metrics

    monkeypatch.setattr(Rival, "loss", breaks)
    result = train(adversarial(steps=4, eval_every=0), tmp_path / "run", progress=False)
    rows = rows_of(result.folder / "metrics.jsonl")
    assert result.finished and [r["step"] for r in rows if r["kind"] == "skipped"] == [2]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_stages_and_sizes_take_steps_when_narrow(name, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "load", lambda *_: features.untrained("small"))
    config = RECIPES[name]("unused", steps=2)
    size = tokenizers.TOKENIZERS[config.model.size]
    source = config.data.sources[0]
    frames = 1 if source.frames == 1 else 1 + 2 * size.temporal
    drawn = SyntheticConfig(episodes=4, length=frames + 2, frames=frames, size=(32, 32), held_out=0.3)
    narrow = dataclasses.replace(config.model, overrides=(f"width={max(8, size.groups)}", "blocks=1"))
    data = MixtureConfig((drawn,), images=config.data.images)
    result = train(
        dataclasses.replace(config, model=narrow, data=data, batch=1, device="cpu", precision="float32", threads=1, ahead=0),
        tmp_path / "run",
        progress=False,
    )
    assert result.finished and tokenizers.load(result.model).config.width == max(8, size.groups)
