"""Layouts that episodes are read from: LeRobot, Cosmos folders and JSON lines, WebDataset shards, and plain folders.

```text
lerobot       meta/info.json ...                                                       v3.0, v2.1, v2.0
cosmos        videos/<name>.mp4 or videos/<camera>/<name>.mp4, metas/<name>.txt, annotation(s)/<name>.json, t5_xxl/<name>.pickle
cosmos-jsonl  <any>.jsonl: uuid, vision_path, t2w_windows [start_frame, end_frame (inclusive), caption_json | caption]
webdataset    <any>.tar: key.mp4 or key.<camera>.mp4, key.json, key.txt, key.npy (actions); also parallel video/ metas/ t5_xxl/ tars
folder        <name>.mp4 or <name>.<camera>.mp4, <name>.json, <name>.txt
```

A camera without a name of its own is called `video`. Text embeddings are pickles: their bytes are carried, never opened.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from av.error import FFmpegError

from armillary.data.convert import takes as tk
from armillary.data.convert.items import Item, Place, scan_cosmos, scan_folder, scan_jsonl, scan_shards
from armillary.data.lerobot.read import COUNTERS, LeRobotDataset
from armillary.data.lerobot.write import truth_path
from armillary.data.moments import frame_times
from armillary.data.truth import load_truth
from armillary.errors import BadInput
from armillary.media import iter_frames, probe
from armillary.media.decode import mean_rate
from armillary.presets import from_json
from armillary.types import ActionSpec

# What a broken episode raises: its own files' fault, so the next one is read. JSON of others may hold anything anywhere.
BROKEN = (BadInput, FFmpegError, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError)


class Source(Protocol):
    """Episodes of one layout, read one at a time.

    Attributes:
        layout: of `SOURCES`; version: of its format, or empty. keys: names of the episodes, in order.
        left: what there is that no take holds, in words.
    """

    layout: str
    version: str
    keys: Sequence[str]
    left: Sequence[str]

    def take(self, index: int) -> tk.Take:
        """Episode `index`; its files stay until the next call.

        Raises:
            BadInput: naming what is wrong with it.
        """
        ...


class LeRobotSource:
    """A LeRobot data set of any version that is read."""

    layout = "lerobot"

    def __init__(self, path: Path) -> None:
        self.data = LeRobotDataset(path)
        self.version = self.data.version
        self.keys = [f"episode_{r['episode_index']:06d}" for r in self.data.episodes]
        words = [k for k, f in self.data.features.items() if f["dtype"] in ("string", "language", "list")]
        self.left = [f"columns of words: {', '.join(words)}"] if words else []

    def take(self, index: int) -> tk.Take:
        data = self.data
        episode, rows = data.episode(index, cameras=()), data.rows(index)
        views = load_truth(truth_path(data.root, index))[2] if data.own else []
        known = {*data.parts("action"), *data.parts("observation.state"), "next.reward", "reward", "next.done", "next.success"}
        extra = {k: v for k, v in rows.items() if k not in known | COUNTERS and v.dtype.kind in "fiub"}
        spans = {
            c: tk.Span(data.video_path(index, c), data.video_times(index, c, rows))
            for c, key in data.keys.items()
            if data.features[key]["dtype"] == "video"
        }
        pictures = {c: functools.partial(data.pictures, index, c, rows) for c in data.cameras}
        episode = dataclasses.replace(episode, cameras=tuple(views))
        return tk.Take(self.keys[index], episode, spans, pictures, extra, robot=str(data.info.get("robot_type") or ""))


class FileSource:
    """Episodes that are files by themselves, or members of tars."""

    def __init__(self, layout: str, path: Path, items: Sequence[Item]) -> None:
        self.layout, self.version, self.path, self.items = layout, "", path, items
        if not items:
            raise BadInput(f"{path} holds no episodes in the layout {layout!r}.")
        self.keys = [i.key for i in items]
        self.left: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="armillary-")
        self._number = itertools.count()

    @functools.cached_property
    def spec(self) -> ActionSpec | None:
        """What actions mean, where records do not say: the same for all, so that episodes fit each other."""
        rows = []
        for index in range(len(self.items)):
            try:
                record = self._record(self.items[index])
                if record.get("spec"):
                    return from_json(ActionSpec, record["spec"])
                actions = np.asarray(record.get("actions", record.get("action", [])), np.float32)
            except (BadInput, TypeError, ValueError):
                continue  # `take` names it
            if actions.ndim == 2 and len(actions):
                rows += [actions.min(0), actions.max(0)]
        wide = [r for r in rows if r.shape == rows[0].shape]
        rate = next((float(r["fps"]) for r in map(self._safe, self.items) if r.get("fps")), 0.0)
        if not wide:
            return None
        return tk.unknown_spec(np.stack(wide), rate or self._rate())

    def _safe(self, item: Item) -> Mapping[str, Any]:
        try:
            return self._record(item)
        except BadInput:
            return {}

    def _rate(self) -> float:
        for item in self.items:
            for place in item.videos.values():
                try:
                    path = place.file(Path(self._folder.name) / f"{next(self._number)}.mp4")
                    return mean_rate(frame_times(path), probe(path).fps)
                except BadInput:
                    continue
        return 1.0

    def take(self, index: int) -> tk.Take:
        item = self.items[index]
        self._clean()
        if not item.videos:
            raise BadInput(f"{item.key} has no video.")
        record = self._record(item)
        text = item.text if isinstance(item.text, str) else item.text.read().decode("utf-8", "replace").strip()
        spans: dict[str, tk.Span] = {}
        rate = 0.0
        for camera, place in _named(item, record).items():
            path = place.file(Path(self._folder.name) / f"{next(self._number)}.mp4")
            times = frame_times(path)
            rate = rate or mean_rate(times, probe(path).fps)
            if item.window is None:
                spans[camera] = tk.Span(path, times, whole=True)
            else:
                first, last = item.window
                if not 0 <= first <= last < len(times):
                    raise BadInput(f"{item.key} asks for frames {first} to {last}; {path.name} has {len(times)}.")
                spans[camera] = tk.Span(path, times[first : last + 1])
        counts = {c: len(s.times) for c, s in spans.items()}
        if len(set(counts.values())) > 1:
            raise BadInput(f"The cameras of {item.key} have different numbers of frames: {counts}.")
        frames = next(iter(counts.values()))
        episode = tk.episode_of(item.key, record, frames, rate, text, self.spec)
        if item.truth is not None:
            truth, facts, views = load_truth(item.truth.file(Path(self._folder.name) / f"{next(self._number)}.safetensors"))
            episode = dataclasses.replace(episode, truth=truth, cameras=tuple(views) or episode.cameras)
            episode = dataclasses.replace(episode, caption=facts.get("caption", episode.caption))
        pictures = {c: functools.partial(_decoded, s) for c, s in spans.items()}
        extra = tk.columns_of(record, frames, item.key)
        return tk.Take(item.key, episode, spans, pictures, extra, item.t5, str(record.get("robot_type") or ""))

    def _record(self, item: Item) -> Mapping[str, Any]:
        record: dict[str, Any] = dict(item.facts)
        if item.record is not None:
            try:
                value = json.loads(item.record.read())
            except (ValueError, OSError) as error:
                raise BadInput(f"{item.key}: its JSON cannot be read ({error}).") from error
            record |= value if isinstance(value, dict) else {}
        if item.actions is not None:
            try:
                record["actions"] = np.load(io.BytesIO(item.actions.read()), allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise BadInput(f"{item.key}: its .npy cannot be read ({error}).") from error
        return record

    def _clean(self) -> None:
        for path in Path(self._folder.name).iterdir():
            path.unlink()


def _named(item: Item, record: Mapping[str, Any]) -> dict[str, Place]:
    """The videos of an episode by the names and in the order that its record has for its cameras.

    Raises:
        BadInput: one that the record names is missing.
    """
    names = list(record["cameras"]) if isinstance(record.get("cameras"), Mapping) else []
    if len(names) == 1 == len(item.videos):
        return dict(zip(names, item.videos.values()))
    lacking = [n for n in names if n not in item.videos]
    if lacking:
        raise BadInput(f"{item.key} has no video of its camera {lacking[0]!r}.")
    return {n: item.videos[n] for n in [*names, *(c for c in item.videos if c not in names)]}


def _decoded(span: tk.Span) -> Iterator[np.ndarray]:
    """The frames of a span, in order."""
    half = 1e-4 if len(span.times) < 2 else float(np.diff(span.times).min()) / 2
    for _, picture in iter_frames(span.path, start=float(span.times[0]) - half, end=float(span.times[-1]) + half):
        yield picture


def _folder_of(layout: str, scan: Any, path: Path) -> FileSource:
    return FileSource(layout, path, scan(path))


SOURCES: dict[str, Any] = {
    "lerobot": LeRobotSource,
    "cosmos-jsonl": functools.partial(_folder_of, "cosmos-jsonl", scan_jsonl),
    "cosmos": functools.partial(_folder_of, "cosmos", scan_cosmos),
    "webdataset": functools.partial(_folder_of, "webdataset", scan_shards),
    "folder": functools.partial(_folder_of, "folder", scan_folder),
}


def layout_of(path: Path) -> str:
    """Which of `SOURCES` a path is.

    Raises:
        BadInput: none of them.
    """
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    if path.is_file() and path.suffix in (".jsonl", ".tar"):
        return {".jsonl": "cosmos-jsonl", ".tar": "webdataset"}[path.suffix]
    if path.is_dir():
        if (path / "videos").is_dir() and any((path / n).is_dir() for n in ("metas", "annotation", "annotations", "t5_xxl")):
            return "cosmos"
        if any(not p.name.startswith(".") for p in path.glob("*.jsonl")):
            return "cosmos-jsonl"
        if next(path.rglob("*.tar"), None):
            return "webdataset"
        if (path / "videos").is_dir() and next((path / "videos").rglob("*.mp4"), None):
            return "cosmos"
        if scan_folder(path):
            return "folder"
    inside = sorted(p.parent.parent for p in path.glob("*/meta/info.json")) if path.is_dir() else []
    hint = f" Did you mean {inside[0]}?" if inside else ""
    what = "does not exist" if not path.exists() else "holds no episodes"
    raise BadInput(f"{path} {what}: a LeRobot data set, a Cosmos folder or .jsonl, .tar shards or videos are read.{hint}")


def open_source(path: str | Path, layout: str = "") -> Source:
    """Episodes at `path`, in the layout given, or found.

    Raises:
        BadInput: no such layout, or nothing of it there.
    """
    from armillary.errors import lookup

    path = Path(path)
    return lookup(SOURCES, layout or layout_of(path), "layout")(path)


__all__ = ["BROKEN", "SOURCES", "FileSource", "LeRobotSource", "Place", "Source", "layout_of", "open_source"]
