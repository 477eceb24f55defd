"""Each rail of the gate that ships, broken in each way there is: always refused, and the refusal names the rail."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from armillary import guard
from armillary.errors import Blocked
from armillary.guard import RAILS, Finding, Timeouts
from armillary.guard.endpoint import EndpointConfig
from armillary.guard.local import LocalConfig

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)


def answer(value):
    def check(*_):
        if isinstance(value, BaseException):
            raise value
        return value() if callable(value) else value

    return check


FAULTS = {
    "an error": RuntimeError("boom"), "out of memory": MemoryError(), "killed": SystemExit(137), "interrupted": KeyboardInterrupt(),
    "hung": lambda: time.sleep(5), "nothing": None, "a word": "safe", "a bool": False, "blocked is no bool": Finding(None),  # type: ignore
    "score NaN": Finding(False, "", float("nan")), "score 7": Finding(False, "", 7.0),
    "frames of another shape": Finding(False, frames=np.zeros((1, 2, 2, 3), np.uint8)),
}  # fmt: skip


class NoFace:
    name, version = "none", "0"

    def detect(self, picture):
        return []


def ask(gate, name):
    if name in [r.name for r in gate.before]:
        return gate.check_prompt("A robot arm places a red cube on a blue plate.")
    return gate.check_frames(FRAMES, 10.0)[0]


def whole():
    endpoint = EndpointConfig("http://127.0.0.1:9", "m")
    return guard.default_gate(
        endpoint=endpoint,
        send=lambda *_: b'{"choices": [{"message": {"content": "safe"}}]}',
        detector=NoFace(),
        local=LocalConfig("g"),
        say=lambda _: "safe",
    )


def test_unbroken_it_passes():
    gate = whole()
    assert not any(v.blocked for name in ("input", "faces") for v in ask(gate, name))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", RAILS)
def test_every_fault_of_every_rail_refuses(name, fault, monkeypatch):
    gate = whole()
    gate.timeouts = Timeouts(prompt=0.3, frames=0.3, per_frame=0.0) if fault == "hung" else Timeouts()
    if fault == "hung":
        for rail in (*gate.before, *gate.after):  # the others answer at once, however busy the machine is
            monkeypatch.setattr(rail, "check", answer(Finding(False, "fine")))
    rail = next(r for r in (*gate.before, *gate.after) if r.name == name)
    monkeypatch.setattr(rail, "check", answer(FAULTS[fault]))
    verdicts = ask(gate, name)
    broken = next(v for v in verdicts if v.rail == name)
    assert broken.state == "failed" and broken.blocked and broken.reason
    with pytest.raises(Blocked, match=name):
        guard.raise_if_blocked(verdicts)


def test_a_missing_part_of_each_rail_that_has_one_refuses(tmp_path, monkeypatch):
    missing = guard.default_gate(weights=tmp_path / "gone")
    assert {v.rail for v in missing.check_prompt("a cup on a table") if v.state == "failed"} >= {"language", "classifier"}
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    from armillary.guard import centerface

    centerface._session.cache_clear()
    (faces,) = (v for v in guard.default_gate().check_frames(FRAMES, 10.0)[0] if v.rail == "faces")
    assert faces.state == "failed" and faces.blocked and "install" in faces.reason.lower()


def test_half_an_endpoint_in_the_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("ARMILLARY_GUARD_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="belong together"):
        guard.default_gate()
    monkeypatch.setenv("ARMILLARY_GUARD_MODEL", "m")
    verdict = guard.default_gate().check_prompt("a cup on a table")[-1]
    assert verdict.rail == "endpoint" and verdict.state == "failed" and verdict.blocked


def test_nothing_is_dreamed_or_written_when_a_rail_dies(tiny, tmp_path, monkeypatch):
    from armillary.rollout.generate import generate

    gate = guard.default_gate(detector=NoFace())
    start = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    monkeypatch.setattr(gate.after[-1], "check", answer(RuntimeError("boom")))
    with pytest.raises(Blocked, match="faces"):
        generate(tiny["diffusion"], frames=start, num_frames=3, actions="zeros", gate=gate, out=tmp_path / "a.mp4")
    monkeypatch.setattr(gate.before[-1], "check", answer(RuntimeError("boom")))
    with pytest.raises(Blocked, match="classifier"):
        generate(tiny["diffusion"], "a cube", frames=start, num_frames=3, actions="zeros", gate=gate, out=tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


RANKS = """
    import sys, json, datetime
    import torch.distributed as dist
    from armillary.guard import Finding, Gate
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2, timeout=datetime.timedelta(seconds=30))
    class Rail:
        name, version, first = "scripted", "1", False
        def check(self, text):
            if text == "dies" and rank == 1:
                raise RuntimeError("boom")
            return Finding(text == "bad" and rank == 0)
    told = [[(v.rail, v.blocked) for v in Gate(before=(Rail(),)).check_prompt(t)] for t in ("good", "bad", "dies")]
    print(json.dumps([any(b for _, b in v) for v in told] + [told[1][-1][0]]))
    dist.destroy_process_group()
"""


def test_ranks_agree(tmp_path):
    code, meet = textwrap.dedent(RANKS), str(tmp_path / "meet")
    ranks = [
        subprocess.Popen([sys.executable, "-c", code, str(r), meet], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    told = [process.communicate(timeout=120) for process in ranks]
    assert [out.strip().splitlines()[-1:] for out, _ in told] == [['[false, true, true, "ranks"]']] * 2, told
