"""Recording: the same data set whoever records it, however often it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from armillary import progress, sims
from armillary.data.lerobot.read import LeRobotDataset
from armillary.data.record import record
from armillary.errors import BadInput

pytest.importorskip("mujoco")
pytest.importorskip("pyarrow")

SMALL = {"frames": 3, "size": 32, "seed": 40}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(progress, "QUIET", True)


def tree(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return record("tabletop", tmp_path_factory.mktemp("alone") / "set", 4, workers=1, **SMALL)


def test_what_is_recorded_is_what_happened(alone):
    data = LeRobotDataset(alone)
    assert len(data) == 4
    for i in (0, 3):
        kept, made = data.episode(i), sims.record_episode(sims.make("tabletop"), 40 + i, "mix", 3, ("front",), 32)
        assert (kept.actions == made.actions).all() and (kept.states == made.states).all()
        assert all((kept.truth[k] == made.truth[k]).all() for k in made.truth) and kept.caption == made.caption
        assert kept.instruction == made.instruction and kept.id == made.id
        error = kept.frames["front"].astype(float) - made.frames["front"]
        assert 10 * np.log10(255**2 / (error**2).mean()) > 26  # 4:2:0 takes much of so small a picture


def test_workers_do_not_change_a_byte(alone, tmp_path):
    assert tree(record("tabletop", tmp_path / "two", 4, workers=2, **SMALL)) == tree(alone)


def test_recording_again_adds_what_is_missing_and_nothing_else(alone, tmp_path):
    out = record("tabletop", tmp_path / "set", 2, workers=1, **SMALL)
    times = {p: p.stat().st_mtime_ns for p in (out / "videos").rglob("*.mp4")}
    assert len(times) == 1
    record("tabletop", out, 2, workers=1, **SMALL)
    assert len(LeRobotDataset(out)) == 2
    record("tabletop", out, 4, workers=1, **SMALL)
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())
    grown, whole = LeRobotDataset(out), LeRobotDataset(alone)
    for i in range(4):
        a, b = grown.episode(i), whole.episode(i)
        assert (
            (a.actions == b.actions).all() and (a.frames["front"] == b.frames["front"]).all() and a.instruction == b.instruction
        )


def test_a_killed_recording_goes_on(tmp_path):
    out = tmp_path / "set"
    code = f"from armillary.data.record import record; record('tabletop', {str(out)!r}, 100000, workers=1, frames=2, size=16, seed=7)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if (out / ".pieces" / "episode_000003" / "episode.json").is_file():
                break
            time.sleep(0.05)
        else:
            pytest.fail("nothing was recorded in 30 s")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    made = len(list((out / ".pieces").glob("episode_*")))
    before = {p: p.stat().st_mtime_ns for p in out.glob(".pieces/episode_00000[0-2]/*")}
    with pytest.raises(BadInput, match="stopped before its first files"):
        LeRobotDataset(out)
    record("tabletop", out, made + 1, workers=1, frames=2, size=16, seed=7)
    data = LeRobotDataset(out)
    assert len(data) == made + 1 and before and not (out / ".pieces").exists()
    sim = sims.make("tabletop")
    for i in (0, made):
        assert (data.episode(i, ()).actions == sims.record_episode(sim, 7 + i, "mix", 2, ("front",), 16).actions).all()


def test_an_interrupt_leaves_what_is_whole(tmp_path, monkeypatch):
    from armillary.data import record as room

    real = room._record_one

    def stop_at_two(root, index, job):
        if index == 2:
            raise KeyboardInterrupt
        return real(root, index, job)

    monkeypatch.setattr(room, "_record_one", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        record("tabletop", tmp_path / "set", 5, workers=1, **SMALL)
    assert len(LeRobotDataset(tmp_path / "set")) == 2


def test_bad_input_is_worded(alone, tmp_path):
    for wrong, words in [
        ({"policy": "expret"}, "Did you mean 'expert'"),
        ({"cameras": ("top",)}, "no camera 'top'"),
        ({"size": 33}, "even size"),
        ({"frames": 0}, "at least 1"),
        ({"workers": 0}, "workers"),
    ]:
        with pytest.raises(BadInput, match=words):
            record("tabletop", tmp_path / "set", 1, **{**SMALL, **wrong})
    with pytest.raises(BadInput, match="simulator"):
        record("kitchen", tmp_path / "set", 1)
    with pytest.raises(BadInput, match=r"other settings.*frames"):
        record("tabletop", alone, 5, **{**SMALL, "frames": 4})
