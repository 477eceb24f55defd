"""One source file, from its bytes to a record on disk: what a worker does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.analyse import Segment, analyse
from armillary.curate.caption import Caption
from armillary.curate.config import CurateConfig
from armillary.curate.cut import Cut
from armillary.curate.embed import embed, phash
from armillary.curate.filters import FILTERS
from armillary.curate.split import split
from armillary.curate.stage import Context, Stage
from armillary.errors import BadInput, Failed, lookup, require
from armillary.media import MediaError, Reader
from armillary.presets import from_json, to_json
from armillary.store import read_json, write_json
from armillary.types import Clip, Rejection

READY = "ready"  # a worker's first line
FORMAT = 1  # of a record; a change of what stages do raises it, so that old records are not taken for new ones


def fingerprint(config: CurateConfig) -> str:
    """Eight hex digits of all settings that change what one source gives; how it is run, and dedup, are left out."""
    bare = dataclasses.replace(config, workers=0, timeout=0.0, retries=0, max_error_rate=0.0, dedup=CurateConfig().dedup)
    text = json.dumps([FORMAT, to_json(bare)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def stages_of(config: CurateConfig) -> list[Stage]:
    """Filters in the config's order, then the cut and the caption."""
    stages: list[Stage] = [lookup(FILTERS, name, "filter")(getattr(config, name)) for name in config.filters]
    if config.write:
        stages.append(Cut(config.cut))
    return [*stages, Caption(config.caption)]


def record_path(work: Path, content: str) -> Path:
    return work / "records" / f"{content[:32]}.json"


def process(path: Path, name: str, content: str, work: Path, config: CurateConfig) -> dict[str, Any]:
    """Curate one file and write its record; the record is also returned.

    Args:
        name: how the file is called in records. content: sha256 of its bytes.
        work: folder of this config's records and clips.

    Raises:
        MediaError: the file cannot be used at all.
        Failed: it took too long.
    """
    require("cv2", "curation").setNumThreads(1)
    stages = stages_of(config)
    deadline = time.monotonic() + config.timeout if config.timeout > 0 else None
    clips: list[Clip] = []
    hashes: dict[str, list[str]] = {}
    problems: list[dict[str, Any]] = []
    with Reader(path, config.limits, fast=config.analyse.fast) as reader:
        for segment in analyse(reader, config.analyse, config.shots, deadline):
            context = Context(segment, path, name, content, work / "clips")
            found = split(segment, config.split, content, name)
            for stage in stages:
                found = stage.process(found, context)
            for clip in found:
                clip, prints = _fingerprinted(clip, segment)
                hashes[clip.id] = prints
                clips.append(clip)
        info, lost, errors = reader.info, reader.lost, list(reader.errors)
    if lost:
        why = f"{lost} frames or more do not decode{f' ({errors[0]})' if errors else ''}; what lies between them was used"
        problems.append({"kind": "decode_error", "reason": why})
    record = {
        "format": FORMAT,
        "content": content,
        "info": {**to_json(info), "path": name},
        "clips": [clip_to_json(c, work) for c in clips],
        "vectors": {c.id: [float(x) for x in c.embedding] for c in clips if c.embedding is not None},
        "hashes": hashes,
        "problems": problems,
    }
    write_json(record_path(work, content), record)
    return record


def _fingerprinted(clip: Clip, segment: Segment) -> tuple[Clip, list[str]]:
    looks = segment.looks_within(clip.start, clip.end)
    if clip.rejected or not looks:
        return clip, []
    pictures = [k.rgb for k in looks]
    return clip.replace(embedding=embed(pictures)), [f"{phash(p):016x}" for p in pictures]


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


def run_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does with one task: `{}` when the record was written, or the row for `errors.jsonl` without its source.

    Every failure becomes a row here; only what kills the process does not come back.
    """
    try:
        config = from_json(CurateConfig, task["config"])
        process(Path(task["path"]), task["name"], task["content"], Path(task["work"]), config)
    except MediaError as error:
        return {"kind": error.kind, "reason": str(error)}
    except Failed as error:
        return {"kind": "timeout" if "longer than allowed" in str(error) else "failed", "reason": str(error)}
    except BadInput as error:
        return {"kind": "bad_input", "reason": str(error)}
    except MemoryError:
        return {"kind": "limit_exceeded", "reason": "out of memory"}
    except Exception as error:  # a bug met on one file must not end the run over all the others; the row carries it
        return {"kind": "internal", "reason": f"{type(error).__name__}: {error}"}
    return {}


def load_record(work: Path, content: str) -> dict[str, Any] | None:
    """A finished record, or None when there is none or it does not fit (another format, another file, clips gone)."""
    path = record_path(work, content)
    if not path.is_file():
        return None
    try:
        record = read_json(path)
    except BadInput:
        return None  # a damaged record is made anew
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("content") != content:
        return None
    whole = all((work / c["path"]).is_file() for c in record["clips"] if c["path"])
    return record if whole else None
