"""Layouts that episodes are written to, one at a time; whatever kills the writer, an episode is there whole or not at all.

```text
lerobot       LeRobot v3.0 (`lerobot.write`)
folder        <name>.mp4 or <name>.<camera>.mp4, <name>.txt, <name>.json (last); <name>.truth.safetensors where there is truth
webdataset    the same as members of 000000.tar ..., and manifest.json; one camera reads as `armillary.shards` too
cosmos        videos/[<camera>/]<name>.mp4, metas/[<camera>/]<name>.txt (Predict 1 to 2.5), annotation/<name>.json (actions, in the
              names of Predict 2's action data), dataset.jsonl (Cosmos 3); t5_xxl/ where the source brings embeddings
```
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from armillary.data.convert.encoded import CODEC_NAMES, Encoded
from armillary.data.convert.takes import Take, record_of
from armillary.data.lerobot.write import LeRobotWriter
from armillary.data.truth import save_truth
from armillary.store import atomic_path, check_writable, read_json, sha256_file, write_json, write_text

MAX_BYTES = 500_000_000  # of a tar


class Sink(Protocol):
    """Where episodes go.

    Attributes:
        codec: the encoder whose videos it wants, or empty for any. even: whether frame `k` must be shown at `k / fps`.
        left: what takes may hold and it cannot, in words.
    """

    codec: str
    even: bool
    left: Sequence[str]

    def has(self, name: str) -> bool:
        """Whether the episode of that name is there, whole."""
        ...

    def name(self, number: int, key: str) -> str:
        """What the next episode will be called."""
        ...

    def add(self, name: str, take: Take, videos: Mapping[str, Encoded]) -> None: ...

    def close(self) -> None: ...


class ToLeRobot:
    """A `LeRobotWriter` opened by the first episode, whose rate, actions and cameras the others must share."""

    even = True
    left = ("text embeddings",)

    def __init__(self, root: Path, codec: str, crf: int) -> None:
        self.root, self.crf = check_writable(root), crf
        self.codec = codec or "libx264"
        self._writer: LeRobotWriter | None = None

    def _opened(self, take: Take) -> LeRobotWriter:
        if self._writer is None:
            e = take.episode
            options = {
                "state_names": e.state_names,
                "codec": self.codec,
                "crf": self.crf,
                "robot_type": take.robot or "unknown",
            }
            self._writer = LeRobotWriter(self.root, e.fps, e.spec, tuple(take.pictures), **options)
        return self._writer

    def has(self, name: str) -> bool:
        index = int(name)
        info = self.root / "meta" / "info.json"
        done = int(read_json(info)["total_episodes"]) if info.is_file() else 0
        return index < done or (self.root / ".pieces" / f"episode_{index:06d}" / "episode.json").is_file()

    def name(self, number: int, key: str) -> str:
        return str(number)

    def add(self, name: str, take: Take, videos: Mapping[str, Encoded]) -> None:
        writer, episode = self._opened(take), take.episode
        if not episode.instruction:  # LeRobot has a task or nothing
            episode = dataclasses.replace(episode, instruction=episode.caption)
        writer.add(episode, videos=videos, extra=take.extra)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class ToFolder:
    """Plain files, named as in the head of this file."""

    codec, even = "", False
    left: tuple[str, ...] = ("text embeddings",)

    def __init__(self, root: Path) -> None:
        self.root = check_writable(root)

    def has(self, name: str) -> bool:
        return (self.root / f"{name}.json").is_file()

    def name(self, number: int, key: str) -> str:
        return key

    def add(self, name: str, take: Take, videos: Mapping[str, Encoded]) -> None:
        single = len(videos) == 1
        named = {c: (f"{name}.mp4" if single else f"{name}.{c}.mp4", v) for c, v in videos.items()}
        for inside, video in named.values():
            _place(video.path, self.root / inside)
        if take.episode.truth:
            with atomic_path(self.root / f"{name}.truth.safetensors") as temporary:
                save_truth(temporary, take.episode)
        write_text(self.root / f"{name}.txt", caption(take))
        write_json(self.root / f"{name}.json", record_of(take, named))

    def close(self) -> None:
        return None


class ToShards:
    """A folder of pieces that are packed into a tar whenever there are enough of them."""

    codec, even = "", False
    left = ToFolder.left

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self.root, self.max_bytes = check_writable(root), max_bytes
        self.pieces = ToFolder(self.root / ".pieces")
        known = self.root / "manifest.json"
        self.shards: list[dict[str, Any]] = read_json(known)["shards"] if known.is_file() else []
        self.packed = {key for shard in self.shards for key in shard["keys"]}
        for name in self.packed:  # in a tar already when the writer was killed
            for path in self._members(name):
                path.unlink()
        self.waiting = sorted(p.stem for p in self.pieces.root.glob("*.json"))

    def has(self, name: str) -> bool:
        return name in self.packed or self.pieces.has(name)

    def name(self, number: int, key: str) -> str:
        return key.replace("/", "_")

    def add(self, name: str, take: Take, videos: Mapping[str, Encoded]) -> None:
        self.pieces.add(name, take, videos)
        if name not in self.waiting:
            self.waiting.append(name)
        if sum(p.stat().st_size for n in self.waiting for p in self._members(n)) >= self.max_bytes:
            self._pack()

    def _members(self, name: str) -> list[Path]:
        return sorted(p for p in self.pieces.root.glob(f"{_literal(name)}.*") if p.name.partition(".")[0] == name)

    def _pack(self) -> None:
        tar = f"{len(self.shards):06d}.tar"
        with atomic_path(self.root / tar) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as file:
            for name in self.waiting:
                for path in self._members(name):
                    header = tarfile.TarInfo(path.name)  # a bare one: no owner, time 0, mode 0644
                    header.size = path.stat().st_size
                    with path.open("rb") as member:
                        file.addfile(header, member)
        row = {"path": tar, "bucket": "episodes", "num_clips": len(self.waiting), "sha256": sha256_file(self.root / tar)}
        self.shards.append({**row, "keys": list(self.waiting)})
        total = sum(s["num_clips"] for s in self.shards)
        about = {"format": 1, "num_clips": total, "buckets": {"episodes": total}, "shards": self.shards}
        write_json(self.root / "manifest.json", about)
        self.packed |= set(self.waiting)
        for name in self.waiting:
            for path in self._members(name):
                path.unlink()
        self.waiting = []

    def close(self) -> None:
        if self.waiting:
            self._pack()
        shutil.rmtree(self.pieces.root, ignore_errors=True)


class ToCosmos:
    """What NVIDIA's post-training reads, from Predict 1 to Cosmos 3."""

    codec, even = "", False
    left = ("exact arrays of a simulator",)

    def __init__(self, root: Path) -> None:
        self.root = check_writable(root)

    def has(self, name: str) -> bool:
        return (self.root / "annotation" / f"{name}.json").is_file()

    def name(self, number: int, key: str) -> str:
        return key.replace("/", "_")

    def add(self, name: str, take: Take, videos: Mapping[str, Encoded]) -> None:
        single, text = len(videos) == 1, caption(take)
        named = {c: (f"videos/{name}.mp4" if single else f"videos/{c}/{name}.mp4", v) for c, v in videos.items()}
        for camera, (inside, video) in named.items():
            _place(video.path, self.root / inside)
            write_text(
                self.root / "metas" / ("" if single else camera) / f"{name}.txt", take.episode.captions.get(camera, text)
            )
            if take.t5 is not None:
                _place(take.t5, self.root / "t5_xxl" / ("" if single else camera) / f"{name}.pickle")
        record = record_of(take, named)
        bridge = {"task": "robot_trajectory_prediction" if "actions" in record else "", "texts": [text], "episode_id": name}
        bridge["videos"] = [{"video_path": inside, "camera": c} for c, (inside, _) in named.items()]
        record |= {new: record.pop(old) for old, new in (("actions", "action"), ("states", "state")) if old in record}
        write_json(self.root / "annotation" / f"{name}.json", {**bridge, **record})

    def close(self) -> None:
        rows = []
        for path in sorted((self.root / "annotation").glob("*.json")):
            record = read_json(path)
            text = (record["texts"] or [""])[0]
            for n, (camera, view) in enumerate(record["cameras"].items()):
                window = {"start_frame": 0, "end_frame": record["frames"] - 1, "temporal_interval": 1, "caption": text}
                row = {"uuid": path.stem if len(record["cameras"]) == 1 else f"{path.stem}_{camera}"}
                row |= {
                    "duration": round(record["frames"] / record["fps"], 6),
                    "width": view["width"],
                    "height": view["height"],
                }
                row |= {"nb_frames": record["frames"], "framerate": record["fps"], "vision_path": view["video"]}
                rows.append(json.dumps(row | {"t2w_windows": [window], "view": n}, ensure_ascii=False))
        write_text(self.root / "dataset.jsonl", "".join(r + "\n" for r in rows))


SINKS: dict[str, Any] = {"lerobot": ToLeRobot, "cosmos": ToCosmos, "webdataset": ToShards, "folder": ToFolder}
ENCODERS = {made: encoder for encoder, made in CODEC_NAMES.items()}  # h264 -> libx264


def caption(take: Take) -> str:
    """What the text file of an episode says: what is seen, or else what was asked for."""
    return take.episode.caption or take.episode.instruction


def _place(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _literal(name: str) -> str:
    """A name as a glob pattern that matches it alone."""
    return "".join(f"[{ch}]" if ch in "[]*?" else ch for ch in name)
