"""Which files belong to one episode, in each layout whose episodes are files. Nothing is decoded here, and no path leaves the folder."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armillary.data.clips import VIDEO
from armillary.data.lerobot.files import read_lines
from armillary.errors import BadInput

CAMERA = "video"  # the name of a camera that has none
PARALLEL = ("video", "videos", "metas", "t5_xxl")  # folders of tars whose members share their keys (cosmos-curate)


@dataclass(frozen=True)
class Place:
    """A file, or a member of a tar. Args: `span` its offset and size in `path`."""

    path: Path
    span: tuple[int, int] | None = None

    def read(self) -> bytes:
        """Raises BadInput: it is not there, or cut short."""
        try:
            with self.path.open("rb") as file:
                if self.span is None:
                    return file.read()
                file.seek(self.span[0])
                data = file.read(self.span[1])
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {error.strerror or error}.") from error
        if len(data) != self.span[1]:
            raise BadInput(f"{self.path} is cut short.")
        return data

    def file(self, copy: Path) -> Path:
        """A path to open: the file itself, or `copy`, to which a member is written."""
        if self.span is None:
            return self.path
        copy.write_bytes(self.read())
        return copy


@dataclass(frozen=True)
class Item:
    """The files of one episode.

    Args:
        videos: camera -> file. record: JSON. text: a caption, or its file. actions: an array file `t a`. truth: safetensors.
        t5: a ready text embedding. window: first and last frame of the videos, both included. facts: what is known without a file.
    """

    key: str
    videos: Mapping[str, Place]
    record: Place | None = None
    text: Place | str = ""
    actions: Place | None = None
    truth: Place | None = None
    t5: Path | None = None
    window: tuple[int, int] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def scan_folder(root: Path) -> list[Item]:
    """`<name>.mp4` or `<name>.<camera>.mp4`, with `<name>.json` and `<name>.txt`, in subfolders too. A record names its cameras."""
    if not root.is_dir():
        return []
    videos: dict[str, dict[str, Place]] = {}
    others: dict[str, dict[str, Place]] = {}
    for path in sorted(root.rglob("*")):
        if any(p.startswith(".") for p in path.relative_to(root).parts) or not path.is_file():
            continue
        folder = path.relative_to(root).parent
        stem, _, suffix = path.name.partition(".")
        if path.suffix.lower() in VIDEO:
            camera = suffix.rpartition(".")[0]
            # a dot may also be part of a name: `take.2.mp4` beside `take.2.json`
            if camera and path.with_suffix(".json").is_file():
                stem, camera = path.stem, ""
            videos.setdefault((folder / stem).as_posix(), {})[camera or CAMERA] = Place(path)
        elif path.suffix in (".json", ".txt", ".safetensors", ".npy"):
            stem = path.name.removesuffix(path.suffix).removesuffix(".truth").removesuffix(".actions")
            others.setdefault((folder / stem).as_posix(), {})[path.suffix] = Place(path)
    out = []
    for key in sorted(videos | {k: {} for k, o in others.items() if ".json" in o and _is_record(o[".json"].path)}):
        beside = others.get(key, {})
        out.append(_item(key, videos.get(key, {}), beside))
    return out


def _is_record(path: Path) -> bool:
    """Whether a JSON file without a video of its name speaks of an episode (its video is missing then)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and "cameras" in value and "frames" in value


def _item(key: str, videos: Mapping[str, Place], beside: Mapping[str, Place]) -> Item:
    return Item(
        key,
        videos,
        beside.get(".json"),
        beside.get(".txt", ""),
        beside.get(".npy"),
        beside.get(".safetensors"),
    )


def scan_cosmos(root: Path) -> list[Item]:
    """`videos/ metas/ t5_xxl/`, flat or with a folder a camera, and `annotation/` with one JSON an episode."""
    notes = next((root / n for n in ("annotation", "annotations") if (root / n).is_dir()), None)
    out, taken = [], set()
    for note in sorted(notes.rglob("*.json")) if notes else []:
        key = note.relative_to(notes).with_suffix("").as_posix() if notes else ""
        videos = _noted_videos(root, note) or _same_name(root, key)
        taken |= {p.path for p in videos.values()}
        out.append(Item(key, videos, Place(note), _meta(root, key, videos), t5=_t5(root, key, videos)))
    loose: dict[str, dict[str, Place]] = {}
    folders = {p.parent for p in (root / "videos").rglob("*.mp4")}
    for path in sorted((root / "videos").rglob("*.mp4")):
        if path not in taken:
            inside = path.relative_to(root / "videos")
            by_camera = len(inside.parts) == 2 and len(folders) > 1
            key, camera = (inside.stem, inside.parts[0]) if by_camera else (inside.with_suffix("").as_posix(), CAMERA)
            loose.setdefault(key, {})[camera] = Place(path)
    out += [Item(key, v, text=_meta(root, key, v), t5=_t5(root, key, v)) for key, v in sorted(loose.items())]
    return out


