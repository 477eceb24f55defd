"""Two processes make the steps of one: copies, shards, frames of a clip; and end together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from parallel_runs import STEPS, config

from armillary import tokenizers, worlds
from armillary.presets import override
from armillary.train import train
from armillary.train.checkpoint import newest_checkpoint
from armillary.train.meters import rows_of

HERE = Path(__file__).parent
# Float32 sums in another order differ by some 1e-7 a step; over 20 steps of Adam the curves stayed within 1e-6 of each other.
CLOSE = 1e-5


def torchrun(out: Path, *tasks: dict, look: float = 0.1) -> list[str]:
    """`look`: seconds between two looks of torchrun at its processes; it ends all once it sees that one has failed."""
    script = [str(HERE / "parallel_runs.py"), str(out), *map(json.dumps, tasks)]
    launch = ["--standalone", "--monitor-interval", str(look), "--nproc-per-node", "2"]
    return [sys.executable, "-m", "torch.distributed.run", *launch, *script]


def surrounding() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def rows(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / "metrics.jsonl")]


def same_run(ours: Path, theirs: Path) -> None:
    """Every figure of every row, and the weights that are kept."""
    assert len(rows(ours)) == len(rows(theirs)) == STEPS + 2
    for a, b in zip(rows(ours), rows(theirs)):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert value == (b[key] if isinstance(value, str) else pytest.approx(b[key], rel=CLOSE, abs=1e-7)), (key, a, b)
    for (name, a), b in zip(
        worlds.load(ours / "model").state_dict().items(), worlds.load(theirs / "model").state_dict().values()
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5, msg=lambda m, name=name: f"{name}: {m}")


def cut(folder: Path, to: Path, step: int) -> None:
    """A finished run as it was after `step` steps, but for its rows, which going on cuts by itself."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / "model")
    (to / "result.json").unlink()
    for path in (to / "checkpoints").iterdir():
        if path.name != f"step-{step:06d}":
            shutil.rmtree(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One process: `one` takes the batch whole, `shared` in two shares. Two processes: the rest, in one launch."""
    root = tmp_path_factory.mktemp("parallel")
    torch.manual_seed(0)
    made = tokenizers.build(override(tokenizers.TOKENIZERS["frame-c8"], ("width=16",)))
    tokenizers.save(made, root / "tokenizer")
    train(config(root), root / "one", progress=False)
    train(config(root, shares=2), root / "shared", progress=False)
    train(config(root, images=True), root / "alone-images", progress=False)
    cut(root / "shared", root / "back", 8)
    tasks = [
        {"do": "agree"},
        *({"do": "train", "name": name, "parallel": parallel} for name, parallel in {
            "copies": {},
            "shards": {"shard": 0},
            "frames": {"shard": 2, "context": 2, "checkpointing": "full"},
            "back": {"shard": 2},
        }.items()),
        {"do": "train", "name": "images", "images": True, "parallel": {"shard": 2, "context": 2, "checkpointing": "full"}},
    ]  # fmt: skip
    told = subprocess.run(torchrun(root, *tasks), capture_output=True, text=True, timeout=240, env=surrounding())
    assert told.returncode == 0, told.stderr
    return root


def test_processes_agree_and_average(runs):
    said = [json.loads((runs / f"agreed-{rank}.json").read_text()) for rank in range(2)]
    assert said[0] == said[1]
    assert said[0] == {
        "gradients": [[1.5] * 3, [2.0] * 3], "told": ["größer", ""], "mean": [0.5, 1.0], "none": "inf", "any": [True, False],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["copies", "shards"])
def test_two_processes_take_the_steps_of_one(runs, name):
    same_run(runs / name, runs / "shared")
    losses = [r["loss"] for r in rows(runs / name) if r["kind"] == "train"]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_frames_in_two_processes_take_the_steps_of_one(runs):
    """Sharded and checkpointed as well."""
    same_run(runs / "frames", runs / "one")


def test_images_among_the_clips_are_taken_whole(runs):
    """One frame cannot be shared; the run is that of one process all the same."""
    same_run(runs / "images", runs / "alone-images")
    assert (runs / "images" / "metrics.jsonl").read_text() != (runs / "frames" / "metrics.jsonl").read_text()


def test_two_shares_are_another_draw_than_one(runs):
    """Else the comparisons above would say little."""
    a, b = (next(r["loss"] for r in rows(runs / name)) for name in ("one", "shared"))
    assert abs(a - b) > 1e-3


def test_begun_on_two_it_goes_on_alone(runs):
    cut(runs / "shards", runs / "alone", 8)
    train(config(runs), runs / "alone", progress=False)
    same_run(runs / "alone", runs / "shared")


def test_begun_alone_it_goes_on_on_two(runs):
    same_run(runs / "back", runs / "shared")


def test_checkpoints_are_the_same_folders_whatever_wrote_them(runs):
    ours, theirs = (newest_checkpoint(runs / name / "checkpoints") for name in ("shards", "shared"))
    assert ours is not None and theirs is not None and ours.step == theirs.step == STEPS
    for part, tensors in theirs.parts.items():
        assert {k: v.shape for k, v in ours.parts[part].items()} == {k: v.shape for k, v in tensors.items()}
        for name, value in tensors.items():
            torch.testing.assert_close(ours.parts[part][name], value, rtol=1e-3, atol=2e-5)


def test_ctrl_c_ends_all_processes_after_the_same_step(runs):
    task = {"do": "train", "name": "stopped", "steps": 5000, "parallel": {"shard": 2}}
    process = subprocess.Popen(
        torchrun(runs, task), stderr=subprocess.PIPE, text=True, env=surrounding(), start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(rows_of(runs / "stopped" / "metrics.jsonl")) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to torchrun and to all it started
    _, told = process.communicate(timeout=60)
    found = newest_checkpoint(runs / "stopped" / "checkpoints")
    assert found is not None and f"Stopped at step {found.step} of 5000; the same command goes on" in told, told
    assert told.count("finishing this step and saving") == 1 and found.step == len(rows(runs / "stopped")) - found.step // 10


def test_one_that_fails_ends_all_with_its_message(runs):
    task = {"do": "break", "name": "broken", "steps": 5000, "parallel": {"shard": 2}}
    # torchrun ends the survivor as soon as it looks: seldom enough here that the survivor has told what it saw before
    command = torchrun(runs, task, look=5)
    told = subprocess.run(command, capture_output=True, text=True, timeout=90, env=surrounding())
    assert told.returncode != 0 and "lost touch with the others" in told.stderr
    assert "MemoryError: this one gives up" in told.stderr
    assert len(rows(runs / "broken")) == 3 and not (runs / "broken" / "model").exists()
