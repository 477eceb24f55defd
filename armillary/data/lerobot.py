"""Reading LeRobot data sets, v3.0 and v2.1, and the door to writing them (`LeRobotWriter`).

Read as it is found in the wild: cameras are known by their dtype and not by a prefix; both spellings of the path placeholders are
understood; actions or states that are split over several columns are put together; where the table of episodes does not say at which
second of a video an episode begins, the lengths of those before it do. Nothing is unpickled, and no path leaves the folder.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data import lerobot_stats as st
from armillary.data.lerobot_write import LeRobotWriter, truth_path, write_piece
from armillary.errors import BadInput, did_you_mean, require
from armillary.media import Reader
from armillary.presets import from_json
from armillary.store import read_json
from armillary.types import ActionSpec, Camera, Episode

__all__ = ["LeRobotDataset", "LeRobotWriter", "write_piece"]


class LeRobotDataset:
    """A data set on disk. Episodes are decoded when they are asked for.

    Args:
        folder: the one that holds `meta/info.json`.

    Attributes:
        fps: frames a second; `spec`: what actions mean (made from names and statistics when the set is not ours: unit and frame
            are then `unknown`); `cameras`: short names (`front` for `observation.images.front`); `tasks`: all task sentences.

    Raises:
        BadInput: when the folder is no such data set, or of a version that is not known.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder)
        self.pq = require("pyarrow.parquet", "LeRobot data sets")
        if not (self.root / "meta" / "info.json").is_file():
            raise BadInput(f"{self.root} is no LeRobot data set: it has no meta/info.json.{_hint(self.root)}")
        self.info = read_json(self.root / "meta" / "info.json")
        if not isinstance(self.info, dict) or not isinstance(self.info.get("features"), dict) or not self.info.get("fps"):
            raise BadInput(f"{self.root}/meta/info.json lacks `features` or `fps`.")
        self.version = str(self.info.get("codebase_version", "v2.1")).lstrip("v")
        if self.version.split(".")[0] not in ("2", "3"):
            raise BadInput(f"{self.root} is LeRobot format v{self.version}; v2.0, v2.1 and v3.0 are read.")
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.fps = float(self.info["fps"])
        own = self.root / "meta" / "armillary.json"
        self.own: dict[str, Any] = read_json(own) if own.is_file() else {}
        self._tables: dict[Path, tuple[Any, np.ndarray, np.ndarray]] = {}

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
            table = self.pq.read_table(path).to_pylist()
            texts = [next((v for k, v in r.items() if k != "task_index" and isinstance(v, str)), "") for r in table]
            return {int(r.get("task_index", n)): text for n, (r, text) in enumerate(zip(table, texts))}
        lines = _lines(self.root / "meta" / "tasks.jsonl")
        return {int(r.get("task_index", n)): str(r.get("task", "")) for n, r in enumerate(lines)}

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.task_table[i] for i in sorted(self.task_table))

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """One record an episode, in order, without statistics."""
        records: list[dict[str, Any]] = []
        files = sorted((self.root / "meta" / "episodes").rglob("*.parquet"))
        if files:
            for path in files:
                names = [n for n in self.pq.read_schema(path).names if not n.startswith("stats/")]
                records += self.pq.read_table(path, columns=names).to_pylist()
        else:
            records = _lines(self.root / "meta" / "episodes.jsonl")
        if not records:
            raise BadInput(
                f"{self.root} lists no episodes: neither meta/episodes/*/*.parquet nor meta/episodes.jsonl is there."
            )
        records.sort(key=lambda r: int(r["episode_index"]))
        total = self.info.get("total_episodes")
        records = [r for r in records if total is None or int(r["episode_index"]) < int(total)]
        return self._placed(records)

    def _placed(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Fill in where each episode begins in its video files, from the lengths of those before it, where the table does not say."""
        ends: dict[tuple[str, int, int], float] = {}
        for record in records:
            for key in self.keys.values():
                spot = self._place(record, f"videos/{key}")
                start = record.get(f"videos/{key}/from_timestamp")
                if start is None:
                    start = ends.get((key, *spot), 0.0) if self._is_v3 else 0.0
                    record[f"videos/{key}/from_timestamp"] = start
                ends[(key, *spot)] = float(start) + int(record["length"]) / self.fps
        return records

    @property
    def _is_v3(self) -> bool:
        return self.version.startswith("3")

    def _place(self, record: Mapping[str, Any], prefix: str) -> tuple[int, int]:
        """(chunk, file) of an episode's rows (`data`) or pictures (`videos/<key>`)."""
        if not self._is_v3:
            index = int(record["episode_index"])
            return index // int(self.info.get("chunks_size", 1000)), index
        chunk, file = record.get(f"{prefix}/chunk_index"), record.get(f"{prefix}/file_index")
        return int(chunk if chunk is not None else 0), int(file if file is not None else 0)

    def path(self, template: str, default: str, record: Mapping[str, Any], prefix: str, key: str = "") -> Path:
        """The file of an episode, from the template of that name in info.json.

        Raises:
            BadInput: for a placeholder that is not known, a path out of the folder, or a file that is not there.
        """
        chunk, file = self._place(record, prefix)
        known = {"chunk_index": chunk, "file_index": file, "episode_chunk": chunk, "episode_file": file, "video_key": key}
        known["episode_index"] = int(record["episode_index"])

        def fill(match: re.Match[str]) -> str:
            if match[1] not in known:
                raise BadInput(f"{self.root}/meta/info.json: {template} has a placeholder {match[0]} that is not known.")
            value = known[match[1]]
            return format(value, match[2] or "") if isinstance(value, int) else value

        filled = os.path.normpath(re.sub(r"\{(\w+)(?::(0?\d*d?))?\}", fill, str(self.info.get(template) or default)))
        if os.path.isabs(filled) or filled.startswith(".."):
            raise BadInput(f"{self.root}/meta/info.json: {template} leads out of the data set.")
        path = self.root / filled
        if not path.is_file():
            raise BadInput(f"{self.root} names the file {filled}, which is not there.")
        return path

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
        if int(record.get("length", n)) != n:
            raise BadInput(f"Episode {i} of {self.root} has {n} rows; the table of episodes says {record['length']}.")
        chosen = self.cameras if cameras is None else tuple(cameras)
        frames = {name: self._pictures(record, self.keys[name], rows) for name in chosen}
        actions, states = self._vector(rows, "action"), self._vector(rows, "observation.state")
        reward, solved = rows.get("next.reward", rows.get("reward")), rows.get("next.success")
        truth, facts, views = self._truth(i)
        success = facts["success"] if "success" in facts else (None if solved is None else bool(solved.any()))
        return Episode(
            id=facts.get("id") or f"{self.root.name}-{int(record['episode_index']):06d}",
            fps=self.fps,
            frames=frames,
            actions=actions,
            states=states,
            spec=self.spec,
            state_names=tuple(self.own.get("state_names") or self._names("observation.state", states.shape[1])),
            rewards=None if reward is None else reward.reshape(n).astype(np.float32),
            success=success,
            instruction=self._task(record, rows),
            caption=facts.get("caption", ""),
            cameras=tuple(v for v in views if v.name in chosen),
            truth=truth,
        )

    def rows(self, i: int) -> dict[str, np.ndarray]:
        """The table of episode `i`: feature -> `t`, or `t n` for a vector. Pictures kept in the table are left out."""
        table = self._table(i)
        keys = [n for n in table.column_names if self.features.get(n, {}).get("dtype") not in ("image", "video")]
        return {name: _array(table.column(name), f"{name} of episode {i}") for name in keys}

    def _table(self, i: int) -> Any:
        record = self.episodes[i]
        index = int(record["episode_index"])
        default = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        path = self.path("data_path", default, record, "data")
        if path not in self._tables:
            file = self.pq.ParquetFile(path, memory_map=False)
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

    def _pictures(self, record: Mapping[str, Any], key: str, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """uint8 `t h w 3`: for each row the picture nearest to its time."""
        n = len(next(iter(rows.values())))
        if self.features[key]["dtype"] == "image":
            return self._stills(record, key)
        default = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        path = self.path("video_path", default, record, f"videos/{key}", key)
        times = rows["timestamp"].astype(np.float64).reshape(-1) if "timestamp" in rows else np.arange(n) / self.fps
        times = times - times[0] + float(record[f"videos/{key}/from_timestamp"])
        half = 0.5 / self.fps
        with Reader(path) as video:
            found = [(s, video.pixels(f)) for s, f in video.frames(times[0] - half, times[-1] + half)]
            trouble = video.errors
        if not found:
            raise BadInput(f"{path} has no frame between {times[0]:.2f} and {times[-1]:.2f} s.")
        clock = np.array([s for s, _ in found])
        near = np.abs(clock[None] - times[:, None]).argmin(1)
        off = np.abs(clock[near] - times)
        if off.max() > half + 1e-3:
            why = f" ({trouble[0]})" if trouble else ""
            raise BadInput(f"{path} has no frame at {times[off.argmax()]:.2f} s; the nearest is {off.max():.2f} s away{why}.")
        return np.stack([found[k][1] for k in near])

    def _stills(self, record: Mapping[str, Any], key: str) -> np.ndarray:
        """Pictures that lie in the table itself, as PNG or JPEG bytes or as a path within the data set."""
        from PIL import Image

        out = []
        i = self.episodes.index(dict(record))
        for cell in self._table(i).column(key).to_pylist():
            cell = cell if isinstance(cell, dict) else {"bytes": cell}
            if cell.get("bytes") is None:
                inside = os.path.normpath(str(cell.get("path")))
                if os.path.isabs(inside) or inside.startswith("..") or not (self.root / inside).is_file():
                    raise BadInput(f"{key} of {self.root} names the picture {inside!r}, which is not in the data set.")
                cell = {"bytes": (self.root / inside).read_bytes()}
            out.append(np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")))
        return np.stack(out)

    def _vector(self, rows: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """float32 `t n`: the column of that name, or all of `name.*` side by side, or no columns at all."""
        n = len(next(iter(rows.values())))
        parts = [rows[name]] if name in rows else [rows[k] for k in self.features if k.startswith(name + ".") and k in rows]
        return np.concatenate([np.asarray(p, np.float32).reshape(n, -1) for p in parts] or [np.zeros((n, 0), np.float32)], 1)

    def _names(self, name: str, width: int) -> tuple[str, ...]:
        """Names of a vector's components, numbered where the set gives none."""
        out: list[str] = []
        for key in [k for k in self.features if k == name] or [k for k in self.features if k.startswith(name + ".")]:
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

    def _truth(self, i: int) -> tuple[dict[str, np.ndarray], dict[str, Any], list[Camera]]:
        """What our own writer kept beside the episode; empty for another's data."""
        path = truth_path(self.root, i)
        if not (self.own and path.is_file()):
            return {}, {}, []
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                facts = json.loads((file.metadata() or {}).get("armillary", "{}"))
                arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise BadInput(f"{path} is damaged: {error}") from error
        views = [
            Camera(name, int(w), int(h), arrays[f"camera/{name}/intrinsics"], arrays[f"camera/{name}/pose"])
            for name, (w, h) in facts.get("camera_sizes", {}).items()
        ]
        truth = {k.removeprefix("truth/"): v for k, v in arrays.items() if k.startswith("truth/")}
        return truth, facts, views

    # What actions mean ------------------------------------------------------------------------------------------------------------

    @cached_property
    def spec(self) -> ActionSpec:
        if self.own.get("spec"):
            return from_json(ActionSpec, self.own["spec"])
        stats = self.action_stats
        names = self._names("action", len(stats["mean"]))
        low, high, mean, std = (tuple(float(x) for x in stats[k]) for k in ("min", "max", "mean", "std"))
        unknown = ("unknown",) * len(names)
        return ActionSpec(names, unknown, "unknown", self.fps, "absolute", low, high, mean, std)

    @cached_property
    def action_stats(self) -> dict[str, np.ndarray]:
        """Statistics of the whole action vector: those the set carries, or else taken from all its rows."""
        parts: list[Mapping[str, Any]] = []
        path = self.root / "meta" / "stats.json"
        if path.is_file() and "action" in (whole := read_json(path)):
            parts = [whole["action"]]
        elif (self.root / "meta" / "episodes_stats.jsonl").is_file():
            parts = [
                r["stats"]["action"] for r in _lines(self.root / "meta" / "episodes_stats.jsonl") if "action" in r["stats"]
            ]
        if parts and all(k in p for p in parts for k in ("min", "max", "mean", "std")):
            parts = [{"count": [1], **p} for p in parts]
            return {k: np.asarray(v).reshape(-1) for k, v in st.joined(parts).items()}
        return st.of_numbers(np.concatenate([self._vector(self.rows(i), "action") for i in range(len(self))]))


def _array(column: Any, what: str) -> np.ndarray:
    """An Arrow column as `t`, or `t n` for lists of one length."""
    first = column[0].as_py() if len(column) else None
    if not isinstance(first, list):
        return column.to_numpy()
    rows = column.to_pylist()
    try:
        return np.asarray(rows)
    except ValueError:
        raise BadInput(f"{what} has rows of different lengths.") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not readable as JSON lines: {error}") from error


def _hint(root: Path) -> str:
    """What else the folder may be."""
    if (root / ".pieces").is_dir():
        return " A recording was begun there and stopped before its first files; record into it again to go on."
    inside = sorted(p.parent.parent for p in root.glob("*/meta/info.json")) if root.is_dir() else []
    return f" Did you mean {inside[0]}?" if inside else ""
