"""The command line's contract: exit codes, one JSON object on stdout, help with an example."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from armillary.cli.main import run, show
from armillary.verbs import VERBS


def invoke(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        code = run(list(arguments))
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 0
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_an_example(capsys, name):
    code, out, _ = invoke(capsys, *name.split(), "--help")
    assert code == 0
    assert f"armillary {name}" in out and "Example" in out


def test_listing_and_version(capsys):
    code, out, _ = invoke(capsys)
    assert code == 0 and all(name in out for name in VERBS)
    assert invoke(capsys, "--version")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["demmo"], "Did you mean 'demo'"),
        (["sim"], "record"),
        (["train", "frame-c8-tabletopp"], "Did you mean"),
        (["train", "frame-c8-tabletop", "--data", "/nowhere"], "/nowhere"),
        (["generate", "tabletoq", "--prompt", "a"], "No world named"),
        (["guard"], "check"),
        (["guard", "check"], "Nothing to look at"),
        (["guard", "check", "--prompts", "/nowhere.csv", "--out", "x.csv"], "/nowhere.csv"),
        (["info", "nothing-like-this"], "No checkpoint"),
        (["generate", "--frames", "many"], ""),
    ],
)
def test_bad_input_ends_with_two(capsys, arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = invoke(capsys, *arguments)
    assert code == 2
    assert word in err
    assert "Traceback" not in err
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_json_is_one_object_even_for_errors():
    done = subprocess.run([sys.executable, "-m", "armillary", "info", "nothing", "--json"], capture_output=True, text=True)
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2
    done = subprocess.run([sys.executable, "-m", "armillary", "info", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recipes" in json.loads(done.stdout)


def test_no_permission_is_bad_input(capsys, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("x")
    code, _, err = invoke(capsys, "generate", "--prompt", "a", "--out", str(blocker / "dream.mp4"))
    assert code == 2 and "Traceback" not in err


def test_a_family_of_verbs_lists_its_own(capsys):
    assert run(["data", "--help"]) == 0
    told = capsys.readouterr().out
    assert {line.split()[1] for line in told.splitlines() if line.startswith("  data ")} == {"info", "validate", "convert"}
    assert "curate" not in told


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "armillary", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_a_report_fits_a_terminal(capsys):
    estimate = {"mean": 29.0, "low": 28.7, "high": 29.3, "n": 40}
    nothing = {"mean": None, "low": None, "high": None}
    show({
        "psnr": {"dream": {"1": estimate, "16": estimate | {"mean": 23.5}}},
        "objects": {"8": {"n": 0, "lost": nothing, "error_px": 0.5}},
        "curves": {"psnr": [1.0] * 500},
        "per_episode": [{"id": i} for i in range(500)],
        "rows": [{"name": "a", "MB": 1.5}],
        "out": "report.html",
    })  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "psnr:", "  dream: 1: 29 (28.7 to 29.3)  16: 23.5 (28.7 to 29.3)", "objects:", "  8: n 0  error_px 0.5",
        "curves: with --json", "per_episode: with --json", "rows:", "  - name a  MB 1.5", "out: report.html",
    ]  # fmt: skip
