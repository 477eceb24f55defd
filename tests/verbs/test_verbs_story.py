"""Stages in a row: done once, resumed after a kill, not mixed with another story."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from armillary.errors import BadInput
from armillary.verbs._story import Stage, Story


def stages(log: list[str]) -> list[Stage]:
    def one(story):
        log.append("one")
        return {"n": story.settings["n"]}

    def two(story):
        log.append("two")
        return {"n": story.results["one"]["n"] * 2}

    return [Stage("one", "first", one, 1.0), Stage("two", "second", two, 1.0)]


def test_each_stage_runs_once(tmp_path):
    log: list[str] = []
    for _ in range(2):
        story = Story(tmp_path / "s", {"n": 3})
        story.tell(stages(log))
        assert story.results["two"] == {"n": 6}
    assert log == ["one", "two"]


def test_a_stage_that_failed_runs_again_and_the_others_do_not(tmp_path):
    log: list[str] = []
    broken = stages(log)

    def fail(story):
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        Story(tmp_path, {"n": 1}).tell([broken[0], Stage("two", "second", fail, 1.0)])
    assert not (tmp_path / "stages" / "two.json").exists()
    Story(tmp_path, {"n": 1}).tell(broken)
    assert log == ["one", "two"]


def test_other_settings_want_another_folder(tmp_path):
    Story(tmp_path / "s", {"n": 1}).tell(stages([]))
    with pytest.raises(BadInput, match=r"other settings .n."):
        Story(tmp_path / "s", {"n": 2}).tell(stages([]))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        Story(tmp_path / "full", {"n": 1}).tell(stages([]))
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_killed_in_the_middle_goes_on_to_the_same_numbers(tmp_path):
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from armillary.verbs._story import Stage, Story

        def first(story):
            return {"value": 7}

        def second(story):
            if sys.argv[2] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return {"value": story.results["first"]["value"] + 1}

        Story(Path(sys.argv[1]), {}).tell([Stage("first", "a", first, 1), Stage("second", "b", second, 1)])
    """)

    def go(folder, how):
        return subprocess.run([sys.executable, "-c", code, str(folder), how], capture_output=True).returncode

    assert go(tmp_path / "killed", "die") == -signal.SIGKILL
    assert go(tmp_path / "killed", "live") == 0
    assert go(tmp_path / "whole", "live") == 0
    results = [
        [json.loads((tmp_path / run / "stages" / f"{s}.json").read_text())["result"] for s in ("first", "second")]
        for run in ("killed", "whole")
    ]
    assert results[0] == results[1]
    assert os.listdir(tmp_path / "killed" / "stages")
