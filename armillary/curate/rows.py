"""A clip as a plain record, and back: in the working files as JSON, in the result as rows of `clips.parquet` and `sources.parquet`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, require
from armillary.store import atomic_path
from armillary.types import Clip, Rejection

VERSION = "1"  # of the tables' columns


def clip_to_json(clip: Clip, root: Path) -> dict[str, Any]:
    """A clip as a plain record, its path relative to `root`; the embedding is kept elsewhere."""
    out = {f.name: getattr(clip, f.name) for f in dataclasses.fields(clip) if f.name not in ("embedding", "rejected", "path")}
    out["scores"], out["tags"] = dict(sorted(clip.scores.items())), dict(sorted(clip.tags.items()))
    out["path"] = Path(clip.path).relative_to(root).as_posix() if clip.path else ""
    out["rejected"] = [{"by": r.by, "reason": r.reason, "score": r.score, "threshold": r.threshold} for r in clip.rejected]
    return out


def clip_from_json(data: Mapping[str, Any], root: Path | None = None, vector: Any = None) -> Clip:
    """The inverse of `clip_to_json`.

    Raises:
        BadInput: for a row that is no clip.
    """
    try:
        rest = {k: v for k, v in data.items() if k != "rejected"}
        if root is not None and rest.get("path"):
            rest["path"] = str(root / rest["path"])
        rejected = tuple(Rejection(**r) for r in data["rejected"])
        embedding = None if vector is None else np.asarray(vector, np.float32)
        return Clip(**rest, rejected=rejected, embedding=embedding)
    except (TypeError, KeyError) as error:
        raise BadInput(f"This row is no clip ({error}): {str(data)[:120]}") from error


def status_of(clip: Clip) -> str:
    """`kept`, `error` where the work on it failed, otherwise `rejected`."""
    if not clip.rejected:
        return "kept"
    return "error" if any(r.by == "error" for r in clip.rejected) else "rejected"


def write_clips(path: Path, clips: Sequence[Clip], root: Path) -> None:
    """One row a clip, rejected ones too. `scores` and `tags` are structs with one field for every name that occurs."""
    pa = require("pyarrow", "the tables of curation")
    scores = sorted({n for c in clips for n in c.scores}) or ["motion"]
    tags = sorted({n for c in clips for n in c.tags}) or ["camera"]
    reason = pa.struct([("by", pa.string()), ("reason", pa.string()), ("score", pa.float64()), ("threshold", pa.float64())])
    columns = {
        "clip_id": (pa.string(), [c.id for c in clips]),
        "source": (pa.string(), [printable(c.source) for c in clips]),
        "start_s": (pa.float64(), [c.start for c in clips]),
        "end_s": (pa.float64(), [c.end for c in clips]),
        "start_frame": (pa.int64(), [c.start_frame for c in clips]),
        "end_frame": (pa.int64(), [c.start_frame + c.num_frames for c in clips]),
        "width": (pa.int32(), [c.width for c in clips]),
        "height": (pa.int32(), [c.height for c in clips]),
        "fps": (pa.float64(), [c.fps for c in clips]),
        "status": (pa.string(), [status_of(c) for c in clips]),
        "reason": (pa.string(), ["; ".join(f"{r.by}: {r.reason}" for r in c.rejected) for c in clips]),
        "rejected": (pa.list_(reason), [[dataclasses.asdict(r) for r in c.rejected] for c in clips]),
        "scores": (pa.struct([(n, pa.float64()) for n in scores]), [{n: c.scores.get(n) for n in scores} for c in clips]),
        "camera_motion": (pa.string(), [c.tags.get("camera") for c in clips]),
        "type": (pa.string(), [c.tags.get("type") for c in clips]),
        "topic": (pa.string(), [c.tags.get("topic") for c in clips]),
        "caption": (pa.string(), [c.caption for c in clips]),
        "caption_source": (pa.string(), [c.tags.get("caption_source") for c in clips]),
        "duplicate_of": (pa.string(), [c.tags.get("duplicate_of") for c in clips]),
        "tags": (pa.struct([(n, pa.string()) for n in tags]), [{n: c.tags.get(n) for n in tags} for c in clips]),
        "path": (pa.string(), [Path(c.path).relative_to(root).as_posix() if c.path else "" for c in clips]),
    }
    _write(path, columns)


def read_clips(path: Path, root: Path) -> list[Clip]:
    """The clips that `write_clips` wrote, with paths that can be opened.

    Raises:
        BadInput: for a file that is no such table.
    """
    return [_clip(row, root) for row in read_table(path)]


def _clip(row: Mapping[str, Any], root: Path) -> Clip:
    try:
        return Clip(
            id=row["clip_id"],
            source=row["source"],
            start=row["start_s"],
            end=row["end_s"],
            start_frame=row["start_frame"],
            num_frames=row["end_frame"] - row["start_frame"],
            path=str(root / row["path"]) if row["path"] else "",
            width=row["width"],
            height=row["height"],
            fps=row["fps"],
            scores={k: v for k, v in row["scores"].items() if v is not None},
            tags={k: v for k, v in row["tags"].items() if v is not None},
            caption=row["caption"],
            rejected=tuple(Rejection(**r) for r in row["rejected"]),
        )
    except (TypeError, KeyError) as error:
        raise BadInput(f"This row is no clip ({error}): {str(row)[:120]}") from error


SOURCE_COLUMNS = ("source", "status", "kind", "reason", "sha256", "codec")


def write_sources(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row an input: `status` is `ok`, `damaged` (used in part), `duplicate` (of another file, byte by byte) or `error`."""
    pa = require("pyarrow", "the tables of curation")
    columns: dict[str, tuple[Any, list[Any]]] = {
        n: (pa.string(), [printable(r.get(n) or "") for r in rows]) for n in SOURCE_COLUMNS
    }
    columns |= {n: (pa.float64(), [r.get(n) for r in rows]) for n in ("duration_s", "fps")}
    columns |= {n: (pa.int64(), [r.get(n) for r in rows]) for n in ("frames", "width", "height")}
    _write(path, columns)


def printable(text: str) -> str:
    """File names that are no valid Unicode keep their odd bytes as escapes, so that every reader can show them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a parquet file.

    Raises:
        BadInput: for what is none.
    """
    pa = require("pyarrow", "the tables of curation")
    pq = require("pyarrow.parquet", "the tables of curation")
    try:
        return pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is no table that can be read: {error}") from error


def _write(path: Path, columns: Mapping[str, tuple[Any, list[Any]]]) -> None:
    pa = require("pyarrow", "the tables of curation")
    pq = require("pyarrow.parquet", "the tables of curation")
    schema = pa.schema([(n, t) for n, (t, _) in columns.items()], {"armillary": json.dumps({"version": VERSION})})
    table = pa.Table.from_arrays([pa.array(v, t) for t, v in columns.values()], schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
