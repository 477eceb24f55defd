"""Writes that are whole or absent: a temporary neighbour, fsync, rename. A full disk or a kill leaves the old file or none."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def _worded(error: OSError, path: Path) -> BadInput:
    if error.errno == errno.ENOSPC:
        return BadInput(f"The disk that holds {path.parent} is full; nothing was written to {path.name}.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInput(f"No permission to write {path}.")
    if error.errno == errno.ENOTDIR:
        return BadInput(f"{path} cannot be written: a part of that path is a file.")
    return BadInput(f"{path} could not be written: {error.strerror or error}.")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); on leaving without an exception it takes `path`'s place.

    Raises:
        BadInput: no permission or no space, in one sentence.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _worded(error, path) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise _worded(error, path) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on leaving without an exception it replaces `path` (an older one is removed)."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise _worded(error, path) from error
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        old = None
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent)) / "was"
            os.replace(path, old)
        os.replace(temporary, path)
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)
    except OSError as error:
        raise _worded(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> Path:
    from armillary.presets import to_json

    plain = to_json(value)
    try:
        data = json.dumps(plain, indent=1, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name that is no Unicode: its odd bytes stand as escapes
        data = json.dumps(plain, indent=1).encode()
    return write_bytes(path, data + b"\n")


def read_json(path: str | Path) -> Any:
    """Parse a JSON file.

    Raises:
        BadInput: when it is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not readable JSON: {error}") from error


def sha256_file(path: str | Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_joined(hashes: Sequence[str]) -> str:
    """Of several files in order: a single one's own hash, else that of their hashes."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def check_writable(folder: str | Path) -> Path:
    """Make `folder` and make sure a file can be written there, before hours of work are spent.

    Raises:
        BadInput: when it cannot.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own: several processes may try the same folder at once.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".armillary-write-test-") as probe:
            probe.write(b"x")
    except FileExistsError:
        raise BadInput(f"{folder} is a file; an output folder is wanted.") from None
    except OSError as error:
        raise _worded(error, folder / "output") from error
    return folder
