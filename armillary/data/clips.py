"""Windows of video clips: a curated folder, its shards, or just a folder of video files. No actions.

Frames are taken at one rate for all: frame `k` of a stretch is the one shown at `start + k / fps`, whatever the file's own rate.
"""

from __future__ import annotations

import functools
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary import media
from armillary.curate import load_clips
from armillary.data.base import Entry, Split, TooFew, hash_files
from armillary.data.moments import shown_at
from armillary.data.pixels import Pixels
from armillary.errors import BadInput, Failed
from armillary.progress import say, track

SHAPES = tuple(name for _, name in media.ASPECTS)
VIDEO = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")


@dataclass(frozen=True)
class ClipsConfig:
    """A folder of clips.

    Args:
        path: a folder with `clips.parquet` (what curation writes: rejected clips are left out), one with tar shards (`key.mp4`,
            `key.txt`), or one with video files (a caption may lie beside each as `.txt`), searched in its subfolders too.
        frames: in a window; fps: the rate they are taken at.
        size: height and width; frames are cropped to that shape in the middle and resized by area.
        whole: instead of being cropped, pictures are made to fit in, and what they leave is filled with their mirror image and marked.
        aspect: only clips of that shape: 9x16, 3x4, 1x1, 4x3 or 16x9 (width by height, as shards are sorted); empty for any.
        crop: height and width of a part cut out of each window wherever chance puts it (held-out: in the middle); (0, 0) for all of it.
        stretch: longer videos are divided into stretches of so many seconds, each decoded at once.
        held_out: share of the source videos kept apart (of the stretches, when there is only one source).
        focus: share of the windows drawn where the picture changes most.
        memory: GiB of decoded frames to keep.
    """

    path: str
    frames: int = 9
    size: tuple[int, int] = (64, 64)
    crop: tuple[int, int] = (0, 0)
    whole: bool = False
    aspect: str = ""
    fps: float = 10.0
    stretch: float = 10.0
    held_out: float = 0.1
    focus: float = 0.0
    memory: float = 4.0

    def build(self, split: Split = "train") -> Pixels:
        """Raises BadInput: nothing to read there; TooFew: no clip is of that shape, or long enough."""
        root = Path(self.path)
        if not root.is_dir():
            raise BadInput(f"{root} is no folder. Clips are read from a folder of videos, of shards, or of curated clips.")
        if self.fps <= 0 or self.stretch * self.fps < self.frames:
            raise BadInput(f"A stretch of {self.stretch} s at {self.fps} frames/s holds no window of {self.frames} frames.")
        if self.aspect and self.aspect not in SHAPES:
            raise BadInput(f"aspect is one of {', '.join(SHAPES)}, or empty for any; got {self.aspect!r}.")
        if self.whole and self.crop != (0, 0):
            raise BadInput("Pictures are shown whole or a part is cut out of them: leave whole at false or crop at [0, 0].")
        if (root / "clips.parquet").is_file():
            sources = list(_curated(root))
        elif shards := sorted(root.rglob("*.tar")):
            sources = [s for shard in shards for s in _shard(shard, root)]
        else:
            sources = list(_loose(root))
        if not sources:
            raise BadInput(f"{root} holds no clips: no clips.parquet, no .tar shard, no video file ({', '.join(VIDEO)}).")
        places: dict[str, tuple[_Source, float]] = {}
        entries, broken = [], []
        for source in track(sources, "look at the clips"):
            try:
                info = _probed(source, *source.stamp())
            except media.MediaError as error:
                broken.append(f"{source.key} ({error.kind})")
                continue
            if self.aspect and media.aspect_of(info.width, info.height) != self.aspect:
                continue
            shown = media.place_of((info.height, info.width), self.size) if self.whole else None
            for n in range(max(1, int(np.ceil(info.duration / self.stretch)))):
                begin = n * self.stretch
                length = int(min(self.stretch, info.duration - begin) * self.fps + 1e-6)
                entry = Entry(f"{source.key}#{n}", source.group, length, (source.text,) if source.text else (), shown=shown)
                places[entry.key] = source, begin
                entries.append(entry)
        if broken:
            say(f"warning: {len(broken)} of {len(sources)} clips cannot be read and are left out: {', '.join(broken[:5])}")
        if not entries and self.aspect:
            raise TooFew(f"{root} holds no clip that is {self.aspect} in shape.")

        def read(entry: Entry) -> np.ndarray:
            source, begin = places[entry.key]
            return self._decode(source, begin, 0, entry.length)

        def cut(entry: Entry, first: int, frames: int) -> np.ndarray:
            source, begin = places[entry.key]
            return self._decode(source, begin, first, frames)

        settings = json.dumps(
            {"size": list(self.size), "fps": self.fps, "stretch": self.stretch}
            | ({"whole": True} if self.whole else {})
            | ({"aspect": self.aspect} if self.aspect else {})
        )
        files = {s.path for s in sources} | {s.path.with_suffix(".txt") for s in sources} | {root / "clips.parquet"}
        return Pixels(
            str(root),
            entries,
            read,
            cut=cut,
            hash=hash_files(root, [f for f in files if f.is_file()], settings),
            split=split,
            frames=self.frames,
            size=self.size,
            fps=self.fps,
            held_out=self.held_out,
            focus=self.focus,
            crop=self.crop,
            memory=self.memory,
        )

    def _decode(self, source: _Source, begin: float, first: int, length: int) -> np.ndarray:
        """uint8 `length h w 3`, the frame shown at each tick from the `first` one after `begin` on.

        Raises:
            BadInput: the file decodes only in part.
        """
        with source.file() as file:
            try:
                moments = media.probe(file).start + begin + np.arange(first, first + length) / self.fps
                return shown_at(file, moments, self.size, self.whole)
            except media.MediaError as error:
                raise BadInput(
                    f"{source.key} is damaged ({error}). Take it out of the folder, or curate the folder first."
                ) from error


