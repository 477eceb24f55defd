"""Writes are whole or absent; checkpoint folders are strict; names find folders."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from armillary import store
from armillary.errors import BadInput


@dataclass(frozen=True)
class Config:
    width: int = 3


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path):
    path = store.write_text(tmp_path / "a" / "x.txt", "old")
    with pytest.raises(ZeroDivisionError), store.atomic_path(path) as temporary:
        temporary.write_text("new, half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    store.write_text(path, "new")
    assert path.read_text() == "new" and (path.stat().st_mode & 0o777) == 0o644


def test_an_error_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "run"
    with store.atomic_dir(folder) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(KeyboardInterrupt), store.atomic_dir(folder) as temporary:
        (temporary / "b").write_text("2")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "a"]
    with store.atomic_dir(folder) as temporary:
        (temporary / "b").write_text("2")
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "b"]


def test_killed_between_writes_leaves_a_whole_file(tmp_path):
    """A process rewrites one file and one folder without end; whenever it is killed, both are of one piece."""
    code = (
        "import sys\nfrom armillary import store\n"
        "for i in range(10**9):\n"
        "    store.write_text(sys.argv[1] + '/file', str(i) * 20000)\n"
        "    with store.atomic_dir(sys.argv[1] + '/folder') as t:\n"
        "        [(t / str(k)).write_text(str(i)) for k in range(5)]\n"
    )
    for wait in (0.0, 0.013, 0.04):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        began = time.monotonic()
        first = (tmp_path / "file").read_bytes() if (tmp_path / "file").exists() else b""
        while time.monotonic() - began < 30 and not (
            (tmp_path / "folder" / "4").exists() and (tmp_path / "file").read_bytes() != first
        ):
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = (tmp_path / "file").read_text()
        one = content[: len(content) // 20000]
        assert one and content == one * 20000
        if (tmp_path / "folder").exists():  # between two renames there is, for a moment, only the older one under another name
            assert (
                len({p.read_text() for p in (tmp_path / "folder").iterdir()}) == 1
                and len(list((tmp_path / "folder").iterdir())) == 5
            )


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "full"), (errno.EACCES, "No permission"), (errno.EROFS, "No permission")]
)
def test_a_disk_that_refuses_is_said_in_a_sentence(tmp_path, monkeypatch, code, words):
    path = store.write_text(tmp_path / "x.txt", "old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(BadInput, match=words):
        store.write_text(path, "new")
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(BadInput, match=words), store.atomic_dir(tmp_path / "run") as temporary:
        (temporary / "a").write_text("1")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_real_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    path = store.write_bytes(tmp_path / "x", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(BadInput, match="could not be written"):
            store.write_bytes(path, b"n" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(BadInput, match="No permission"):
        store.write_text(tmp_path / "x", "a")
    with pytest.raises(BadInput, match="No permission"):
        store.check_writable(tmp_path)


def test_a_file_where_a_folder_is_wanted(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        store.check_writable(tmp_path / "file")
    with pytest.raises(BadInput, match=r"cannot be written|could not be written"):
        store.write_text(tmp_path / "file" / "x", "a")
    assert store.check_writable(tmp_path / "a" / "b").is_dir() and not list((tmp_path / "a" / "b").iterdir())


def test_json_that_is_none(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        store.read_json(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xff{")
    with pytest.raises(BadInput, match="not readable JSON"):
        store.read_json(tmp_path / "x")


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return store.save_folder(
        tmp_path / "model", family="world", config=Config(5), tensors=model.state_dict(), extra={"setting": {"fps": 5}}
    )


def test_folder_goes_and_comes_back(folder):
    found = store.load_folder(folder, "world")
    assert found.config == {"kind": "Config", "width": 5} and found.extra == {"setting": {"fps": 5}} and len(found.sha256) == 64
    torch.manual_seed(0)
    model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    found.load_into(twin)
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(4, 2), "1 of another shape .first: weight"),
        (nn.Linear(3, 2, bias=False), "1 unexpected .first: bias"),
        (nn.Sequential(nn.Linear(3, 2)), "2 missing"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, model, words):
    with pytest.raises(BadInput, match=words):
        store.load_folder(folder).load_into(model)


def test_damage_is_noticed(folder):
    weights, config = folder / "model.safetensors", folder / "config.json"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadInput, match="damaged or was exchanged"):
        store.load_folder(folder)
    weights.unlink()
    with pytest.raises(BadInput, match=r"no model\.safetensors"):
        store.load_folder(folder)
    record = json.loads(config.read_text())
    for wrong in ([], {**record, "format": 99}):
        config.write_text(json.dumps(wrong))
        with pytest.raises(BadInput, match="format 1"):
            store.load_folder(folder)
    config.write_text(json.dumps(record))
    with pytest.raises(BadInput, match="holds a world, not a tokenizer"):
        store.load_folder(folder, "tokenizer")
    with pytest.raises(BadInput, match="no checkpoint folder"):
        store.load_folder(folder.parent)


def test_names_find_shipped_folders_and_paths_are_taken_as_they_are(folder, monkeypatch):
    monkeypatch.setenv("ARMILLARY_WEIGHTS", str(folder.parent))
    assert store.find_weights("model") == folder and store.find_weights(folder) == folder
    with pytest.raises(BadInput, match="Did you mean 'model'"):
        store.find_weights("modell", "world")
    (folder.parent / "empty").mkdir()
    with pytest.raises(BadInput, match="exists but is no checkpoint folder"):
        store.find_weights(folder.parent / "empty")
