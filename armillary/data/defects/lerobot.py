"""Checking a LeRobot data set: what `meta/` says, and then its rows and its pictures against that."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from armillary.data.defects.rows import check_rows
from armillary.data.defects.validate import Findings, Health, episodes_named
from armillary.data.defects.videos import check_videos
from armillary.data.lerobot.files import PLACEHOLDERS
from armillary.data.lerobot.read import VERSIONS, LeRobotDataset, read_records
from armillary.errors import BadInput
from armillary.store import read_json

# The placeholders of each format, in `data_path` and `video_path`.
OWN_PLACEHOLDERS = {
    "3": {"chunk_index", "file_index", "video_key"},
    "2": {"episode_chunk", "episode_index", "video_key"},
}


def check_lerobot(root: Path, window: int = 9, decode: bool = True) -> Health:
    """See `defects.validate`."""
    found = Findings()
    data = _open(root, found)
    if data is None:
        return Health(str(root), "LeRobot", "unknown", 0, 0, tuple(found.defects))
    said = str(data.info.get("codebase_version", "none")).lstrip("v")
    records: list[dict[str, Any]] = []
    tasks: dict[int, str] | None = None
    used: set[Path] = set()
    with found.going_on("meta/info.json"):
        _check_templates(data, found)
        _check_features(data, found)
    with found.going_on("meta/episodes"):
        records = _records(data, found)
        _check_video_times(data, records, found)
        data.__dict__["episodes"] = data.placed(records)  # all that can be used, not only those that info.json counts
    if "episodes" not in data.__dict__:
        data.__dict__["episodes"] = records = []
    with found.going_on("meta/info.json"):
        _check_counts(data, records, found)
    with found.going_on("meta/tasks"):
        tasks = _check_tasks(data, found)
    for record in records:
        if record["length"] < window:
            what = f"It has {record['length']} frames, fewer than a window of {window}"
            found.add("short-episode", f"episode {record['episode_index']}", what)
    with found.going_on("data"):
        check_rows(data, tasks, found, used)
    with found.going_on("videos"):
        check_videos(data, found, used, decode)
    with found.going_on("the files"):
        _check_unused(root, used, found)
    return Health(str(root), "LeRobot", said, len(records), sum(r["length"] for r in records), tuple(found.defects))


def _check_video_times(data: LeRobotDataset, records: list[dict[str, Any]], found: Findings) -> None:
    for key in [k for k in data.keys.values() if data.features[k]["dtype"] == "video"] if data.is_v3 else []:
        lacking = [r["episode_index"] for r in records if r.get(f"videos/{key}/from_timestamp") is None]
        if lacking:
            what = f"The table of episodes does not say when {key} of {episodes_named(lacking)} begins"
            found.add("video-times-missing", "meta/episodes", what)


def _open(root: Path, found: Findings) -> LeRobotDataset | None:
    try:
        info = read_json(root / "meta" / "info.json")
    except BadInput as error:
        found.add("info-unreadable", "meta/info.json", str(error))
        return None
    if not isinstance(info, dict):
        found.add("info-unreadable", "meta/info.json", "It is JSON, but no object")
        return None
    version = str(info.get("codebase_version", "")).lstrip("v")
    read_as = version
    if version not in VERSIONS:
        read_as = "3.0" if (root / "meta" / "episodes").is_dir() else "2.1"
        known = ", ".join(f"v{v}" for v in VERSIONS)
        what = f"It says {info.get('codebase_version')!r}; known are {known}. What follows was read as v{read_as}"
        found.add("unknown-version", "meta/info.json", what)
    fps, features = info.get("fps"), info.get("features")
    if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0 < fps < 1e6:
        found.add("info-fields", "meta/info.json", f"fps is {fps!r}, no rate")
        return None
    if not isinstance(features, dict) or not all(
        isinstance(f, dict) and isinstance(f.get("dtype"), str) for f in features.values()
    ):
        found.add("info-fields", "meta/info.json", "`features` is no table of features with a dtype each")
        return None
    chunks = info.get("chunks_size", 1000)
    if not isinstance(chunks, int) or chunks < 1:
        found.add("info-fields", "meta/info.json", f"chunks_size is {chunks!r}")
    try:
        data = LeRobotDataset(root, read_as)
        data.info["chunks_size"] = chunks if isinstance(chunks, int) and chunks > 0 else 1000
        return data
    except BadInput as error:
        found.add("info-unreadable", "meta/info.json", str(error))
        return None


def _check_templates(data: LeRobotDataset, found: Findings) -> None:
    own = OWN_PLACEHOLDERS["3" if data.is_v3 else "2"]
    wanted = ["data_path"] + (["video_path"] if any(f.get("dtype") == "video" for f in data.features.values()) else [])
    for name in wanted:
        template = data.info.get(name)
        if not isinstance(template, str):
            found.add("info-fields", "meta/info.json", f"{name} is {template!r}")
            data.info[name] = None
            continue
        used = set(re.findall(r"\{(\w+)", template))
        if strange := sorted(used - own):
            other = all(s in PLACEHOLDERS for s in strange)
            names = ", ".join("{" + s + "}" for s in strange)
            what = f"{name} has {names}, " + (
                "of another format or writer: understood here, not by LeRobot" if other else "not known"
            )
            found.add("placeholders", f"meta/info.json, {name}", what)
        elif template.startswith("/") or ".." in template:
            found.add("placeholders", f"meta/info.json, {name}", f"{template!r} leads out of the data set")


def _check_features(data: LeRobotDataset, found: Findings) -> None:
    for key, feature in data.features.items():
        names, shape = feature.get("names"), feature.get("shape")
        if not isinstance(shape, list) or not all(isinstance(s, int) and s >= 0 for s in shape):
            found.add("info-fields", f"meta/info.json, {key}", f"The shape is {shape!r}, no list of whole numbers")
            feature["shape"] = []
        elif (
            isinstance(names, list)
            and feature["dtype"] not in ("video", "image")
            and len(shape) == 1
            and len(names) != shape[0]
        ):
            found.add("feature-names", f"meta/info.json, {key}", f"It has {shape[0]} components and {len(names)} names")


def _records(data: LeRobotDataset, found: Findings) -> list[dict[str, Any]]:
    """All entries of episodes that can be used, each number once, in order."""
    raw: list[tuple[str, dict[str, Any]]] = []
    for path in data.episode_files:
        name = path.relative_to(data.root).as_posix()
        try:
            raw += [(name, r) for r in read_records(path)]
        except BadInput as error:
            found.add("table-unreadable", name, f"{error} The episodes it lists are lost to every reader")
    lines = data.root / "meta" / "episodes.jsonl"
    if not data.episode_files and lines.is_file():
        raw += _lines(lines, found)
    if not data.episode_files and not lines.is_file():
        found.add("missing-file", "meta/episodes", "No table of episodes is there")
    good, seen = [], set()
    for where, record in raw:
        index, length = record.get("episode_index"), record.get("length")
        if not isinstance(index, int) or not isinstance(length, int) or index < 0 or length < 1:
            found.add("episode-fields", where, f"An episode has index {index!r} and length {length!r}")
        elif index in seen:
            found.add("episode-duplicate", where, f"Episode {index} is listed twice")
        else:
            seen.add(index)
            good.append(record)
    if seen and (gaps := set(range(max(seen))) - seen) and "table-unreadable" not in found.kinds():
        listed_total = data.info.get("total_episodes")
        found.add(
            "episode-gap", "meta/episodes", f"{episodes_named(gaps).capitalize()} not listed (info.json counts {listed_total})"
        )
    return sorted(good, key=lambda r: r["episode_index"])


def _lines(path: Path, found: Findings) -> list[tuple[str, dict[str, Any]]]:
    out = []
    for n, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            found.add("table-unreadable", f"meta/{path.name}, line {n}", f"It is no JSON ({error})")
            continue
        if isinstance(row, dict):
            out.append((f"meta/{path.name}, line {n}", row))
    return out


def _check_counts(data: LeRobotDataset, records: list[dict[str, Any]], found: Findings) -> None:
    total, frames = data.info.get("total_episodes"), data.info.get("total_frames")
    broken = found.kinds() & {"table-unreadable", "episode-gap", "episode-duplicate", "episode-fields"}
    if total != len(records) and not broken:  # else the reason is told already
        found.add("episode-count", "meta/info.json", f"total_episodes is {total!r}; {len(records)} are listed")
    if frames != sum(r["length"] for r in records) and not broken:
        what = f"total_frames is {frames!r}; the lengths add up to {sum(r['length'] for r in records)}"
        found.add("frame-count", "meta/info.json", what)
    splits = data.info.get("splits") or {}
    if not isinstance(splits, dict):
        found.add("splits", "meta/info.json", f"splits is {splits!r}")
        splits = {}
    for name, text in splits.items():
        match = re.fullmatch(r"(\d+):(\d+)", str(text))
        if not match or not int(match[1]) <= int(match[2]) <= max(len(records), total if isinstance(total, int) else 0):
            found.add("splits", "meta/info.json", f"Split {name!r} is {text!r}; there are {len(records)} episodes")
    end = 0
    for record in records:
        begin, end = end, end + record["length"]
        said = record.get("dataset_from_index"), record.get("dataset_to_index")
        if data.is_v3 and None not in said and said != (begin, end) and not broken:
            what = f"Its rows are said to be {said[0]} to {said[1]}; by the lengths they are {begin} to {end}"
            found.add("episode-span", f"episode {record['episode_index']}", what)


def _check_tasks(data: LeRobotDataset, found: Findings) -> dict[int, str] | None:
    """Task index -> sentence; None when the table is lost."""
    where = "meta/tasks.parquet" if (data.root / "meta" / "tasks.parquet").exists() else "meta/tasks.jsonl"
    try:
        tasks = data.task_table
    except (BadInput, TypeError, ValueError) as error:
        found.add("table-unreadable", where, str(error))
        return None
    if not (data.root / where).is_file():
        found.add("tasks-missing", "meta", "No table of tasks is there")
        return None
    doubled = [t for t, n in Counter(tasks.values()).items() if n > 1]
    if sorted(tasks) != list(range(len(tasks))) or doubled:
        found.add(
            "task-table", where, f"The tasks are numbered {sorted(tasks)[:6]}" + (f"; {doubled[0]!r} twice" if doubled else "")
        )
    if data.info.get("total_tasks", len(tasks)) != len(tasks):
        found.add("task-count", "meta/info.json", f"total_tasks is {data.info['total_tasks']}; {len(tasks)} are listed")
    return tasks


def _check_unused(root: Path, used: set[Path], found: Findings) -> None:
    """Tables and videos that no episode names. When a table of episodes is lost they are not told: the reason is."""
    if found.kinds() & {"table-unreadable", "placeholders", "missing-file", "missing-video", "episode-gap", "unknown-version"}:
        return
    for folder, suffix in (("data", ".parquet"), ("videos", ".mp4")):
        for path in sorted((root / folder).rglob(f"*{suffix}")):
            if path not in used and not path.name.startswith("."):
                found.add("unused-file", path.relative_to(root).as_posix(), "No episode names this file")
