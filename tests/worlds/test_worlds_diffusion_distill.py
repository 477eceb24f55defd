"""Few steps: where the teacher's path is known exactly so is its student; what is distilled is an ordinary world."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch

from armillary import generate, guard, tokenizers, worlds
from armillary.data import LatentsConfig, SyntheticConfig
from armillary.errors import BadInput
from armillary.presets import from_json, to_json
from armillary.rollout.dreamer import Dreamer
from armillary.train import OptimConfig, RunConfig, WorldRun, train
from armillary.train.distilled import DistillRun
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.verbs._info import info
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.distill import Distillation, DistillConfig, student_of
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.few import Few
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import CAUSAL, FLOW, LIVE, PUBLISHED, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))
DIT = DiTConfig(24, 1, 2, lora=8, limit=(16, 8, 8))
ALONE = dataclasses.replace(DIT, given=False, padding=False, patch=1, absolute=False, base_fps=0.0, causal=True, window=4)
KINDS = {
    "unet": DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2),
    "clip": DiffusionConfig(DIT, PUBLISHED, past=2, clip=5),
    "flow": DiffusionConfig(DIT, FLOW, past=2, clip=5),
    "causal": DiffusionConfig(ALONE, CAUSAL, past=3, clip=6),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def build(kind: str, text_dim: int = 0, actions: ActionSpec | None = SPEC) -> DiffusionWorld:
    torch.manual_seed(0)
    ref = TokenizerRef("synthetic", "0" * 64, 1, 8, 4, 0, (64, 64))
    world = KINDS[kind].build(Setting(ref, actions, "hash" if text_dim else "", text_dim))
    with torch.no_grad():  # what starts at zero would make most tests vacuous
        for i, p in enumerate(world.parameters()):
            p.add_(0.3 * draw(*p.shape, seed=i) / max(1.0, p[0].numel() ** 0.5 if p.ndim > 1 else 1.0))
    return world


def pair(kind: str, forced: bool = False, text_dim: int = 0, **how) -> Distillation:
    teacher = build(kind, text_dim)
    config = DistillConfig(**how)
    return Distillation(student_of(teacher, config, "teacher"), teacher, config.method, forced=forced)


def batch_of(frames: int = 6, text_dim: int = 0, rows: int = 4) -> Batch:
    return Batch(
        latents=draw(rows, 4, frames, 8, 8, seed=1),
        actions=draw(rows, frames, 2, seed=2),
        context=draw(rows, 5, text_dim, seed=3) if text_dim else None,
    )


# ------------------------------------------------------------------------------------------------------------ exact teachers


def gaussian(x, sigma, wide, centre=0.3, spread=0.5):
    """The exact estimate of a Gaussian's clean signal."""
    return centre + spread**2 / (spread**2 + wide(sigma) ** 2) * (x - centre)


def lands(distillation: Distillation, x, sigma, pace):
    """The answer from which one Euler step lands where the teacher's steps to the end of the stretch do, for the Gaussian."""
    few, grid = distillation.few, distillation.few.grid(distillation.world.config.objective).float()
    out = torch.empty_like(x)
    for i in range(len(x)):
        at = int((grid - sigma[i]).abs().argmin())
        end = next(b for b in few.visited(few.paces[int(pace[i])]) if b > at)
        y = x[i]
        for s, t in zip(grid[at:end], grid[at + 1 : end + 1]):
            y = y + (t - s) / s * (y - gaussian(y, s, lambda v: v))
        rest = grid[end] / grid[at]
        out[i] = (y - rest * x[i]) / (1 - rest)
    return out


@pytest.mark.parametrize("method", ["halving", "consistency"])
@pytest.mark.parametrize("kind", ["unet", "clip", "flow"])
@pytest.mark.parametrize("paces", [(1,), (1, 2, 4), (3,)])
def test_a_student_that_lands_where_its_teacher_does_has_no_loss_and_no_other_does(kind, paces, method, monkeypatch):
    distillation = pair(kind, steps=paces[-1], paces=paces, levels=7, method=method)
    teacher, student = distillation._teacher[0], distillation.world

    def teach(x, sigma, asked, pace=None, withheld=False):
        return gaussian(x, sigma, asked.wide)

    def learned(x, sigma, asked, pace=None, withheld=False):
        return lands(distillation, x, sigma, pace)

    monkeypatch.setattr(teacher, "answer", teach)
    monkeypatch.setattr(student, "answer", learned)
    errors = [float(distillation(batch_of(rows=24), seeded(s))[1]["error"]) for s in range(4)]
    assert max(errors) < 1e-8, errors
    monkeypatch.setattr(student, "answer", teach)  # what is likely is not where the path ends
    assert min(float(distillation(batch_of(rows=24), seeded(s))[1]["error"]) for s in range(4)) > 1e-4


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_such_a_student_gives_the_teachers_sample_of_the_same_noise(steps):
    distillation = pair("unet", paces=(1, 2, 4), levels=9)
    student, start = distillation.world, draw(3, 4, 8, 8)

    def exact(x, sigma):
        return gaussian(x, sigma, lambda v: v)

    def learned(x, sigma):
        return lands(distillation, x, sigma.expand(len(x)), student.pace_of(steps, x))

    many = build("unet").drawn(exact, None, start, seeded(), 9)
    few = student.drawn(learned, None, start, seeded(), steps)
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-4)
    plain = build("unet").drawn(exact, None, start, seeded(), steps)
    assert (plain - many).abs().max() > 5e-2, "what the teacher itself does in so few steps"


