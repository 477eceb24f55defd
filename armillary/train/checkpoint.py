"""Checkpoints of a run: `checkpoints/step-000100/`, whole or absent, hashed, and without any pickle.

A folder holds one safetensors file for each part (model, optimizer, average) and `checkpoint.json` with the step, what else the loop
must remember, the sha256 of every part, and a sha256 of itself. A folder that a kill tore or a disk changed is therefore noticed, and
the one before it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from armillary.errors import BadInput, Failed
from armillary.progress import say
from armillary.store import atomic_dir, read_json, sha256_file, write_text

FORMAT = 1
NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """Args: `step` finished steps; `parts` tensors by part and name; `facts` what else was remembered."""

    path: Path
    step: int
    parts: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def save_checkpoint(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any], keep: int
) -> Path:
    """Write `folder/step-<step>` and remove all but the newest `keep`.

    Raises:
        BadInput: the disk is full or may not be written. The older checkpoints are still there then.
        Failed: a tensor could not be written for another reason.
    """
    path = folder / f"step-{step:06d}"
    with atomic_dir(path) as temporary:
        hashes = {}
        for part, tensors in parts.items():
            file = temporary / f"{part}.safetensors"
            try:
                save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, file)
            except SafetensorError as error:
                raise Failed(
                    f"The checkpoint {path} could not be written ({error}). Older checkpoints are untouched."
                ) from error
            _sync(file)
            hashes[file.name] = sha256_file(file)
        record = {"format": FORMAT, "step": step, "files": hashes, "facts": dict(facts)}
        write_text(temporary / "checkpoint.json", json.dumps(record | {"sha256": _digest(record)}, indent=1) + "\n")
    for old in list_checkpoints(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Newest first. Temporary folders of a killed writer do not count."""
    found = [(int(m[1]), p) for p in folder.glob("step-*") if (m := NAME.fullmatch(p.name))]
    return [p for _, p in sorted(found, reverse=True)]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and check one checkpoint.

    Raises:
        BadInput: it is torn, damaged or of another format; the message says what is wrong.
    """
    record = read_json(path / "checkpoint.json")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise BadInput(f"{path} is not a checkpoint of format {FORMAT}.")
    told = record.pop("sha256", None)
    if told != _digest(record):
        raise BadInput(f"{path}/checkpoint.json was changed: its own sha256 does not fit.")
    parts = {}
    for name, digest in record["files"].items():
        file = path / name
        if not file.is_file():
            raise BadInput(f"{path} lacks {name}.")
        if sha256_file(file) != digest:
            raise BadInput(f"{file} is damaged: its sha256 is not the one that was written.")
        parts[name.removesuffix(".safetensors")] = load_file(file)
    return Checkpoint(path, record["step"], parts, record["facts"])


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest one that is whole; each damaged one is named on stderr and passed over."""
    for stale in folder.glob(".step-*"):
        shutil.rmtree(stale, ignore_errors=True)
    for path in list_checkpoints(folder):
        try:
            return load_checkpoint(path)
        except BadInput as error:
            say(f"warning: passing over a damaged checkpoint. {error}")
    return None


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Down to the disk before the old ones may go."""
    with path.open("rb+") as f:
        os.fsync(f.fileno())