@dataclass(frozen=True)
class _Source:
    """A video file, or a stretch of bytes inside a tar. Args: `group` what it was cut from; `span` offset and size in `path`."""

    key: str
    path: Path
    group: str
    text: str = ""
    span: tuple[int, int] | None = None

    def file(self) -> _File:
        return _File(self)

    def stamp(self) -> tuple[int, int]:
        """By which it is told whether the file is still the same."""
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=100_000)
def _probed(source: _Source, *stamp: int) -> media.VideoInfo:
    """What a clip says of itself; buckets of several shapes ask for it once each."""
    with source.file() as file:
        return media.probe(file)


class _File:
    """The path to decode for the length of a block: the file itself, or a temporary copy of a tar's member."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.copy: Path | None = None

    def __enter__(self) -> Path:
        if self.source.span is None:
            return self.source.path
        offset, size = self.source.span
        with self.source.path.open("rb") as f:
            f.seek(offset)
            data = f.read(size)
        if len(data) != size:
            raise Failed(f"{self.source.path} ends inside {self.source.key}: it was cut short.")
        # Closed before it is decoded: not every system lets a file be opened twice.
        with tempfile.NamedTemporaryFile(suffix=".mp4", delete=False) as copy:
            copy.write(data)
        self.copy = Path(copy.name)
        return self.copy

    def __exit__(self, *_: object) -> None:
        if self.copy is not None:
            self.copy.unlink(missing_ok=True)


def _curated(root: Path) -> Iterator[_Source]:
    """The kept clips of a curated folder."""
    for clip in load_clips(root):
        if clip.rejected or not clip.path:
            continue
        if not Path(clip.path).is_file():
            raise BadInput(f"{root}/clips.parquet names {clip.path}, which is not there.")
        # Sources go by their file's name: where a folder lies must not decide what is held out.
        yield _Source(clip.id, Path(clip.path), Path(clip.source).name, clip.caption)


def _shard(path: Path, root: Path) -> Iterator[_Source]:
    """The clips of one tar. Nothing is unpacked: a member is a place in the file."""
    videos: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, str] = {}
    groups: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                if not member.isfile():
                    continue
                if kind == "mp4":
                    videos[key] = member
                elif kind in ("txt", "json") and (stream := tar.extractfile(member)) is not None:
                    content = stream.read().decode()
                    if kind == "txt":
                        texts[key] = content.strip()
                    else:
                        groups[key] = str(json.loads(content).get("source") or key)
    except (tarfile.TarError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not a readable shard: {error}") from error
    name = path.relative_to(root).as_posix()
    for key, member in sorted(videos.items()):
        yield _Source(f"{name}:{key}", path, groups.get(key, key), texts.get(key, ""), (member.offset_data, member.size))


def _loose(root: Path) -> Iterator[_Source]:
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEO and p.is_file()):
        caption = path.with_suffix(".txt")
        key = path.relative_to(root).as_posix()
        yield _Source(key, path, key, caption.read_text().strip() if caption.is_file() else "")
