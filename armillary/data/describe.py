"""What a data set is, at a glance: kind, version, episodes, cameras, features, tasks, statistics. Little is decoded: a frame a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError

from armillary.data.convert.sources import BROKEN, Source, layout_of, open_source
from armillary.data.lerobot import stats as st
from armillary.data.lerobot.files import read_lines
from armillary.data.lerobot.read import COUNTERS, LeRobotDataset
from armillary.errors import BadInput
from armillary.media import probe
from armillary.store import read_json

SHOWN = 20  # tasks


def describe(folder: str | Path) -> dict[str, Any]:
    """A JSON-able account of a data set in any layout of `data.convert`.

    Raises:
        BadInput: there is none.
    """
    path = Path(folder)
    if layout_of(path) == "lerobot":
        return _lerobot(LeRobotDataset(path))
    return _files(path, open_source(path))


def _lerobot(data: LeRobotDataset) -> dict[str, Any]:
    lengths = np.array([r["length"] for r in data.episodes])
    cameras = []
    for camera, key in data.keys.items():
        row: dict[str, Any] = {"name": camera, "feature": key} | _declared(data.features[key])
        try:
            row |= {} if row["stored"] == "image" else _seen(data.video_path(0, camera))
        except (BadInput, FFmpegError, OSError) as error:
            row["trouble"] = str(error)
        cameras.append(row)
    features = [
        {"name": k, "type": f["dtype"], "shape": f.get("shape") or [], "names": f.get("names") or []}
        for k, f in data.features.items()
        if f["dtype"] not in ("video", "image")
    ]
    stats = _statistics(data)
    return {
        "what": "LeRobot data set",
        "path": str(data.root),
        "version": data.version,
        "robot": str(data.info.get("robot_type") or ""),
        "episodes": len(data),
        "frames": int(lengths.sum()),
        "seconds": round(float(lengths.sum()) / data.fps, 2),
        "fps": data.fps,
        "lengths": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "cameras": cameras,
        "features": features,
        "tasks": {"number": len(data.tasks), "first": list(data.tasks[:SHOWN])},
        "actions": {
            "names": list(data.spec.names),
            "units": list(data.spec.units),
            "frame": data.spec.frame,
            "mode": data.spec.mode,
        },
        "statistics": {
            k: {n: np.asarray(s[n]).reshape(-1).tolist() for n in ("min", "max", "mean", "std")} for k, s in stats.items()
        },
        "megabytes": _megabytes(data.root),
    }


def _statistics(data: LeRobotDataset) -> dict[str, Any]:
    """Of the vectors of numbers: those the set carries; of the actions in any case."""
    path = data.root / "meta" / "stats.json"
    if path.is_file():
        carried = {k: [v] for k, v in read_json(path).items()}
    else:
        lines = [r.get("stats") or {} for r in read_lines(data.root / "meta" / "episodes_stats.jsonl")]
        carried = {k: [r[k] for r in lines if k in r] for k in (lines[0] if lines else {})}
    kinds = {k: f["dtype"] for k, f in data.features.items() if k not in COUNTERS}
    out = {
        k: st.joined([{"count": [1], **p} for p in parts])
        for k, parts in carried.items()
        if kinds.get(k, "").startswith("float")
    }
    return ({"action": data.action_stats} if data.spec.dim else {}) | out


def _declared(feature: dict[str, Any]) -> dict[str, Any]:
    about = feature.get("info") or feature.get("video_info") or {}
    return {"stored": feature["dtype"], "shape": feature.get("shape") or [], "codec": about.get("video.codec", "")}


def _seen(path: Path) -> dict[str, Any]:
    video = probe(path)
    return {"width": video.width, "height": video.height, "codec": video.codec, "fps": video.fps}


def _files(path: Path, source: Source) -> dict[str, Any]:
    lengths, texts, broken, first = [], set(), [], None
    for i, key in enumerate(source.keys):
        try:
            take = source.take(i)
        except BROKEN as error:
            broken.append({"episode": key, "why": str(error)})
            continue
        lengths.append(len(take))
        texts.add(take.episode.instruction or take.episode.caption)
        if first is None:
            spans = {c: _seen(s.path) for c, s in take.spans.items()}
            first = take.episode, [{"name": c, **v} for c, v in spans.items()], sorted(take.extra)
    about: dict[str, Any] = {"what": source.layout, "path": str(path), "episodes": len(lengths), "frames": int(sum(lengths))}
    if first is None:
        return about | {"broken": broken}
    episode, cameras, extra = first
    columns = [("action", episode.actions), ("observation.state", episode.states)]
    features = [{"name": k, "type": str(v.dtype), "shape": [v.shape[1]]} for k, v in columns if v.size]
    return about | {
        "seconds": round(sum(lengths) / episode.fps, 2),
        "fps": episode.fps,
        "lengths": {"min": min(lengths), "median": float(np.median(lengths)), "max": max(lengths)},
        "cameras": cameras,
        "features": features + [{"name": k} for k in extra],
        "tasks": {"number": len(texts - {""}), "first": sorted(texts - {""})[:SHOWN]},
        "broken": broken,
        "megabytes": _megabytes(path),
    }


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return round(sum(p.stat().st_size for p in files) / 1e6, 3)
