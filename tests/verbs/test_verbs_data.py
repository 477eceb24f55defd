"""`armillary data ...`: exit codes, one JSON object, and a page that knows every kind of defect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from armillary import verbs
from armillary.cli.main import run
from armillary.data.defects.validate import KINDS
from armillary.data.lerobot.write import LeRobotWriter
from armillary.types import ActionSpec, Episode

pytest.importorskip("pyarrow")
SPEC = ActionSpec(("x",), ("1",), "world", 10.0, "delta", (-1.0,), (1.0,))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    with LeRobotWriter(folder, 10.0, SPEC, ("front",), state_names=("s",)) as writer:
        for i in range(2):
            frames, numbers = np.full((9, 32, 48, 3), 60 + 90 * i, np.uint8), np.full((9, 1), i / 2, np.float32)
            writer.add(Episode(f"e{i}", 10.0, {"front": frames}, numbers, numbers, SPEC, ("s",), instruction="go"))
    return folder


def asked(capsys, *arguments):
    code = run([*map(str, arguments), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def test_info(root, capsys):
    code, told = asked(capsys, "data", "info", root)
    assert code == 0 and (told["version"], told["episodes"], told["frames"], told["fps"]) == ("3.0", 2, 18, 10.0)
    camera = told["cameras"][0]
    assert (camera["name"], camera["width"], camera["height"], camera["codec"]) == ("front", 48, 32, "h264")
    assert {f["name"]: f["shape"] for f in told["features"]}["action"] == [1]
    assert told["tasks"] == {"number": 1, "first": ["go"]} and told["statistics"]["action"]["mean"] == [0.25]


def test_validate_ends_with_one_when_something_is_wrong(root, capsys):
    code, told = asked(capsys, "data", "validate", root)
    assert code == 0 and told["ok"] and told["defects"] == []
    code, told = asked(capsys, "data", "validate", root, "--window", "10")
    assert code == 1 and not told["ok"] and [set(d) for d in told["defects"]] == [{"kind", "where", "meaning"}] * 2
    assert run(["data", "validate", str(root / "nothing")]) == 2
    assert verbs.data_validate(root, quick=True)[1] == 0


def test_convert(root, tmp_path, capsys):
    code, told = asked(capsys, "data", "convert", root, tmp_path / "out", "--to", "cosmos")
    assert code == 0 and told["episodes"] == 2 and told["videos copied"] == 2 and Path(told["out"]).is_dir()
    code, told = asked(capsys, "data", "info", tmp_path / "out")
    assert code == 0 and (told["what"], told["frames"], told["cameras"][0]["name"]) == ("cosmos", 18, "front")
    with pytest.raises(SystemExit, match="2"):
        run(["data", "convert", str(root), str(tmp_path / "other"), "--to", "zip"])


def test_the_page_lists_every_kind():
    page = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
    assert [k for k in KINDS if f"| `{k}` |" not in page] == []
