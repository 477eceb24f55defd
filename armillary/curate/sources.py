"""What to curate: files, folders, globs and addresses (`s3://…`, anything fsspec knows) as one list in natural order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from armillary.errors import BadInput

SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .mts .wmv .flv .ogv .3gp .mxf .y4m .gif".split())


def find_sources(sources: Sequence[str | Path], out: str | Path | None = None) -> list[str]:
    """Files, folders (searched through, by suffix), globs and addresses as a list of paths in natural order, each once.

    A folder's symbolic links are followed only where they stay inside it. What lies under `out` is a result and no source.

    Raises:
        BadInput: naming what matches nothing.
    """
    found: dict[str, None] = {}
    for source in sources:
        text = os.fspath(source)
        matches = _remote(text) if "://" in text else [str(p) for p in _local(text, out)]
        if not matches:
            raise BadInput(
                f"Nothing to curate at {text!r}: no such file, no video in that folder, or no match for that pattern."
            )
        found.update(dict.fromkeys(matches))
    if not found:
        raise BadInput("Nothing to curate: no source was given.")
    return sorted(found, key=natural)


def _local(text: str, out: str | Path | None) -> Iterable[Path]:
    path = Path(text)
    if path.is_dir():
        root = path.resolve()
        inside = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not _hidden(p, path) and p.is_file()]
        matches = [p for p in inside if p.resolve().is_relative_to(root)]
        return matches if out is None else [p for p in matches if not p.resolve().is_relative_to(Path(out).resolve())]
    if path.is_file():
        return [path]
    return [Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file()]


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _remote(address: str) -> list[str]:
    """Raises BadInput: an unknown scheme, a missing back end, an address that cannot be listed."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        if any(c in path for c in "*?["):
            names = [n for n in system.glob(path) if system.isfile(n)]
        elif system.isdir(path):
            names = [n for n in system.find(path) if os.path.splitext(n)[1].lower() in SUFFIXES]
        else:
            names = [path] if system.exists(path) else []
        return [str(system.unstrip_protocol(n)) for n in names]
    except ImportError as error:
        raise BadInput(f"{address!r} needs a package that is not installed: {error}.") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{address!r} cannot be listed: {error}.") from error


def natural(path: str | Path) -> list[Any]:
    """Sorts `clip2` before `clip10`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]