def test_stretches_cover_the_grid_and_new_noise_is_for_paces_not_taught():
    few = Few(2, (1, 2), 7)
    assert few.visited(1) == [0, 7] and few.visited(2) == [0, 4, 7] and few.visited(7) == list(range(8))
    student = pair("unet", steps=2, paces=(1, 2), levels=7).world

    def halved(x, sigma):
        return x / 2

    def go(steps, seed):
        return student.drawn(halved, None, draw(1, 4, 8, 8), seeded(seed), steps)

    assert torch.equal(go(2, 0), go(2, 1)) and not torch.equal(go(3, 0), go(3, 1)) and torch.equal(go(3, 0), go(3, 0))


# ------------------------------------------------------------------------------------------------------------ any world


@pytest.mark.parametrize("method", ["halving", "consistency"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_first_it_answers_as_its_teacher_and_learns_with_every_parameter_but_the_loss_variance(kind, method):
    distillation = pair(kind, text_dim=8, guidance=1.0, levels=5, method=method)
    before = {k: v.clone() for k, v in distillation._teacher[0].state_dict().items()}
    batch = batch_of(text_dim=8, rows=8)
    asked = distillation.world.ask(batch, seeded(), unroll_prob=0.0)
    a, b = (
        w.answer(asked.noisy(asked.sigma), asked.sigma, asked, p)
        for w, p in ((distillation.world, torch.zeros(8, dtype=torch.long)), (distillation._teacher[0], None))
    )
    assert torch.equal(a, b)
    loss, metrics = distillation(batch, seeded())
    loss.backward()
    assert torch.isfinite(loss) and metrics["error"] > 0
    untouched = [n for n, p in distillation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert all("variance" in n for n in untouched), untouched
    assert not any("teacher" in n for n in distillation.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in distillation._teacher[0].state_dict().items())
    assert distillation(batch, seeded(3))[0] == distillation(batch, seeded(3))[0] != distillation(batch, seeded(4))[0]


@pytest.mark.parametrize("kind", ["unet", "clip", "flow"])
def test_it_may_go_on_from_its_own_dreams(kind):
    distillation = pair(kind, forced=True, text_dim=8, levels=5)
    batch = batch_of(text_dim=8)
    losses = []
    for share in (0.0, 1.0):
        distillation.unroll_prob = share
        losses.append(distillation(batch, seeded())[0])
    assert torch.isfinite(losses[1]) and losses[0] != losses[1]
    asked = distillation.world.ask(batch, seeded(), unroll_prob=1.0)
    if kind != "unet":  # the first frames are its own now, and given in every row
        assert asked.told["given"][:, 0, :2].min() == 1 and asked.clean.shape[2] == 4
        truth = distillation.world.normalise(batch.latents) * distillation.world.config.objective.sigma_data
        assert (
            torch.equal(asked.clean[:, :, 2:], truth[:, :, 4:])
            and not torch.isclose(asked.clean[:, :, 0], truth[:, :, 2]).all()
        )
        with pytest.raises(BadInput, match="at least 4 frames"):
            distillation.world.ask(batch_of(3, 8), seeded(), unroll_prob=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_it_is_an_ordinary_world_of_few_steps(kind, tmp_path):
    student = pair(kind, steps=2, paces=(1, 2), levels=5).world
    with torch.no_grad():
        student.pace.weight.normal_(generator=seeded(5))
    worlds.save(student, tmp_path / "world")
    again = worlds.load(tmp_path / "world")
    assert again.config == student.config and again.config.few.teacher == "teacher"
    given, say = draw(1, 4, 2, 8, 8), Conditioning(actions=draw(1, 4, 2))
    usual, two, one = (again.extend(given, 3, say, generator=seeded(), **kw) for kw in ({}, {"steps": 2}, {"steps": 1}))
    assert torch.equal(usual, two) and not torch.equal(one, two)
    assert torch.equal(usual, student.extend(given, 3, say, generator=seeded()))
    assert again.number() == 2 and again.number("steps", 1) == 1
    told = info(str(tmp_path / "world"))["distilled"]
    assert told["from"] == "teacher" and told["steps"] == 2 and "distilled from teacher in 1, 2 steps" in told["told"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Few(4, (2, 4), 3), "paces are rising numbers"),
        (lambda: Few(3, (2, 4), 8), "samples in 2 or 4 steps; got 3"),
        (lambda: student_of(pair("unet").world, DistillConfig(), "it"), "distilled itself, from 'teacher'"),
        (lambda: student_of(build("unet"), DistillConfig(guidance=2.0), "it"), "reads no text"),
        (
            lambda: student_of(build("unet"), DistillConfig(2, (2, 3), method="halving"), "it"),
            "a multiple of the one before, as 1, 2, 4; got 2, 3",
        ),
        (lambda: go(pair("unet").world, steps=99), "1 to 18 steps; got 99"),
        (lambda: go(pair("unet", paces=(2, 4)).world, steps=3), "2 or 4 steps; got 3"),
        (lambda: go(pair("clip", text_dim=8, guidance=2.0).world, guidance=3.0), "guidance 2 folded in"),
        (lambda: go(pair("clip").world, solver="heun"), "by solver 'euler'; got 'heun'"),
        (lambda: DistillRun().build(None), "name it in model.start"),  # type: ignore[arg-type]
    ],
)
def test_errors_say_what_was_given_and_what_would_work(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def go(world, **sampling):
    return world.extend(draw(1, 4, 2, 8, 8), 1, Conditioning(actions=draw(1, 4, 2)), generator=seeded(), **sampling)


def test_configs_of_before_and_of_now_are_read():
    old = to_json(KINDS["unet"])
    del old["few"]
    assert from_json(DiffusionConfig, old) == KINDS["unet"]
    new = dataclasses.replace(KINDS["unet"], few=Few(2, (2,), 9, 1.5, "t", "0"))
    assert from_json(DiffusionConfig, json.loads(json.dumps(to_json(new)))) == new


# ------------------------------------------------------------------------------------------------------------ the whole way


def test_through_the_training_loop_into_a_video(tmp_path):
    """A painter of two colours that words choose, its student, and a dream in two steps."""
    torch.manual_seed(0)
    config = dataclasses.replace(tokenizers.TOKENIZERS["frame-c8"], width=8)
    tokenizers.save(tokenizers.build(config), tmp_path / "tokenizer")
    source = SyntheticConfig(episodes=6, length=8, frames=4, size=(32, 32))
    data = LatentsConfig(source, tokenizer=str(tmp_path / "tokenizer"), cache=str(tmp_path / "cache"))
    small = tuple(
        f"network.{name}" for name in ("fine=16", "coarse=16", "fine_blocks=1", "coarse_blocks=1", "heads=2", "dim=32")
    )

    def run(name, model, steps=4):
        optim = OptimConfig(lr=1e-3, warmup=1)
        whole = RunConfig(
            name, model, data, optim, steps=steps, batch=4, ema=0.5, log_every=2, save_every=2, threads=1, eval_every=4
        )
        train(whole, tmp_path / name, progress=False)
        return str(tmp_path / name / "model")

    teacher = run("teacher", WorldRun("unet-nano", overrides=small))
    how = DistillConfig(steps=2, paces=(1, 2), levels=6, guidance=1.0)
    student = run("student", DistillRun(teacher, how, unroll_prob=1.0, unroll_from=0.0))
    held, origin = worlds.load(student), worlds.load(teacher)
    assert held.config.few == Few(2, (1, 2), 6, 1.0, "teacher", origin.sha256)
    assert any(not torch.equal(v, held.state_dict()[k]) for k, v in origin.state_dict().items())
    dreamer = Dreamer(student)
    frames = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8)
    assert dreamer.evaluations(1, 3, {}) == 6 and Dreamer(teacher).evaluations(0, 2, {}) == 19
    made = generate(dreamer, "a ball", frames=frames, actions="zeros", num_frames=4, gate=guard.Open())
    distilled = made.sidecar["world"]["distilled"]
    assert distilled["from"] == "teacher" and distilled["steps"] == 2 and distilled["guidance"] == 1.0
    with pytest.raises(BadInput, match="go on from its teacher 'teacher'"):
        WorldRun("", start=student).build(data.build())
    with pytest.raises(BadInput, match="is distilled"):
        DistillRun(student).build(data.build())


def test_recipes_take_a_teacher():
    from armillary.recipes import RECIPES

    names = [n for n in RECIPES if "distill" in n]
    assert len(names) >= 5 and all("start" in inspect.signature(RECIPES[n]).parameters for n in names)
    assert RECIPES["distill-unet"]("d", start="mine").model.start == "mine"
