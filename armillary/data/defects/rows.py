"""Checking the rows of a LeRobot data set: tables, columns, times, numbers, tasks, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.defects.validate import Findings, episodes_named
from armillary.data.lerobot import stats as st
from armillary.data.lerobot.files import open_table, read_lines, worded
from armillary.data.lerobot.read import COUNTERS, OLD_DATA, LeRobotDataset
from armillary.errors import BadInput
from armillary.progress import track
from armillary.store import read_json

TOLERANCE = 1e-4  # seconds a row's time may be off, LeRobot's own
NUMBERS = ("float", "int", "uint", "bool", "double", "half")
# With one of these told, what follows from it (rows that nobody lists, numbers that do not go on) is not told again.
UNSURE = {"table-unreadable", "episode-gap", "episode-duplicate", "episode-fields", "missing-file"}


def check_rows(data: LeRobotDataset, tasks: Mapping[int, str] | None, found: Findings, used: set[Path]) -> None:
    """Checks every table. `used` is given the files that episodes name."""
    root = data.root
    by_file: dict[str, list[int]] = {}
    for i, record in enumerate(data.episodes):
        try:
            by_file.setdefault(data.file_name("data_path", OLD_DATA, record, "data"), []).append(i)
        except (BadInput, TypeError, ValueError):
            continue  # the template is told already
    own_stats, where = episode_stats(data, found)
    parts: dict[str, list[st.Stats]] = {}
    whole, begin, starts = not found.kinds() & UNSURE, 0, {}
    for i, record in enumerate(data.episodes):
        starts[i], begin = begin, begin + record["length"]
    for name, members in track(sorted(by_file.items()), "check the rows"):
        path = root / name
        used.add(path)
        named = episodes_named(data.episodes[i]["episode_index"] for i in members)
        if not path.is_file():
            found.add("missing-file", name, f"It is named for {named} and is not there")
            whole = False
            continue
        try:
            columns = _check_table(data, path, name, members, found)
        except (BadInput, TypeError, ValueError) as error:
            found.add("table-unreadable", name, f"{error} It holds {named}")
            whole = False
            continue
        for i in members:
            sound = False
            with found.going_on(f"episode {data.episodes[i]['episode_index']}"):
                rows = _episode(data, i, found)
                if rows is None:
                    whole = False
                    continue
                _check_episode(data, i, rows, starts[i], tasks, found)
                if len(next(iter(rows.values()))) == data.episodes[i]["length"]:
                    numbers = {k: v for k, v in rows.items() if k in columns and k not in COUNTERS and v.dtype.kind in "fiub"}
                    mine = {k: st.of_numbers(v) for k, v in numbers.items() if np.isfinite(v).all()}
                    for key, values in mine.items():
                        parts.setdefault(key, []).append(values)
                    sound = True
                    if i in own_stats:
                        label = f"{where}, episode {data.episodes[i]['episode_index']}"
                        _compare(mine, own_stats[i], label, found, missing=key_missing(own_stats[i], mine))
            whole &= sound
    if whole and parts:
        _check_whole(data, {k: st.joined(v) for k, v in parts.items() if len(v) == len(data.episodes)}, found)


def _check_table(data: LeRobotDataset, path: Path, name: str, members: list[int], found: Findings) -> set[str]:
    """A file's columns against the features, its rows against the episodes. Returns the columns that are features of numbers."""
    with worded(path):
        file = open_table(path)
        schema = file.schema_arrow
        wanted = {k: f for k, f in data.features.items() if f["dtype"] != "video"}
        for key in wanted.keys() - set(schema.names):
            found.add("column-missing", name, f"Feature {key} has no column")
        for key in [n for n in schema.names if n not in data.features and not n.startswith("__index")]:
            found.add("column-undeclared", name, f"Column {key} is no feature of meta/info.json")
        for key in [n for n in schema.names if n in wanted and wanted[n]["dtype"].startswith(NUMBERS)]:
            kind = str(_leaf(schema.field(key).type))
            kind = {"double": "float64", "float": "float32", "halffloat": "float16"}.get(kind, kind)
            if kind != wanted[key]["dtype"]:
                found.add("column-type", name, f"{key} is {kind} in the table and {wanted[key]['dtype']} in meta/info.json")
        if "episode_index" in schema.names:
            listed = {data.episodes[i]["episode_index"] for i in members}
            there = set(np.unique(file.read(columns=["episode_index"]).column(0).to_numpy()).tolist())
            if (strange := there - listed) and not found.kinds() & UNSURE:
                numbers = episodes_named(int(s) for s in strange if s == s)
                found.add("rows-unlisted", name, f"It has rows of {numbers}, which the table of episodes does not place here")
    return {k for k in wanted if k in schema.names}


