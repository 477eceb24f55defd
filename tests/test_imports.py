"""The house rules that a machine can check: import order, no pickle, a light import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "armillary"
# Low to high. A room imports only rooms on lines above its own.
LINES = [
    "types errors",
    "presets progress",
    "store",
    "media",
    "nn features guard curate shards sims",
    "text tokenizers conditioning worlds parallel",
    "data rollout",
    "train evaluate serve",
    "recipes",
    "verbs",
    "cli",
]
LEVEL = {room: i for i, line in enumerate(LINES) for room in line.split()}
NOT_ROOMS = ("__init__.py", "__main__.py", "py.typed", "__pycache__", "_weights")
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            names = [f"{node.module}.{a.name}" if node.module == "armillary" else node.module for a in node.names]
        else:
            continue
        for name in names:
            if name and name.startswith("armillary."):
                yield name.split(".")[1], node.lineno


def test_every_room_is_on_a_line():
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.name not in NOT_ROOMS}
    assert rooms == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_import_order(path):
    if path in (PACKAGE / "__init__.py", PACKAGE / "__main__.py"):
        return
    own = room_of(path)
    for room, line in imported_rooms(ast.parse(path.read_text())):
        if room not in LEVEL:
            assert room in ("__version__",), f"{path}:{line} imports an unknown room {room}"
            continue
        assert room == own or LEVEL[room] < LEVEL[own], f"{path.relative_to(ROOT)}:{line}: {own} may not import {room}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_pickle_and_no_eval(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("pickle.load", "pickle.loads", "eval", "exec", "yaml.load", "os.system"), (
                f"{path}:{node.lineno}: {name}"
            )
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert keywords.get("shell") != "True", f"{path}:{node.lineno}: shell=True"
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", f"{path}:{node.lineno}: torch.load without weights_only=True"


def test_import_is_light():
    code = (
        "import sys, time, numpy; t = time.perf_counter(); import armillary, armillary.types; s = time.perf_counter() - t; "
        "assert not {'torch', 'av', 'mujoco', 'cv2', 'gymnasium'} & set(sys.modules), 'a heavy module was imported'; print(s)"
    )
    seconds = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert seconds < 0.3, f"import armillary took {seconds:.2f} s beyond numpy"
