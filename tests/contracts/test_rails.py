"""Every entry of `guard.RAILS`: named as in the table, answers with a finding, touches nothing, and fails closed inside a gate."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.guard import RAILS, Finding, Gate
from armillary.guard.endpoint import EndpointConfig
from armillary.guard.local import LocalConfig
from armillary.guard.rail import FrameRail, PromptRail

PROMPT = ("input", "language", "words", "classifier", "endpoint", "local")


class NoFace:
    name, version = "none", "0"

    def detect(self, picture):
        return []


def build(name):
    if name == "language":
        return RAILS[name](lambda word: True)
    if name == "endpoint":
        return RAILS[name](
            EndpointConfig("http://127.0.0.1:9", "m"), lambda *_: b'{"choices": [{"message": {"content": "safe"}}]}'
        )
    if name == "local":
        return RAILS[name](LocalConfig("g"), lambda _: "safe")
    return RAILS[name](NoFace()) if name == "faces" else RAILS[name]()


def test_table_holds_every_rail_of_the_default_gate():
    from armillary.guard import default_gate

    gate = default_gate(endpoint=EndpointConfig("http://127.0.0.1:9", "m"), local=LocalConfig("g"))
    assert {r.name for r in (*gate.before, *gate.after)} == set(RAILS)


@pytest.mark.parametrize("name", sorted(RAILS))
def test_contract(name):
    rail = build(name)
    assert rail.name == name and isinstance(rail.version, str) and isinstance(rail.first, bool)
    if name in PROMPT:
        assert isinstance(rail, PromptRail)
        one, two = (rail.check("A robot arm places a red cube on a blue plate.") for _ in range(2))
        assert isinstance(one, Finding) and not one.blocked and one.reason
        assert (one.blocked, one.score, one.reason) == (two.blocked, two.score, two.reason)
    else:
        assert isinstance(rail, FrameRail)
        frames = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), np.uint8)
        frames[1:] = frames[:1]
        frames[2, 3, 4] = 255 - frames[2, 3, 4]
        before = frames.copy()
        finding = rail.check(frames, 10.0)
        assert isinstance(finding, Finding) and not finding.blocked
        assert np.array_equal(frames, before)


@pytest.mark.parametrize("name", sorted(RAILS))
def test_a_dying_rail_blocks(name, monkeypatch):
    rail = build(name)

    def die(*_):
        raise OSError("the weights are gone")

    monkeypatch.setattr(rail, "check", die, raising=False)
    if name in PROMPT:
        verdicts = Gate(before=(rail,)).check_prompt("A red cube.")
    else:
        verdicts, shown = Gate(after=(rail,)).check_frames(np.full((3, 8, 8, 3), 90, np.uint8), 10.0)
        assert not shown.any(), "what was refused must not be shown"
    assert [(v.state, v.blocked) for v in verdicts] == [("failed", True)] and "the weights are gone" in verdicts[0].reason