def _leaf(kind: Any) -> Any:
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return kind


def _episode(data: LeRobotDataset, i: int, found: Findings) -> dict[str, np.ndarray] | None:
    where = f"episode {data.episodes[i]['episode_index']}"
    try:
        rows = data.rows(i)
    except BadInput as error:
        found.add("rows-unreadable", where, str(error))
        return None
    if not rows:
        found.add("rows-unreadable", where, "Its table has no column that could be read")
        return None
    return rows


def _check_episode(
    data: LeRobotDataset, i: int, rows: Mapping[str, np.ndarray], begin: int, tasks: Mapping[int, str] | None, found: Findings
) -> None:
    record = data.episodes[i]
    where = f"episode {record['episode_index']}"
    n = len(next(iter(rows.values())))
    if n != record["length"]:
        found.add("row-count", where, f"It has {n} rows; the table of episodes says {record['length']}")
    for key, values in rows.items():
        feature = data.features.get(key)
        if feature is None or values.dtype.kind not in "fiub":
            continue
        size, shape = int(np.prod(values.shape[1:])), feature.get("shape") or [1]
        if size != int(np.prod(shape)):
            found.add("column-width", where, f"{key} has {size} components a row; meta/info.json says {shape}")
        if values.dtype.kind == "f" and not (finite := np.isfinite(values.reshape(n, -1)).all(1)).all():
            bad = np.flatnonzero(~finite)
            found.add("not-finite", where, f"{key} is NaN or infinite in {len(bad)} of {n} rows, first in row {bad[0]}")
    _check_times(data, rows, n, where, found)
    if "frame_index" in rows and not np.array_equal(rows["frame_index"].reshape(-1), np.arange(n)):
        found.add("frame-index", where, f"frame_index does not count 0 to {n - 1}")
    sure = n == record["length"] and not found.kinds() & (UNSURE - {"missing-file"})
    if "index" in rows and sure and not np.array_equal(rows["index"].reshape(-1), np.arange(begin, begin + n)):
        index = rows["index"].reshape(-1)
        what = f"index goes from {index[0]} to {index[-1]}, with {len(index) - len(np.unique(index))} numbers twice"
        found.add("index", where, f"{what}; by the lengths it is {begin} to {begin + n - 1}")
    if "task_index" in rows and tasks is not None:
        _check_task(rows["task_index"].reshape(-1), record, tasks, where, found)


def _check_times(data: LeRobotDataset, rows: Mapping[str, np.ndarray], n: int, where: str, found: Findings) -> None:
    times = rows.get("timestamp")
    if times is None or not np.isfinite(times.astype(np.float64)).all():
        return  # told already: a missing column, or numbers that are none
    times = times.reshape(-1).astype(np.float64)
    slack = np.maximum(TOLERANCE, 4 * np.finfo(np.float32).eps * np.abs(times))
    off = np.abs(times - np.arange(n) / data.fps)
    if (off <= slack).all():
        return
    steps = np.diff(times)
    k = int((off > slack).argmax())
    if (steps <= 0).any():
        what = f"timestamp does not rise at row {int((steps <= 0).argmax()) + 1}"
    elif abs(times[0]) > slack[0] and np.abs(times - times[0] - np.arange(n) / data.fps).max() <= slack.max():
        what = f"timestamp begins at {times[0]:.4g} s instead of 0"
    elif len(steps) > 1 and steps.max() - steps.min() < 2 * slack.max():
        what = f"timestamp tells {1 / steps.mean():.4g} frames a second; meta/info.json says {data.fps:g}"
    else:
        what = (
            f"timestamp is {times[k]:.4f} s at row {k}, where frame {k} of {data.fps:g} a second is due at {k / data.fps:.4f} s"
        )
    found.add("timestamps", where, what)