def _noted_videos(root: Path, note: Path) -> dict[str, Place]:
    """The videos that an annotation names: `videos: [{"video_path": ..., "camera": ...}]`, with paths from the folder."""
    try:
        record = json.loads(note.read_bytes())
        rows = [r if isinstance(r, dict) else {"video_path": r} for r in record.get("videos", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # reading the record again says why
    out = {}
    for n, row in enumerate(rows):
        inside = _inside(str(row.get("video_path", "")))
        if inside and (root / inside).is_file():
            out[str(row.get("camera") or (CAMERA if len(rows) == 1 else f"{CAMERA}_{n}"))] = Place(root / inside)
    return out


def _same_name(root: Path, key: str) -> dict[str, Place]:
    path = root / "videos" / f"{key}.mp4"
    if path.is_file():
        return {CAMERA: Place(path)}
    return {p.parent.name: Place(p) for p in sorted((root / "videos").glob(f"*/{Path(key).name}.mp4"))}


def _inside(name: str) -> str:
    """A path that stays within its folder, or nothing."""
    name = os.path.normpath(name)
    return "" if os.path.isabs(name) or name.startswith("..") or "://" in name else name


def _meta(root: Path, key: str, videos: Mapping[str, Place]) -> Place | str:
    names = [key, *(f"{camera}/{Path(key).name}" for camera in videos)]
    return next((Place(p) for n in names if (p := root / "metas" / f"{n}.txt").is_file()), "")


def _t5(root: Path, key: str, videos: Mapping[str, Place]) -> Path | None:
    names = [key, *(f"{camera}/{Path(key).name}" for camera in videos)]
    paths = (root / "t5_xxl" / f"{n}{suffix}" for n in names for suffix in (".pickle", ".pkl"))
    return next((p for p in paths if p.is_file()), None)


def scan_jsonl(path: Path) -> list[Item]:
    """Rows of Cosmos 3 training files; each caption window is an episode of its own."""
    files = sorted(p for p in path.glob("*.jsonl") if not p.name.startswith(".")) if path.is_dir() else [path]
    out = []
    for file in files:
        for n, row in enumerate(read_lines(file)):
            key, named = str(row.get("uuid") or f"{file.stem}_{n:06d}"), str(row.get("vision_path", ""))
            inside = _inside(named)
            videos = {CAMERA: Place(file.parent / inside)} if inside else {}
            facts = {k: row[k] for k in ("uuid", "actions", "action", "states", "state") if k in row}
            windows = row.get("t2w_windows") or [{}]
            for k, window in enumerate(w for w in windows if isinstance(w, dict)):
                told = window.get("caption_json")
                text = window.get("caption") or (told.get("temporal_caption") if isinstance(told, dict) else "") or ""
                span = (int(window["start_frame"]), int(window["end_frame"])) if "start_frame" in window else None
                name = key if len(windows) == 1 else f"{key}_{k}"
                out.append(Item(name, videos, text=str(text), window=span, facts={**facts, "uuid": name}))
    return out


def scan_shards(path: Path) -> list[Item]:
    """Members of tars by key, the name up to its first dot. A tar that cannot be read to its end gives what comes before."""
    tars = [path] if path.is_file() else sorted(p for p in path.rglob("*.tar") if not p.name.startswith("."))
    root = path.parent if path.is_file() else path
    found: dict[str, dict[str, Place]] = {}
    for tar in tars:
        parts = [p for p in tar.relative_to(root).parts if p not in PARALLEL]
        group = "/".join(parts) if len(parts) < len(tar.relative_to(root).parts) else tar.relative_to(root).as_posix()
        try:
            with tarfile.open(tar, "r:") as file:
                for member in file:
                    if member.isfile():
                        key, _, kind = Path(member.name).name.partition(".")
                        place = Place(tar, (member.offset_data, member.size))
                        found.setdefault(f"{group}\0{key}", {})[kind.lower()] = place
        except (tarfile.TarError, OSError):
            if not any(p.path == tar for parts_ in found.values() for p in parts_.values()):
                found[f"{group}\0{tar.stem}"] = {}  # an episode without a video: it is named as broken
    out = []
    for name, members in sorted(found.items()):
        videos = {k.rpartition(".")[0] or CAMERA: p for k, p in members.items() if k == "mp4" or k.endswith(".mp4")}
        beside = {f".{k}": p for k, p in members.items() if k in ("json", "txt", "npy")}
        for kind, suffix in (("truth.safetensors", ".safetensors"), ("actions.npy", ".npy"), ("action.npy", ".npy")):
            if kind in members:
                beside[suffix] = members[kind]
        if members and not videos:
            continue  # metadata of no video, such as the statistics of a tar
        out.append(_item(name.split("\0")[1], videos, beside))
    return out
