"""Going on equals not having stopped: the same rows, the same weights, wherever and however the run was ended."""

from __future__ import annotations

import dataclasses
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from train_fakes import TrickyConfig, tiny

from armillary.errors import ArmillaryError, BadInput, Failed
from armillary.store import sha256_file
from armillary.train import checkpoint, loop, train
from armillary.train.meters import rows_of

HERE = Path(__file__).parent


def rows(folder):
    """Every row without what a clock says."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: its rows and the hash of its weights."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = train(tiny(), folder, progress=False)
    assert result.finished and result.steps == 40
    return rows(folder), sha256_file(folder / "model" / "model.safetensors")


def same(folder, whole):
    assert rows(folder) == whole[0]
    assert sha256_file(folder / "model" / "model.safetensors") == whole[1]


def test_a_run_learns_and_two_runs_are_equal(tmp_path, whole):
    train(tiny(), tmp_path / "again", progress=False)
    same(tmp_path / "again", whole)
    losses = [r["loss"] for r in whole[0] if r["kind"] == "train"]
    assert len(losses) == 40 and sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert [r["step"] for r in whole[0] if r["kind"] == "held-out"] == [20, 40]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_batches_made_ahead_change_nothing(tmp_path, whole, ahead):
    train(tiny(ahead=ahead), tmp_path / "run", progress=False)
    same(tmp_path / "run", whole)


@pytest.mark.parametrize("stop", [1, 9, 10, 11, 25, 39])
def test_ended_between_steps(tmp_path, whole, monkeypatch, stop):
    plain = loop._Run.one_step

    def breaks(self, meters):
        if self.step == stop:
            raise KeyboardInterrupt
        plain(self, meters)

    monkeypatch.setattr(loop._Run, "one_step", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(ahead=stop % 3), tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert train(tiny(ahead=2), tmp_path / "run", progress=False).finished
    same(tmp_path / "run", whole)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 9])
def test_ended_inside_a_save(tmp_path, whole, monkeypatch, call):
    """Each checkpoint has three parts: these calls end the first, second or third write of the first three checkpoints."""
    plain, calls = checkpoint.save_file, []

    def breaks(tensors, path, *rest):
        calls.append(path)
        if len(calls) == call:
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt
        plain(tensors, path, *rest)

    monkeypatch.setattr(checkpoint, "save_file", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path / "run", progress=False)
    monkeypatch.undo()
    train(tiny(), tmp_path / "run", progress=False)
    same(tmp_path / "run", whole)


def test_rows_are_means_over_the_interval_wherever_it_was_cut(tmp_path, monkeypatch):
    config = tiny(log_every=7, save_every=5)
    train(config, tmp_path / "whole", progress=False)
    stopped = dataclasses.replace(config, data=TrickyConfig(signal_at=16))
    assert not train(stopped, tmp_path / "cut", progress=False).finished
    shutil.rmtree(tmp_path / "cut" / "model", ignore_errors=True)
    (tmp_path / "cut" / "config.json").unlink()  # the same run but for the signal
    train(config, tmp_path / "cut", progress=False)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    fine = train(tiny(log_every=1), tmp_path / "fine", progress=False)
    means = [r["loss"] for r in rows(fine.folder) if r["kind"] == "train"]
    assert rows(tmp_path / "whole")[0]["loss"] == pytest.approx(sum(means[:7]) / 7, rel=1e-6)


def test_sigterm_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, whole, capsys):
    config = tiny(data=TrickyConfig(signal_at=13))
    result = train(config, tmp_path / "run", progress=False)
    assert not result.finished and result.steps == 14 and result.model is None
    assert result.checkpoint is not None and result.checkpoint.name == "step-000014"
    assert "Stopped at step 14 of 40; the same command goes on" in capsys.readouterr().err
    final = train(config, tmp_path / "run", progress=False)
    assert final.finished
    same(tmp_path / "run", whole)


def test_killed_for_good_and_again(tmp_path, whole):
    """kill -9 at random moments; checkpoints are written at every second step, so that some kills fall into a save."""
    out, script = tmp_path / "run", [sys.executable, str(HERE / "train_fakes.py")]
    config = tiny(steps=1500, save_every=2, log_every=1)
    draw, kills = random.Random(5), 0
    for _ in range(2):
        process = subprocess.Popen([*script, str(out), "1500", "2"], stderr=subprocess.DEVNULL)
        seen = len(rows_of(out / "metrics.jsonl"))
        deadline = time.monotonic() + 60
        while len(rows_of(out / "metrics.jsonl")) < seen + 5 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(draw.uniform(0.0, 0.3))
        process.kill()
        kills += process.wait() == -9
    assert kills == 2
    reached = len(rows_of(out / "metrics.jsonl"))
    assert 10 <= reached < 1500
    cut = checkpoint.newest_checkpoint(out / "checkpoints")
    assert cut is not None
    # The rows so far are those of an undisturbed run (each step is the same whatever `steps` is only without a falling rate,
    # so the undisturbed run has the same config and is stopped where this one was).
    with pytest.MonkeyPatch.context() as patch:
        plain = loop._Run.one_step

        def breaks(self, meters):
            if self.step == cut.step:
                raise KeyboardInterrupt
            plain(self, meters)

        patch.setattr(loop._Run, "one_step", breaks)
        with pytest.raises(KeyboardInterrupt):
            train(dataclasses.replace(config, save_every=10**6), tmp_path / "calm", progress=False)
    calm = rows(tmp_path / "calm")
    assert [r for r in rows(out) if r["step"] <= cut.step] == calm


def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(tmp_path, whole, capsys):
    config = tiny(data=TrickyConfig(signal_at=34), keep=3)
    train(config, tmp_path / "run", progress=False)
    folder = tmp_path / "run" / "checkpoints"
    newest = checkpoint.list_checkpoints(folder)[0]
    for name in ("optimizer.safetensors", "checkpoint.json"):
        file = newest / name
        data = bytearray(file.read_bytes())
        data[-40] ^= 1
        file.write_bytes(data)
        capsys.readouterr()
        found = checkpoint.newest_checkpoint(folder)
        assert found is not None and found.step == 30
        assert "passing over a damaged checkpoint" in capsys.readouterr().err
        data[-40] ^= 1
        file.write_bytes(data)
    assert checkpoint.newest_checkpoint(folder).step == 35
    (newest / "average.safetensors").write_bytes(b"")
    shutil.rmtree(checkpoint.list_checkpoints(folder)[1])
    assert train(config, tmp_path / "run", progress=False).steps == 35  # from step 20, and the signal comes again
    assert train(config, tmp_path / "run", progress=False).finished
    same(tmp_path / "run", whole)


def test_torn_folders_do_not_count(tmp_path):
    config = tiny(data=TrickyConfig(signal_at=13))
    train(config, tmp_path / "run", progress=False)
    folder = tmp_path / "run" / "checkpoints"
    (folder / ".step-000020.x.tmp").mkdir()
    (folder / "step-000020").mkdir()  # as if a copy had been cut short
    (folder / "step-what").mkdir()
    assert checkpoint.newest_checkpoint(folder).step == 14
    assert not (folder / ".step-000020.x.tmp").exists()


def test_only_the_newest_are_kept(tmp_path):
    train(tiny(eval_every=0, save_every=5, keep=2), tmp_path / "run", progress=False)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-000035", "step-000040"]


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    first = train(tiny(), tmp_path / "run", progress=False)
    monkeypatch.setattr(loop, "_Run", None)
    again = train(tiny(threads=2), tmp_path / "run", progress=False)
    assert again.finished and again.metrics == first.metrics and again.model == first.model


def test_a_disk_that_refuses_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """A real refusal: while the second checkpoint is written, this process may not write files of more than 1 kB."""
    plain = checkpoint.save_file

    def limited(tensors, path, *rest):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if "step-000020" in str(path):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            plain(tensors, path, *rest)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(checkpoint, "save_file", limited)
    with pytest.raises(ArmillaryError, match="could not be written"):
        train(tiny(eval_every=0), tmp_path / "run", progress=False)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000010"]
    monkeypatch.undo()
    assert checkpoint.newest_checkpoint(tmp_path / "run" / "checkpoints").step == 10
    assert train(tiny(eval_every=0), tmp_path / "run", progress=False).finished


def test_other_settings_are_an_error_that_lists_them(tmp_path):
    train(tiny(data=TrickyConfig(signal_at=3)), tmp_path / "run", progress=False)
    other = tiny(data=TrickyConfig(signal_at=4), seed=1, save_every=3, threads=2)
    with pytest.raises(BadInput) as caught:
        train(other, tmp_path / "run", progress=False)
    text = str(caught.value)
    assert "seed: 1 here, 0 there" in text and "data.signal_at: 4 here, 3 there" in text
    assert "save_every" not in text and "threads" not in text
    with pytest.raises(BadInput, match="already holds a run"):
        train(tiny(data=TrickyConfig(signal_at=3)), tmp_path / "run", resume=False, progress=False)


def test_changed_data_is_an_error(tmp_path, monkeypatch):
    config = tiny(data=TrickyConfig(signal_at=13))
    train(config, tmp_path / "run", progress=False)
    from armillary.data.synthetic import SyntheticConfig

    plain = SyntheticConfig.build

    def other(self, split="train"):
        built = plain(self, split)
        built.hash = "0" * 64
        return built

    monkeypatch.setattr(SyntheticConfig, "build", other)
    with pytest.raises(BadInput, match="data changed"):
        train(config, tmp_path / "run", progress=False)


def test_one_process_a_folder(tmp_path):
    from armillary.train.session import locked

    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        with pytest.raises(BadInput, match="Another process"):
            train(tiny(), tmp_path / "run", progress=False)


def test_a_batch_without_numbers_is_skipped_and_named(tmp_path):
    result = train(tiny(data=TrickyConfig(poison=(4, 5, 9))), tmp_path / "run", progress=False)
    written = rows(tmp_path / "run")
    skipped = [r for r in written if r["kind"] == "skipped"]
    assert [r["step"] for r in skipped] == [5, 6, 10]
    expected = TrickyConfig().build("train").batch(4, 4, 0).keys
    assert skipped[0]["keys"] == list(expected) and skipped[0]["loss"] == "nan"
    assert result.finished and all(isinstance(r["loss"], float) for r in written if r["kind"] == "train")
    assert len([r for r in written if r["kind"] == "train"]) == 37


def test_three_in_a_row_end_the_run(tmp_path):
    config = tiny(data=TrickyConfig(poison=(14, 15, 16)))
    with pytest.raises(Failed, match=r"3 steps in a row, up to step 17.*drawn-0-"):
        train(config, tmp_path / "run", progress=False)
    found = checkpoint.newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found.step == 10
    assert all(t.isfinite().all() for part in found.parts.values() for t in part.values())
    with pytest.raises(Failed):  # and again, the same, when it goes on
        train(config, tmp_path / "run", progress=False)


def test_weights_that_are_no_numbers_are_never_saved(tmp_path, monkeypatch):
    plain = loop._Run.one_step

    def spoil(self, meters):
        plain(self, meters)
        if self.step == 15:
            next(self.model.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(loop._Run, "one_step", spoil)
    with pytest.raises(Failed):
        train(tiny(save_every=15, eval_every=0), tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


def test_how_many_in_a_row_end_a_run_is_a_setting(tmp_path):
    config = tiny(data=TrickyConfig(poison=(4, 5, 6, 9)), most_skipped=4)
    assert train(config, tmp_path / "more", progress=False).finished
    with pytest.raises(Failed, match=r"in 1 steps in a row, up to step 5"):
        train(tiny(data=TrickyConfig(poison=(4,)), most_skipped=1), tmp_path / "none", progress=False)


def test_memory_that_does_not_suffice_says_what_would(tmp_path, monkeypatch):
    import torch
    from train_fakes import Tiny

    plain, calls = Tiny.forward, []

    def full(self, batch, rng):
        calls.append(0)
        if len(calls) == 15:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, batch, rng)

    monkeypatch.setattr(Tiny, "forward", full)
    with pytest.raises(
        Failed, match=r"step 15 \(4 rows at once\).*shares=2.*checkpointing=selective.*torchrun.*bfloat16.*2\.00 GiB"
    ):
        train(tiny(eval_every=0), tmp_path / "run", progress=False)
    assert train(tiny(eval_every=0), tmp_path / "run", progress=False).finished


def test_a_batch_in_shares_is_the_mean_of_its_shares(tmp_path):
    """Twice the shares, half the rows in each: other noise, the same rows, and the same number of steps."""
    from armillary.parallel import ParallelConfig

    results = [
        train(tiny(parallel=ParallelConfig(shares=n)), tmp_path / str(n), progress=False).metrics["held-out/loss"]
        for n in (1, 4)
    ]
    assert results[0] != results[1] and results[0] == pytest.approx(results[1], rel=0.1)
    with pytest.raises(BadInput, match="batch of 4 rows in 3 shares"):
        train(tiny(parallel=ParallelConfig(shares=3)), tmp_path / "three", progress=False)
