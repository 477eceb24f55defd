"""Reading LeRobot data sets, v3.0 and v2.1, and the door to writing them (`LeRobotWriter`).

Read as it is found in the wild: cameras are known by their dtype and not by a prefix; both spellings of the path placeholders are
understood; actions or states that are split over several columns are put together; where the table of episodes does not say at which
second of a video an episode begins, the lengths of those before it do. Nothing is unpickled, and no path leaves the folder.
`data.defects.validate` says what of this was needed, and what is wrong.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.lerobot import stats as st
from armillary.data.lerobot.files import array, fill, open_table, read_lines, worded
from armillary.data.lerobot.pictures import at_times, stills
from armillary.data.lerobot.write import LeRobotWriter, truth_path, write_piece
from armillary.data.truth import load_truth
from armillary.errors import BadInput, did_you_mean, require
from armillary.presets import from_json
from armillary.store import read_json
from armillary.types import ActionSpec, Episode

__all__ = ["LeRobotDataset", "LeRobotWriter", "write_piece"]

VERSIONS = ("2.0", "2.1", "3.0")
# Columns that count: each is checked by itself, and nobody normalises an index by its statistics.
COUNTERS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
OLD_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
OLD_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


class LeRobotDataset:
    """A data set on disk. Episodes are decoded when they are asked for.

    Args:
        folder: the one that holds `meta/info.json`.
        version: read it as that format version (`3.0`) whatever it says of itself.

    Attributes:
        fps: frames a second; `spec`: what actions mean (made from names and statistics when the set is not ours: unit and frame
            are then `unknown`); `cameras`: short names (`front` for `observation.images.front`); `tasks`: all task sentences.

    Raises:
        BadInput: when the folder is no such data set, or of a version that is not known.
    """

    def __init__(self, folder: str | Path, version: str = "") -> None:
        self.root = Path(folder)
        require("pyarrow.parquet", "LeRobot data sets")
        if not (self.root / "meta" / "info.json").is_file():
            raise BadInput(f"{self.root} is no LeRobot data set: it has no meta/info.json.{_hint(self.root)}")
        self.info = read_json(self.root / "meta" / "info.json")
        if not isinstance(self.info, dict) or not isinstance(self.info.get("features"), dict) or not self.info.get("fps"):
            raise BadInput(f"{self.root}/meta/info.json lacks `features` or `fps`.")
        self.version = version or str(self.info.get("codebase_version", "v2.1")).lstrip("v")
        if self.version.split(".")[0] not in ("2", "3"):
            raise BadInput(f"{self.root} is LeRobot format v{self.version}; v2.0, v2.1 and v3.0 are read.")
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.fps = float(self.info["fps"])
        own = self.root / "meta" / "armillary.json"
        self.own: dict[str, Any] = read_json(own) if own.is_file() else {}
        self._tables: dict[Path, tuple[Any, np.ndarray, np.ndarray]] = {}
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self.episodes)

    # What there is ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> dict[str, str]:
        """Camera name -> feature key, in the order of the features."""
        found = [k for k, f in self.features.items() if f.get("dtype") in ("video", "image")]
        short = [re.sub(r"^observation\.(images?\.)?", "", k) for k in found]
        return dict(zip(short if len(set(short)) == len(short) else found, found))

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.keys)

    @cached_property
    def task_table(self) -> dict[int, str]:
        """Task index -> sentence."""
        path = self.root / "meta" / "tasks.parquet"
        if path.is_file():
            with worded(path):
                table = open_table(path).read().to_pylist()
            texts = [next((v for k, v in r.items() if k != "task_index" and isinstance(v, str)), "") for r in table]
            return {int(r.get("task_index", n)): text for n, (r, text) in enumerate(zip(table, texts))}
        lines = read_lines(self.root / "meta" / "tasks.jsonl")
        return {int(r.get("task_index", n)): str(r.get("task", "")) for n, r in enumerate(lines)}

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.task_table[i] for i in sorted(self.task_table))

    @property
    def episode_files(self) -> list[Path]:
        """The tables of episodes of a v3 set; none for v2."""
        return sorted((self.root / "meta" / "episodes").rglob("*.parquet"))

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """One record an episode, in order, without statistics."""
        records = [r for path in self.episode_files for r in read_records(path)]
        records = records or read_lines(self.root / "meta" / "episodes.jsonl")
        if not records:
            raise BadInput(
                f"{self.root} lists no episodes: neither meta/episodes/*/*.parquet nor meta/episodes.jsonl is there."
            )
        lacking = [k for r in records for k in ("episode_index", "length") if not isinstance(r.get(k), int)]
        if lacking:
            raise BadInput(f"{self.root}: the table of episodes lacks `{lacking[0]}` for some of them.")
        records.sort(key=lambda r: r["episode_index"])
        total = self.info.get("total_episodes")
        return self.placed([r for r in records if total is None or r["episode_index"] < int(total)])

    def placed(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Fill in where each episode begins in its video files, from the lengths of those before it, where the table does not say."""
        ends: dict[tuple[str, int, int], float] = {}
        for record in records:
            for key in self.keys.values():
                spot = self._place(record, f"videos/{key}")
                start = record.get(f"videos/{key}/from_timestamp")
                if start is None:
                    start = ends.get((key, *spot), 0.0) if self.is_v3 else 0.0
                    record[f"videos/{key}/from_timestamp"] = start
                ends[(key, *spot)] = float(start) + int(record["length"]) / self.fps
        return records

    @property
    def is_v3(self) -> bool:
        return self.version.startswith("3")

    def _place(self, record: Mapping[str, Any], prefix: str) -> tuple[int, int]:
        """(chunk, file) of an episode's rows (`data`) or pictures (`videos/<key>`)."""
        if not self.is_v3:
            index = int(record["episode_index"])
            return index // int(self.info.get("chunks_size", 1000)), index
        chunk, file = record.get(f"{prefix}/chunk_index"), record.get(f"{prefix}/file_index")
        return int(chunk if chunk is not None else 0), int(file if file is not None else 0)

    def file_name(self, template: str, default: str, record: Mapping[str, Any], prefix: str, key: str = "") -> str:
        """The path of an episode's file within the set, there or not, from the template of that name in info.json.

        Raises:
            BadInput: for a placeholder that is not known or a path out of the folder.
        """
        chunk, file = self._place(record, prefix)
        known: dict[str, int | str] = {"chunk_index": chunk, "file_index": file, "episode_chunk": chunk, "episode_file": file}
        known |= {"video_key": key, "episode_index": int(record["episode_index"])}
        return fill(str(self.info.get(template) or default), known, f"{self.root}/meta/info.json: {template}")

    def path(self, template: str, default: str, record: Mapping[str, Any], prefix: str, key: str = "") -> Path:
        """The file of an episode, as in `file_name`; a `BadInput` too for one that is not there."""
        name = self.file_name(template, default, record, prefix, key)
        if not (self.root / name).is_file():
            raise BadInput(f"{self.root} names the file {name}, which is not there.")
        return self.root / name

    def data_path(self, i: int) -> Path:
        """The table that holds the rows of episode `i`."""
        return self.path("data_path", OLD_DATA, self.episodes[i], "data")

    def video_path(self, i: int, camera: str) -> Path:
        """The video that holds the pictures of episode `i`."""
        return self.path("video_path", OLD_VIDEO, self.episodes[i], f"videos/{self.keys[camera]}", self.keys[camera])

    def video_start(self, i: int, camera: str) -> float:
        """The second of that video at which episode `i` begins."""
        return float(self.episodes[i][f"videos/{self.keys[camera]}/from_timestamp"])

    # One episode ------------------------------------------------------------------------------------------------------------------

    def episode(self, i: int, cameras: Sequence[str] | None = None) -> Episode:
        """Episode `i`, with the pictures of all cameras, or of those named (`()`: none, which is quick).

        Raises:
            BadInput: for an index or camera there is none of, or files that do not fit what the tables say.
        """
        if not 0 <= i < len(self):
            raise BadInput(f"There is no episode {i}: {self.root} has {len(self)}, numbered from 0.")
        record = self.episodes[i]
        for name in cameras or ():
            if name not in self.keys:
                raise BadInput(did_you_mean("camera", name, self.keys))
        rows = self.rows(i)
        n = len(next(iter(rows.values())))
        if record["length"] != n:
            raise BadInput(f"Episode {i} of {self.root} has {n} rows; the table of episodes says {record['length']}.")
        chosen = self.cameras if cameras is None else tuple(cameras)
        frames = {name: self._stacked(i, name, rows) for name in chosen}
        actions, states = self.vector(rows, "action"), self.vector(rows, "observation.state")
        reward, solved = rows.get("next.reward", rows.get("reward")), rows.get("next.success")
        truth, facts, views = load_truth(truth_path(self.root, i)) if self.own else ({}, {}, [])
        success = facts["success"] if "success" in facts else (None if solved is None else bool(solved.any()))
        return Episode(
            id=facts.get("id") or f"{self.root.name}-{record['episode_index']:06d}",
            fps=self.fps,
            frames=frames,
            actions=actions,
            states=states,
            spec=self.spec,
            state_names=tuple(self.own.get("state_names") or self.component_names("observation.state", states.shape[1])),
            rewards=None if reward is None else reward.reshape(n).astype(np.float32),
            success=success,
            instruction=self._task(record, rows),
            caption=facts.get("caption", ""),
            captions=facts.get("captions", {}),
            cameras=tuple(v for v in views if v.name in chosen),
            truth=truth,
        )

    def rows(self, i: int) -> dict[str, np.ndarray]:
        """The table of episode `i`: feature -> `t`, or `t n` for a vector. Pictures kept in the table are left out."""
        table = self._table(i)
        keys = [n for n in table.column_names if self.features.get(n, {}).get("dtype") not in ("image", "video")]
        return {name: array(table.column(name), f"{name} of episode {i}") for name in keys}

    def pictures(self, i: int, camera: str, rows: Mapping[str, np.ndarray] | None = None) -> Iterator[np.ndarray]:
        """uint8 `h w 3` of every row of episode `i`, one at a time: the picture nearest to the row's time.

        Raises:
            BadInput: where the file has none, or does not decode.
        """
        key = self.keys[camera]
        if self.features[key]["dtype"] == "image":
            return stills(self._table(i).column(key).to_pylist(), self.root, f"{key} of {self.root}")
        return at_times(self.video_path(i, camera), self.video_times(i, camera, rows), self.fps)

    def video_times(self, i: int, camera: str, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """For every row of episode `i`, the second of its video at which its picture is shown; float64 `t`.

        Raises:
            BadInput: when the table's times go back or are no numbers.
        """
        rows = self.rows(i) if rows is None else rows
        n = len(next(iter(rows.values())))
        times = rows["timestamp"].astype(np.float64).reshape(-1) if "timestamp" in rows else np.arange(n) / self.fps
        if not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise BadInput(f"The times of episode {i} of {self.root} go back, or are no numbers.")
        return times - times[0] + self.video_start(i, camera)

    def _stacked(self, i: int, camera: str, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        frames = list(self.pictures(i, camera, rows))
        if len({f.shape for f in frames}) > 1:
            raise BadInput(f"The pictures of {camera} in episode {i} of {self.root} differ in size.")
        return np.stack(frames)

    def _table(self, i: int) -> Any:
        index = self.episodes[i]["episode_index"]
        path = self.data_path(i)
        # One file is open at a time, and threads that want another take turns: what one reads from must not be closed by the next.
        with self._reading, worded(path):
            if path not in self._tables:
                file = open_table(path)
                names = file.schema_arrow.names
                owner = file.read(columns=["episode_index"]).column(0).to_numpy() if "episode_index" in names else None
                groups = np.cumsum([0] + [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
                self._tables = {path: (file, np.full(groups[-1], index) if owner is None else owner, groups)}
            file, owner, groups = self._tables[path]
            at = np.flatnonzero(owner == index)
            if not len(at):
                raise BadInput(f"{path} has no rows of episode {index}.")
            first, last = np.searchsorted(groups, [at[0], at[-1]], side="right") - 1
            return file.read_row_groups(list(range(first, last + 1))).take(at - groups[first])

    def vector(self, rows: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """float32 `t n`: the column of that name, or all of `name.*` side by side, or no columns at all."""
        n = len(next(iter(rows.values())))
        parts = [np.asarray(rows[k], np.float32).reshape(n, -1) for k in self.parts(name) if k in rows]
        return np.concatenate(parts or [np.zeros((n, 0), np.float32)], 1)

    def parts(self, name: str) -> list[str]:
        """The features that make up a vector: `name`, or all of `name.*` that are numbers."""
        split = [k for k, f in self.features.items() if k.startswith(name + ".") and f.get("dtype") not in ("image", "video")]
        return [name] if name in self.features else split

    def component_names(self, name: str, width: int) -> tuple[str, ...]:
        """Names of a vector's components, numbered where the set gives none."""
        out: list[str] = []
        for key in self.parts(name):
            given, shape = self.features[key].get("names"), self.features[key].get("shape") or [1]
            if isinstance(given, dict):  # {"motors": [...]}
                given = [n for v in given.values() for n in (v if isinstance(v, list) else [v])]
            size = int(np.prod(shape)) if shape else 1
            out += (
                [str(g) for g in given]
                if isinstance(given, list) and len(given) == size
                else [f"{key}_{j}" for j in range(size)]
            )
        return tuple(out) if len(out) == width else tuple(f"{name}_{j}" for j in range(width))

    def _task(self, record: Mapping[str, Any], rows: Mapping[str, np.ndarray]) -> str:
        given = record.get("tasks")
        if isinstance(given, (list, tuple)) and given:
            return str(given[0])
        return self.task_table.get(int(rows["task_index"].reshape(-1)[0]), "") if "task_index" in rows else ""

    # What actions mean ------------------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> ActionSpec:
        if self.own.get("spec"):
            return from_json(ActionSpec, self.own["spec"])
        stats = self.action_stats
        names = self.component_names("action", len(stats["mean"]))
        low, high, mean, std = (tuple(float(x) for x in stats[k]) for k in ("min", "max", "mean", "std"))
        unknown = ("unknown",) * len(names)
        return ActionSpec(names, unknown, "unknown", self.fps, "absolute", low, high, mean, std)

    @cached_property
    def action_stats(self) -> dict[str, np.ndarray]:
        """Statistics of the whole action vector: those the set carries, or else taken from all its rows that can be read."""
        parts: list[Mapping[str, Any]] = []
        path = self.root / "meta" / "stats.json"
        if path.is_file() and "action" in (whole := read_json(path)):
            parts = [whole["action"]]
        elif lines := read_lines(self.root / "meta" / "episodes_stats.jsonl"):
            parts = [r["stats"]["action"] for r in lines if "action" in r.get("stats", {})]
        if parts and all(k in p for p in parts for k in ("min", "max", "mean", "std")):
            parts = [{"count": [1], **p} for p in parts]
            return {k: np.asarray(v).reshape(-1) for k, v in st.joined(parts).items()}
        found = []
        for i in range(len(self)):
            try:
                found.append(self.vector(self.rows(i), "action"))
            except BadInput:  # whoever reads that episode is told
                continue
        return st.of_numbers(np.concatenate(found or [np.zeros((1, 0), np.float32)]))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of episodes, without statistics.

    Raises:
        BadInput: for a damaged file.
    """
    with worded(path):
        file = open_table(path)
        return file.read(columns=[n for n in file.schema_arrow.names if not n.startswith("stats/")]).to_pylist()


def _hint(root: Path) -> str:
    """What else the folder may be."""
    if (root / ".pieces").is_dir():
        return " A recording was begun there and stopped before its first files; record into it again to go on."
    inside = sorted(p.parent.parent for p in root.glob("*/meta/info.json")) if root.is_dir() else []
    return f" Did you mean {inside[0]}?" if inside else ""
