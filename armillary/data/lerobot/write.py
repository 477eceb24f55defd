"""Writing LeRobotDataset v3.0: episodes are never half there.

An episode is first written whole as a *piece* (`.pieces/episode_000007/`: one mp4 a camera, arrays, facts), by any process and in any
order. Every `batch` pieces, in order, become one new file each of `data/`, `videos/<key>/` and `meta/episodes/`; then the tables that
name them are replaced, `meta/info.json` last. No file that a reader knows is ever changed, so whatever kills the writer leaves a data
set that reads, and pieces that the next writer picks up.

What LeRobot has no place for rides beside it, where its readers do not look: `meta/armillary.json` (the action spec, names) and
`truth/episode_000007.safetensors` (a simulator's exact arrays, camera poses, the caption).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.convert.encoded import CODEC_NAMES, Encoded, join_videos
from armillary.data.lerobot import stats as st
from armillary.data.truth import save_truth
from armillary.errors import BadInput, require
from armillary.media import write_video
from armillary.presets import to_json
from armillary.store import atomic_dir, atomic_path, check_writable, read_json, write_json
from armillary.types import ActionSpec, Episode

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CHUNK = 1000  # files in a folder
DEFAULTS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}


def video_key(camera: str) -> str:
    return f"observation.images.{camera}"


def piece_path(root: Path, index: int) -> Path:
    return root / ".pieces" / f"episode_{index:06d}"


def truth_path(root: Path, index: int) -> Path:
    return root / "truth" / f"episode_{index:06d}.safetensors"


# One episode, whole ---------------------------------------------------------------------------------------------------------------


def write_piece(
    root: str | Path,
    index: int,
    episode: Episode,
    codec: str = "libx264",
    crf: int = 20,
    *,
    videos: Mapping[str, Encoded] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write episode `index` as a piece. Safe to call from any process, once for each index.

    Args:
        videos: camera -> a video that is taken as it is; `episode.frames` is not looked at then.
        extra: further columns of numbers, feature -> `t` or `t n`.

    Raises:
        BadInput: for an episode whose arrays disagree in length.
    """
    from safetensors.numpy import save_file

    root, n = Path(root), len(episode)
    columns = _columns(episode) | {k: v.reshape(n, -1) if n else v for k, v in (extra or {}).items()}
    frames = {} if videos is not None else dict(episode.frames)
    for name, values in [*columns.items(), *frames.items(), *episode.truth.items()]:
        if len(values) != n:
            raise BadInput(f"Episode {episode.id!r} has {n} actions but {len(values)} rows of {name}.")
    if not n:
        raise BadInput(f"Episode {episode.id!r} is empty.")
    stats: dict[str, st.Stats] = {}
    shapes: dict[str, list[int]] = {}
    with atomic_dir(piece_path(root, index)) as folder:
        for camera, pictures in frames.items():
            write_video(folder / f"{camera}.mp4", pictures, episode.fps, codec, crf)
            stats[video_key(camera)] = st.of_pictures(pictures)
            h, w, c = pictures.shape[1:]
            shapes[camera] = [h + h % 2, w + w % 2, c]  # as the video keeps them
        for camera, video in (videos or {}).items():
            shutil.copyfile(video.path, folder / f"{camera}.mp4")
            stats[video_key(camera)], shapes[camera] = video.stats, list(video.shape)
        stats |= {name: st.of_numbers(values) for name, values in columns.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in columns.items()}, folder / "columns.safetensors")
        save_truth(folder / "truth.safetensors", episode)
        about = {"length": n, "task": episode.instruction, "shapes": shapes, "stats": st.plain(stats), "crf": crf}
        if videos is not None:  # only videos of one encoder can share a file
            about["streams"] = {camera: video.stream for camera, video in videos.items()}
        write_json(folder / "episode.json", about)
    return piece_path(root, index)


def _columns(episode: Episode) -> dict[str, np.ndarray]:
    """What goes into the table of rows, in LeRobot's names: `t n` numbers."""
    n = len(episode)
    out: dict[str, np.ndarray] = {}
    if episode.states.size:
        out["observation.state"] = episode.states.astype(np.float32)
    if episode.actions.size:
        out["action"] = episode.actions.astype(np.float32)
    if episode.rewards is not None:
        out["next.reward"] = np.asarray(episode.rewards, np.float32).reshape(n, 1)
    last = (np.arange(n) == n - 1).reshape(n, 1)
    out["next.done"] = last
    if episode.success is not None:
        out["next.success"] = last & bool(episode.success)
    return out


# The data set ---------------------------------------------------------------------------------------------------------------------


