"""`guard check`: one prompt, a file of prompts, a video; the same verdicts as the gate gives, on the command line too."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from armillary import guard, media
from armillary.cli.main import run
from armillary.errors import BadInput
from armillary.guard.checks import COLUMNS

GOOD, BAD = "A robot arm places a red cube on a blue plate.", "A masked man stabs a woman in an alley until she is dead."


def table(path, rows, columns=("id", "text")):
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([columns, *rows])
    return path


def test_a_text_on_the_command_line(capsys):
    assert run(["guard", "check", GOOD, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["blocked"] is False and told["rail"] == "" and 0 <= told["score"] <= 1 and told["milliseconds"] > 0
    assert run(["guard", "check", BAD, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["blocked"] is True and told["rail"] == "words" and told["category"] == "violence" and told["reason"]
    assert [v["rail"] for v in told["verdicts"]] == ["input", "language", "words", "classifier"]


def test_a_file_of_prompts_and_the_gate_agree(tmp_path, capsys):
    texts = [
        GOOD,
        BAD,
        "",
        "Ein Mann geht durch die Stadt und isst einen Apfel.",
        'with "quotes",\nand a line break, a cup on a table',
    ]
    source, out = table(tmp_path / "in.csv", list(enumerate(texts))), tmp_path / "out.csv"
    assert run(["guard", "check", "--prompts", str(source), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(out.open()))
    assert tuple(rows[0]) == COLUMNS and [r["id"] for r in rows] == list("01234")
    gate = guard.default_gate()
    direct = [any(v.blocked for v in gate.check_prompt(t)) for t in texts]
    assert [r["blocked"] for r in rows] == [str(b).lower() for b in direct] == ["false", "true", "true", "true", "false"]
    assert (told["rows"], told["blocked"], told["failed"]) == (5, 3, 0)
    assert rows[2]["rail"] == "input" and rows[3]["category"] == "unsupported_language"
    assert all(float(r["milliseconds"]) > 0 and r["reason"] for r in rows)


def test_broken_rows_are_refused_and_the_rest_goes_on(tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b"id,text\n1\n2,caf\xe9 \xff\n3," + GOOD.encode() + b"\n4," + b"x" * 200_000 + b"\n")
    guard.check_file(source, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(r["id"], r["blocked"]) for r in rows] == [("1", "true"), ("2", "true"), ("3", "false"), ("4", "true")]
    assert "limit" in rows[3]["reason"]


def test_a_rail_that_cannot_run_refuses_every_row_and_is_counted(tmp_path):
    gate = guard.default_gate(weights=tmp_path / "nowhere")
    told = guard.check_file(table(tmp_path / "in.csv", [("a", GOOD)]), tmp_path / "out.csv", gate)
    assert told["failed"] == told["blocked"] == 1


def test_bad_files(tmp_path):
    with pytest.raises(BadInput, match="columns id and text"):
        guard.check_file(table(tmp_path / "in.csv", [("a", "b")], ("name", "prompt")), tmp_path / "out.csv")
    with pytest.raises(BadInput, match="itself"):
        guard.check_file(tmp_path / "in.csv", tmp_path / "in.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_video_is_written_sealed_and_verified(tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), np.uint8)
    media.write_video(tmp_path / "a.mp4", frames, 10.0)
    gate = guard.default_gate(faces="off")
    told = guard.check(None, tmp_path / "a.mp4", out=tmp_path / "b.mp4", gate=gate)
    assert not told["blocked"] and any("content not checked" in n for n in told["notes"])
    assert run(["verify", str(tmp_path / "b.mp4"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    data = bytearray((tmp_path / "b.mp4").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.mp4").write_bytes(data)
    assert run(["verify", str(tmp_path / "b.mp4")]) == 1
    black = guard.check(None, np.zeros_like(frames), out=tmp_path / "c.mp4", gate=gate)
    assert black["blocked"] and black["rail"] == "technical" and not (tmp_path / "c.mp4").exists()