def _check_task(index: np.ndarray, record: Mapping[str, Any], tasks: Mapping[int, str], where: str, found: Findings) -> None:
    unknown = sorted({int(t) for t in index if t != t or int(t) not in tasks}) if np.isfinite(index).all() else [-1]
    if unknown:
        found.add("task-index", where, f"task_index is {unknown[0]}; the tasks listed are 0 to {len(tasks) - 1}")
        return
    said, given = {tasks[int(t)] for t in np.unique(index)}, record.get("tasks")
    if isinstance(given, list) and given and not said <= {str(g) for g in given}:
        found.add("task-mismatch", where, f"Its rows say {sorted(said)[0]!r}, the table of episodes {given[0]!r}")


# Statistics -----------------------------------------------------------------------------------------------------------------------


def episode_stats(data: LeRobotDataset, found: Findings | None = None) -> tuple[dict[int, dict[str, Any]], str]:
    """Position -> feature -> statistics as the set carries them for each episode, and where they lie."""
    found = found or Findings()
    at = {r["episode_index"]: i for i, r in enumerate(data.episodes)}
    out: dict[int, dict[str, Any]] = {}
    if data.is_v3:
        for path in data.episode_files:
            try:
                with worded(path):
                    file = open_table(path)
                    names = [n for n in file.schema_arrow.names if n.startswith("stats/")]
                    table = file.read(columns=["episode_index", *names]).to_pylist() if names else []
            except BadInput:
                continue  # told already
            for row in table:
                stats: dict[str, Any] = {}
                for name in names:
                    feature, _, kind = name.removeprefix("stats/").rpartition("/")
                    stats.setdefault(feature, {})[kind] = row[name]
                if row["episode_index"] in at:
                    out[at[row["episode_index"]]] = stats
        if not (data.root / "meta" / "stats.json").is_file():
            found.add(
                "stats-missing",
                "meta/stats.json",
                "No statistics of the whole set are there: LeRobot's policies cannot normalise",
            )
        return out, "meta/episodes"
    old, new = data.root / "meta" / "stats.json", data.root / "meta" / "episodes_stats.jsonl"
    if not new.is_file() and not old.is_file():
        found.add("stats-missing", f"meta/{new.name}", "No statistics are there")
    try:
        for row in read_lines(new):
            if row.get("episode_index") in at:
                out[at[row["episode_index"]]] = row.get("stats") or {}
    except BadInput as error:
        found.add("table-unreadable", f"meta/{new.name}", str(error))
    return out, f"meta/{new.name}"


def key_missing(stats: Mapping[str, Any], numbers: Mapping[str, Any]) -> set[str]:
    """Features of numbers without statistics."""
    return set(numbers) - set(stats)


def _check_whole(data: LeRobotDataset, whole: Mapping[str, st.Stats], found: Findings) -> None:
    path = data.root / "meta" / "stats.json"
    if not path.is_file():
        return
    try:
        said = read_json(path)
    except BadInput as error:
        found.add("table-unreadable", "meta/stats.json", str(error))
        return
    said = said if isinstance(said, dict) else {}
    _compare(whole, said, "meta/stats.json", found, missing=key_missing(said, whole))


def _compare(numbers: Mapping[str, st.Stats], said: Mapping[str, Any], where: str, found: Findings, missing: set[str]) -> None:
    if missing:
        found.add("stats-missing", where, f"There are none of {', '.join(sorted(missing))}")
    wrong = []
    for key, true in numbers.items():
        scale = np.maximum(true["max"].astype(np.float64) - true["min"], np.abs(true["mean"]) * 1e-2) + 1e-6
        for name in ("min", "max", "mean", "std"):
            given = (said.get(key) or {}).get(name)
            if given is None:
                continue
            try:
                value = np.asarray(given, np.float64).reshape(-1)
            except (TypeError, ValueError):
                value = np.zeros(0)
            if value.shape != scale.shape:
                wrong.append(f"{key} {name} has {len(value)} components instead of {len(scale)}")
            elif not (np.abs(value - true[name]) <= 2e-3 * scale).all():
                k = int(np.argmax(np.where(np.isfinite(value), np.abs(value - true[name]) / scale, np.inf)))
                wrong.append(f"{key} {name} is {value[k]:.4g} where the rows give {float(true[name][k]):.4g}")
    if wrong:
        found.add("stats-wrong", where, f"{wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