class LeRobotWriter:
    """Make or extend a data set. A context manager.

    >>> with LeRobotWriter("out", 10, spec, ("front",)) as writer:
    ...     writer.add(episode)

    Args:
        folder: new, empty, or one that such a writer began with the same settings.
        cameras: names of the pictures every episode brings.
        codec, crf: of the videos, as `media.write_video` takes them.
        batch: episodes in one file.

    Attributes:
        num_written: episodes that any reader sees; `num_episodes`: with the pieces that are waiting.

    Raises:
        BadInput: for a folder that is something else, or was begun with other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        fps: float,
        spec: ActionSpec,
        cameras: Sequence[str],
        *,
        state_names: Sequence[str] = (),
        robot_type: str = "unknown",
        codec: str = "libx264",
        crf: int = 20,
        batch: int = 100,
    ) -> None:
        self.pa, self.pq = require("pyarrow", "LeRobot data sets"), require("pyarrow.parquet", "LeRobot data sets")
        if codec not in CODEC_NAMES:
            raise BadInput(f"No codec {codec!r} here. Known: {', '.join(CODEC_NAMES)}.")
        self.root = check_writable(folder)
        self.fps, self.spec, self.cameras = fps, spec, tuple(cameras)
        self.state_names, self.robot_type, self.codec, self.crf, self.batch = tuple(state_names), robot_type, codec, crf, batch
        about = to_json(
            {
                "format": 1,
                "fps": fps,
                "spec": spec,
                "cameras": self.cameras,
                "state_names": self.state_names,
                "robot_type": robot_type,
                "codec": codec,
            }
        )
        ours = self.root / "meta" / "armillary.json"
        if ours.is_file():
            was = read_json(ours)
            wrong = [f"{k}: {was.get(k)!r} there, {v!r} now" for k, v in about.items() if was.get(k) != v]
            if wrong:
                raise BadInput(f"{self.root} was begun with other settings ({'; '.join(wrong)}). Give another folder.")
        elif any(not p.name.startswith(".") for p in self.root.iterdir()):
            raise BadInput(f"{self.root} is not empty and was not begun by this writer. Give another folder.")
        write_json(ours, about)
        info = self.root / "meta" / "info.json"
        self.info: dict[str, Any] = read_json(info) if info.is_file() else {}
        self.tasks = _read_tasks(self.root, self.pq)
        self._clean()

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def num_written(self) -> int:
        return int(self.info.get("total_episodes", 0))

    @property
    def num_episodes(self) -> int:
        index = self.num_written
        while self.has(index):
            index += 1
        return index

    def has(self, index: int) -> bool:
        """Whether episode `index` is there, as a piece or for good."""
        return index < self.num_written or (piece_path(self.root, index) / "episode.json").is_file()

    def add(
        self,
        episode: Episode,
        *,
        videos: Mapping[str, Encoded] | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> int:
        """Append one episode; returns its index. `videos` and `extra` as in `write_piece`.

        Raises:
            BadInput: for one with another spec, rate, or cameras.
        """
        self.check(episode, tuple(episode.frames if videos is None else videos))
        index = self.num_episodes
        write_piece(self.root, index, episode, self.codec, self.crf, videos=videos, extra=extra)
        first = self.info.get("features") or self._features(*self._piece(self.num_written))
        if self._features(*self._piece(index)) != first:
            shutil.rmtree(piece_path(self.root, index))
            raise BadInput(f"Episode {episode.id!r} has other columns or picture sizes than the ones before it.")
        self.collect()
        return index

    def _piece(self, index: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The record and the columns of a waiting episode."""
        from safetensors.numpy import load_file

        folder = piece_path(self.root, index)
        return read_json(folder / "episode.json"), load_file(folder / "columns.safetensors")

    def check(self, episode: Episode, cameras: tuple[str, ...]) -> None:
        differences = episode.spec.differences(self.spec)
        if differences:
            raise BadInput(f"Episode {episode.id!r} has other actions than this data set: {'; '.join(differences)}.")
        if cameras != self.cameras or episode.fps != self.fps:
            raise BadInput(
                f"Episode {episode.id!r} has cameras {list(cameras)} at {episode.fps:g} fps; "
                f"this data set has {list(self.cameras)} at {self.fps:g} fps."
            )

    def collect(self, rest: bool = False) -> int:
        """Put waiting pieces into files, `batch` at a time, and the last few too if `rest`. Returns how many episodes any reader sees."""
        while (waiting := self.num_episodes - self.num_written) >= self.batch or (rest and waiting):
            indices = range(self.num_written, self.num_written + min(waiting, self.batch))
            self._write_batch(indices[: self._alike(indices)])
        return self.num_written

    def _alike(self, indices: range) -> int:
        """How many of the waiting pieces, from the first on, have videos of one encoder, which can share a file."""
        streams = [read_json(piece_path(self.root, i) / "episode.json").get("streams") for i in indices]
        return next((n for n, s in enumerate(streams) if s != streams[0]), len(streams))

    def close(self) -> None:
        """Write out what is waiting in order. Pieces beyond a gap stay for the next writer."""
        self.collect(rest=True)
        pieces = self.root / ".pieces"
        if pieces.is_dir() and not any(pieces.iterdir()):
            pieces.rmdir()

    def _clean(self) -> None:
        """Remove what a killed writer left: temporaries, and pieces that are in the files already. One writer a folder at a time."""
        for path in [*self.root.glob(".pieces/.*.tmp"), *self.root.glob(".pieces/.*.old")]:
            shutil.rmtree(path)
        for path in list(self.root.glob("**/.*.tmp.*")):
            path.unlink()
        for path in self.root.glob(".pieces/episode_*"):
            if int(path.name.removeprefix("episode_")) < self.num_written:
                shutil.rmtree(path)

    def _write_batch(self, indices: range) -> None:
        records, columns = zip(*(self._piece(i) for i in indices))
        features = self._features(records[0], columns[0])
        for i, record, table in zip(indices, records, columns):
            if self._features(record, table) != features or (self.info and self.info["features"] != features):
                raise BadInput(
                    f"Episode {i} of {self.root} has other columns or picture sizes than the ones before it. Remove its piece."
                )
        number = int(self.info.get("total_files", 0)) if self.info else 0
        place = {"chunk_index": number // CHUNK, "file_index": number % CHUNK}
        for record in records:
            self.tasks.setdefault(record["task"], len(self.tasks))

        starts = np.cumsum([0] + [r["length"] for r in records])
        for camera in self.cameras:
            out = self.root / VIDEO_PATH.format(video_key=video_key(camera), **place)
            join_videos([piece_path(self.root, i) / f"{camera}.mp4" for i in indices], starts[:-1].tolist(), self.fps, out)
        first = int(self.info.get("total_frames", 0))
        rows = [
            _rows(table, record, i, first + int(start), self.fps, self.tasks)
            for i, record, table, start in zip(indices, records, columns, starts)
        ]
        (self.root / "truth").mkdir(exist_ok=True)
        for i in indices:
            shutil.copyfile(piece_path(self.root, i) / "truth.safetensors", truth_path(self.root, i))

        stats = [{**r["stats"], **{k: st.of_numbers(row[k]) for k in DEFAULTS}} for r, row in zip(records, rows)]
        self._write_rows(self.root / DATA_PATH.format(**place), rows, features)
        self._write_episodes(self.root / EPISODES_PATH.format(**place), indices, records, stats, starts + first, place)
        _write_tasks(self.root, self.tasks, self.pa, self.pq)
        known = self.root / "meta" / "stats.json"
        parts = stats + ([read_json(known)] if self.info and known.is_file() else [])
        write_json(known, st.plain({k: st.joined([p[k] for p in parts]) for k in stats[0]}))
        self._write_info(features, indices.stop, first + int(starts[-1]), number + 1)
        for i in indices:
            shutil.rmtree(piece_path(self.root, i))

    def _features(self, record: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        fps = int(self.fps) if float(self.fps).is_integer() else self.fps
        for camera in self.cameras:
            h, w, c = record["shapes"][camera]
            out[video_key(camera)] = {
                "dtype": "video",
                "shape": [h, w, c],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": h,
                    "video.width": w,
                    "video.codec": CODEC_NAMES[self.codec],
                    "video.pix_fmt": "yuv420p",
                    "video.is_depth_map": False,
                    "video.fps": fps,
                    "video.channels": c,
                    "has_audio": False,
                },
            }
        names = {"action": list(self.spec.names), "observation.state": list(self.state_names) or None}
        order = ["observation.state", "action", "next.reward", "next.done", "next.success"]
        for key in [k for k in order if k in columns] + sorted(k for k in columns if k not in order):
            out[key] = {"dtype": str(columns[key].dtype), "shape": [columns[key].shape[1]], "names": names.get(key)}
        return out | {key: {"dtype": kind, "shape": [1], "names": None} for key, kind in DEFAULTS.items()}

    def _write_rows(self, path: Path, rows: Sequence[Mapping[str, np.ndarray]], features: Mapping[str, Any]) -> None:
        """One row group an episode."""
        keys = [k for k, f in features.items() if f["dtype"] != "video"]
        kinds, described = {}, {}
        for key in keys:
            width, value = features[key]["shape"][0], {"dtype": features[key]["dtype"], "_type": "Value"}
            base = self.pa.from_numpy_dtype(np.dtype(features[key]["dtype"]))
            kinds[key] = base if width == 1 else self.pa.list_(base, width)
            described[key] = value if width == 1 else {"feature": value, "length": width, "_type": "List"}
        meta = {"huggingface": json.dumps({"info": {"features": described}})}
        schema = self.pa.schema([(k, kinds[k]) for k in keys], metadata=meta)
        with atomic_path(path) as temporary, self.pq.ParquetWriter(temporary, schema, compression="snappy") as writer:
            for row in rows:
                arrays = []
                for key in keys:
                    flat = self.pa.array(np.ascontiguousarray(row[key]).reshape(-1))
                    width = features[key]["shape"][0]
                    arrays.append(flat if width == 1 else self.pa.FixedSizeListArray.from_arrays(flat, type=kinds[key]))
                writer.write_table(self.pa.Table.from_arrays(arrays, schema=schema))

    def _write_episodes(
        self,
        path: Path,
        indices: range,
        records: Sequence[Mapping[str, Any]],
        stats: Sequence[Mapping[str, Any]],
        starts: np.ndarray,
        place: Mapping[str, int],
    ) -> None:
        lines = []
        for n, (i, record) in enumerate(zip(indices, records)):
            line: dict[str, Any] = {"episode_index": i, "tasks": [record["task"]], "length": record["length"]}
            line |= {f"data/{k}": v for k, v in place.items()}
            line |= {"dataset_from_index": int(starts[n]), "dataset_to_index": int(starts[n + 1])}
            for camera in self.cameras:
                prefix = f"videos/{video_key(camera)}"
                line |= {f"{prefix}/{k}": v for k, v in place.items()}
                line[f"{prefix}/from_timestamp"] = float(starts[n] - starts[0]) / self.fps
                line[f"{prefix}/to_timestamp"] = float(starts[n + 1] - starts[0]) / self.fps
            for feature, values in st.plain(stats[n]).items():
                line |= {f"stats/{feature}/{name}": value for name, value in values.items()}
            lines.append(line | {f"meta/episodes/{k}": v for k, v in place.items()})
        with atomic_path(path) as temporary:
            self.pq.write_table(self.pa.Table.from_pylist(lines), temporary, compression="snappy")

    def _write_info(self, features: Mapping[str, Any], episodes: int, frames: int, files: int) -> None:
        self.info = {
            "codebase_version": VERSION,
            "robot_type": self.robot_type,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": len(self.tasks),
            "total_files": files,
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": dict(features),
        }
        write_json(self.root / "meta" / "info.json", self.info)


def _rows(
    table: Mapping[str, np.ndarray], record: Mapping[str, Any], index: int, first: int, fps: float, tasks: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """An episode's columns with the five that every LeRobot table has."""
    n = int(record["length"])
    at = np.arange(n, dtype=np.int64)
    return {
        **table,
        "timestamp": (at / fps).astype(np.float32),
        "frame_index": at,
        "episode_index": np.full(n, index, np.int64),
        "index": at + first,
        "task_index": np.full(n, tasks[record["task"]], np.int64),
    }


def _read_tasks(root: Path, pq: Any) -> dict[str, int]:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file():
        return {}
    rows = pq.read_table(path).to_pylist()
    return {r["__index_level_0__"]: r["task_index"] for r in sorted(rows, key=lambda r: r["task_index"])}


def _write_tasks(root: Path, tasks: Mapping[str, int], pa: Any, pq: Any) -> None:
    """A table as pandas would write a frame whose index is the sentence: other readers open it with pandas."""
    index = {
        "name": None,
        "field_name": "__index_level_0__",
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": None,
    }
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    levels = [
        {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": {"encoding": "UTF-8"}}
    ]
    pandas = {"index_columns": ["__index_level_0__"], "column_indexes": levels, "columns": [column, index], "attributes": {}}
    pandas |= {"creator": {"library": "pyarrow", "version": pa.__version__}, "pandas_version": "2.2.0"}
    schema = pa.schema(
        [("task_index", pa.int64()), ("__index_level_0__", pa.string())], metadata={"pandas": json.dumps(pandas)}
    )
    table = pa.Table.from_arrays([pa.array(list(tasks.values()), pa.int64()), pa.array(list(tasks))], schema=schema)
    with atomic_path(root / "meta" / "tasks.parquet") as temporary:
        pq.write_table(table, temporary, compression="snappy")
